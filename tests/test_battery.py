"""What every method must do in every kind of space: a new method inherits all of it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oche
from oche.checkpoint import Checkpoints
from oche.data.dataset import Dataset
from oche.data.load import load
from oche.data.options import DataOptions
from oche.errors import InputError
from oche.interrupt import Interrupted
from oche.methods import DARTS_PT, METHODS, SDARTS_RS_PT, SGAS_PT, Method
from oche.nn.choice import Decision
from oche.nn.network import Stack
from oche.nn.supernet import logits
from oche.select.perturbation import PerturbationSelection
from oche.stages.base import EpochPlan

EPOCHS = 2
BATCH = 16
LOOKS = 7
"""After so many looks an interrupted search stops: behind its first step and before its last."""


class Mine(nn.Module):
    """A user's module with all kinds of choices, dropout and running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.block = oche.Choice(
            {"conv": nn.Conv2d(4, 4, 3, padding=1), "point": nn.Conv2d(4, 4, 1), "skip": nn.Identity()}
        )
        self.width = oche.ValueChoice([2, 4])
        self.inputs = oche.InputChoice(3, keep=2)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        stem = torch.tanh(self.stem(x))
        mixed = self.width.width(self.inputs([stem, self.block(stem), x.expand_as(stem)]))
        return self.head(self.drop(self.norm(mixed).mean(dim=(2, 3))))


AT_ONCE = PerturbationSelection(interval=0)
"""A step between two decisions, which are then made as often as in any search."""

ALL: dict[str, Method] = METHODS | {
    m.name: m for m in (replace(DARTS_PT, selection=AT_ONCE), replace(SDARTS_RS_PT, selection=AT_ONCE), SGAS_PT)
}

SPACES = {
    "darts": lambda: oche.space("darts", nodes=1).replace(supernet_stack=Stack(cells=2, channels=4)),
    "nasbench201": lambda: oche.space("nasbench201").replace(supernet_stack=Stack(cells=1, channels=4)),
    "module": Mine,
}


@pytest.fixture(scope="module")
def images() -> Dataset:
    return load("digits", DataOptions(limit=80))


class StopAfter:
    """Asks a search to stop after so many looks."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    @property
    def received(self) -> int | None:
        self.left -= 1
        return 2 if self.left < 0 else None


def timeless(result: oche.SearchResult) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in result.found.records]


def same_bits(a: oche.SearchResult, b: oche.SearchResult) -> bool:
    left, right = a.supernet.state_dict(), b.supernet.state_dict()
    return (
        a.found.logits == b.found.logits
        and timeless(a) == timeless(b)
        and a.architecture == b.architecture
        and all(torch.equal(left[name], right[name]) for name in left)
    )


def planned_steps(method: Method, epochs: int, batch: int, images: int) -> int:
    """Of a search whose stages may let the batch grow, at most to all images of a half."""
    steps = 0
    for epoch in range(epochs):
        plan = EpochPlan(relaxation=method.relaxation)
        for stage in method.stages:
            plan = stage.plan(plan, epoch, epochs)
        steps += images // min(batch + plan.more, images)
    return steps


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("method", ALL)
def test_a_method_searches_goes_on_and_builds(tmp_path: Path, images: Dataset, method: str, space: str) -> None:
    def search(seed: int = 3, checkpoints: Any = None) -> oche.SearchResult:
        torch.manual_seed(0)  # the weights of the user's module are the user's own
        return oche.search(
            SPACES[space](),
            data=images,
            method=ALL[method],
            epochs=EPOCHS,
            batch=BATCH,
            validation=0,
            seed=seed,
            checkpoints=checkpoints,
        )

    if space == "module" and ALL[method].structure.needs_cells:
        with pytest.raises(InputError, match="module of your own"):
            search()
        return
    whole = search()
    domain = whole.space.domain.restrict(logits(whole.supernet).keys())
    tuning = ALL[method].selection.tuning
    steps = planned_steps(ALL[method], EPOCHS, BATCH, 40) + (tuning.steps(domain, 40 // BATCH) if tuning else 0)
    assert whole.found.steps == steps

    # Every number is one, and every logit has moved.
    for record in timeless(whole):
        assert all(math.isfinite(value) for value in record.values() if isinstance(value, float))
    assert all(value.isfinite().all() for value in whole.supernet.state_dict().values())
    first, last = whole.found.logits[0], whole.found.logits[-1]
    assert all(x != y for key in first for x, y in zip(first[key], last[key], strict=True))

    # A search that was stopped in the middle goes on to the same bits; another seed has others.
    interrupts: Any = StopAfter(LOOKS)
    with pytest.raises(Interrupted):
        search(checkpoints=Checkpoints(tmp_path, "search", interrupts=interrupts))
    assert same_bits(search(checkpoints=Checkpoints(tmp_path, "search")), whole)
    assert not same_bits(search(seed=4), whole)

    # The selection is one of the space, and its network is a plain module that can be trained.
    domain.check(whole.architecture)
    if space == "module":
        network: nn.Module = whole.space.network(whole.architecture)  # type: ignore[call-arg, union-attr]
    else:
        stack = Stack(cells=2, channels=4)
        network = whole.space.network(whole.architecture, images.task, stack)  # type: ignore[union-attr, call-arg]
    assert all(len(m.options) == 1 for m in network.modules() if isinstance(m, Decision))
    x, y = torch.randn(6, 1, 8, 8), torch.arange(6)
    nn.functional.cross_entropy(network(x), y).backward()
    assert any(w.grad is not None and w.grad.abs().max() > 0 for w in network.parameters())
