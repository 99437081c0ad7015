"""Spaces that are searched in a second: one of each kind."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from oche.nn.choice import Choice, InputChoice, ValueChoice
from oche.nn.network import Stack
from oche.spaces.registry import space
from oche.spaces.space import Space

CHANNELS = 12
"""Of a supernet: enough for every share of channels that our structures send through the candidates."""

FOR_GROUPS = 8
"""The same where the candidates have two groups and are not widened: a quarter of it has two as well."""

WIDTH = 8
"""Of a recurrent supernet."""


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
    return space("darts", nodes=2).replace(supernet_stack=Stack(cells=2, channels=CHANNELS))


def _nasbench201() -> Space:
    return space("nasbench201").replace(supernet_stack=Stack(cells=1, channels=CHANNELS))


def _unshared() -> Space:
    return space("sepskip20", nodes=1).replace(supernet_stack=Stack(cells=2, channels=CHANNELS, reductions=1))


def _allegro() -> Space:
    return space("allegro", nodes=1).replace(supernet_stack=Stack(cells=2, channels=FOR_GROUPS))


def _recurrent() -> Space:
    return space("recurrent", nodes=2).replace(supernet_stack=Stack(cells=1, channels=WIDTH))


SPACES: dict[str, Callable[[], Space | nn.Module]] = {
    "darts": _darts,
    "nasbench201": _nasbench201,
    "unshared": _unshared,
    "allegro": _allegro,
    "recurrent": _recurrent,
    "module": OwnModule,
}
"""By name, what makes one."""
