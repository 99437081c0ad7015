"""Spaces that are searched in a second: one of each kind."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from oche.data.dataset import Dataset
from oche.data.load import load
from oche.data.options import DataOptions
from oche.nn.choice import Choice, InputChoice, ValueChoice
from oche.nn.network import Stack
from oche.spaces.registry import space
from oche.spaces.space import Space

IMAGES = 80
"""Digits in all; half of them train the weights."""


class OwnModule(nn.Module):
    """A user's module with all kinds of choices, dropout and running statistics, always with the same weights."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Conv2d(1, 4, 3, padding=1)
            self.block = Choice(
                {"conv": nn.Conv2d(4, 4, 3, padding=1), "point": nn.Conv2d(4, 4, 1), "skip": nn.Identity()}
            )
            self.width = ValueChoice([2, 4])
            self.inputs = InputChoice(3, keep=2)
            self.norm = nn.BatchNorm2d(4)
            self.drop = nn.Dropout(0.3)
            self.head = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        """`N x 1 x H x W` to `N x 10`."""
        stem = torch.tanh(self.stem(x))
        mixed = self.width.width(self.inputs([stem, self.block(stem), x.expand_as(stem)]))
        return self.head(self.drop(self.norm(mixed).mean(dim=(2, 3))))  # type: ignore[no-any-return]


def _darts() -> Space:
    return space("darts", nodes=2).replace(supernet_stack=Stack(cells=2, channels=4))


def _nasbench201() -> Space:
    return space("nasbench201").replace(supernet_stack=Stack(cells=1, channels=4))


def _unshared() -> Space:
    return space("sepskip20", nodes=1).replace(supernet_stack=Stack(cells=2, channels=4, reductions=1))


def _allegro() -> Space:
    return space("allegro", nodes=1).replace(supernet_stack=Stack(cells=2, channels=4))


SPACES: dict[str, Callable[[], Space | nn.Module]] = {
    "darts": _darts,
    "nasbench201": _nasbench201,
    "unshared": _unshared,
    "allegro": _allegro,
    "module": OwnModule,
}
"""By name, what makes one."""


def images() -> Dataset:
    """A few of the embedded digits, for all of these spaces."""
    return load("digits", DataOptions(limit=IMAGES))
