"""Scenes to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oche
from oche.metrics import ACCURACY
from oche.mixture.softmax import Softmax
from oche.nn.choice import Choice
from oche.nn.structure import PLAIN, Structure
from oche.nn.supernet import initialize_logits, logits
from oche.select.scene import Scene
from oche.spaces.module_space import ModuleSpace
from oche.spaces.registry import space

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Given:
    """Batches that are there already."""

    batches: list[tuple[Tensor, Tensor]]

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        yield from self.batches[start:]


def cells(name: str = "rdarts-s3", *, structure: Structure = PLAIN, images: int = 12, **sizes: Any) -> Scene:
    """A small supernet of cells in float64 whose logits differ."""
    searched = space(name, **sizes).replace(supernet_stack=oche.Stack(cells=3, channels=4))
    supernet = searched.supernet(oche.ImageTask(channels=1, height=8, width=8, classes=3), structure).double()
    initialize_logits(supernet, 1.0, torch.Generator().manual_seed(0))
    x, y = torch.randn(images, 1, 8, 8, dtype=torch.float64), torch.arange(images) % 3
    return Scene(
        whole=searched.domain.restrict(logits(supernet).keys()),
        supernet=supernet,
        relaxation=Softmax(),
        images=Given([(x, y)]),
        loss=F.cross_entropy,
        metrics=ACCURACY,
        seed=0,
        device=CPU,
    )


class Smooth(nn.Module):
    """A user's module with derivatives of every order and no cells."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Choice({"a": nn.Linear(3, 3), "b": nn.Tanh(), "c": nn.Identity()})
        self.second = Choice({"a": nn.Linear(3, 3), "b": nn.Sigmoid()})
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


def smooth(images: int = 20) -> Scene:
    """The same of the smooth module."""
    searched = ModuleSpace(Smooth())
    supernet = searched.supernet().double()
    initialize_logits(supernet, 1.0, torch.Generator().manual_seed(1))
    x = torch.randn(images, 3, dtype=torch.float64)
    return Scene(
        whole=searched.domain,
        supernet=supernet,
        relaxation=Softmax(),
        images=Given([(x, (x.sum(dim=1) > 0).long())]),
        loss=F.cross_entropy,
        metrics=ACCURACY,
        seed=0,
        device=CPU,
    )


@pytest.fixture
def cell_scene() -> Callable[..., Scene]:
    """Makes the scene of a supernet of cells."""
    return cells


@pytest.fixture
def smooth_scene() -> Callable[..., Scene]:
    """Makes the scene of the smooth module."""
    return smooth


@pytest.fixture(params=["cells", "smooth"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """Each of them."""
    return cells(nodes=1) if request.param == "cells" else smooth()
