"""DARTS+PT as a whole: what is decided when, at which cost, and how it ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oche
from oche.checkpoint import Checkpoints
from oche.data.dataset import Dataset
from oche.data.load import load
from oche.data.options import DataOptions
from oche.domain import Domain, Node
from oche.errors import InputError
from oche.interrupt import Interrupted
from oche.listeners.base import Job, Listener
from oche.listeners.console import PlainLines
from oche.methods import DARTS, Method
from oche.mixture.softmax import Softmax
from oche.nn.cell import MixedEdge
from oche.nn.choice import kind_of
from oche.nn.network import Stack
from oche.remaining import Remaining
from oche.schedule import Cosine
from oche.select.perturbation import PerturbationSelection
from oche.select.removal import Removal
from oche.select.scene import Scene
from oche.spaces.module_space import ModuleSpace

SPACE = oche.space("rdarts-s2", nodes=2).replace(supernet_stack=Stack(cells=2, channels=4))
CPU = torch.device("cpu")


class Mine(nn.Module):
    """Three choices, two of them inside one module."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            oche.Choice({"linear": nn.Linear(64, 64), "skip": nn.Identity(), "tanh": nn.Tanh()}),
            oche.Choice({"linear": nn.Linear(64, 64), "skip": nn.Identity()}),
        )
        self.width = oche.ValueChoice([16, 64])
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.width.width(self.blocks(x.flatten(1)))))


@pytest.fixture(scope="module")
def images() -> Dataset:
    return load("digits", DataOptions(limit=100))


def search(images: Dataset, space: Any = SPACE, *, select: PerturbationSelection, **options: Any) -> oche.SearchResult:
    """An epoch of three steps, and then the selection."""
    torch.manual_seed(0)
    method = options.pop("method", DARTS)
    settings = {"epochs": 1, "batch": 16, "seed": 3, "validation": 0} | options
    return oche.search(space, data=images, method=replace(method, selection=select), **settings)


# -- what is decided when ----------------------------------------------------------------------------------------------


class ByName(Removal):
    """Keeps the first candidate that may be selected, and the last edges; looks at nothing."""

    def candidate(self, scene: Scene, key: str) -> int:
        return scene.whole.edges[key].candidates.index(scene.domain.edges[key].selectable[0])

    def dropped(self, scene: Scene, node: Node) -> list[str]:
        assert node.keep is not None
        return [edge.key for edge in node.edges[: -node.keep]]


class OnPaper:
    """A search that decides and does nothing else."""

    def __init__(self, domain: Domain, seed: int = 0) -> None:
        self.domain, self.seed, self.remaining = domain, seed, Remaining()

    @property
    def scene(self) -> Scene:
        nothing: Any = None
        return Scene(
            whole=self.domain,
            supernet=nothing,
            relaxation=Softmax(),
            images=nothing,
            loss=F.cross_entropy,
            metrics={},
            seed=self.seed,
            device=CPU,
            remaining=self.remaining,
        )

    def settle(self, remaining: Remaining) -> None:
        self.remaining = remaining

    def news(self, rule: PerturbationSelection, done: int, epoch: int) -> set[str]:
        """The keys of which something was decided now."""
        before = dict(self.remaining.kept)
        rule.act(self, done, epoch)
        return {key for key, kept in self.remaining.kept.items() if before.get(key) != kept}


ON_PAPER = PerturbationSelection(removal=ByName(), interval=0.5)


def test_one_edge_of_every_kind_is_decided_at_a_time_and_then_one_node() -> None:
    domain = oche.space("darts").domain
    decided = OnPaper(domain)
    assert ON_PAPER.left(decided.scene) == 14 + 3
    order: list[str] = []
    for i in range(14):
        news = decided.news(ON_PAPER, 2 * i, 4)
        assert sorted(map(kind_of, news)) == ["normal", "reduction"]
        order += news
        assert decided.news(ON_PAPER, 2 * i + 1, 4) == set()  # within an interval nothing happens
        assert ON_PAPER.left(decided.scene) == 17 - 1 - i
    assert sorted(order) == sorted(domain.edges)
    for i in range(14, 17):
        dropped = decided.news(ON_PAPER, 2 * i, 4)
        assert all(decided.remaining.kept[key] == () for key in dropped)
        nodes = {key.partition("<-")[0] for key in dropped}
        assert sorted(map(kind_of, nodes)) == ["normal", "reduction"]
    assert ON_PAPER.left(decided.scene) == 0
    assert ON_PAPER.steps(domain, 4) == 2 * 16
    found = ON_PAPER.preview(decided.remaining.domain(domain), {k: torch.zeros(1) for k in domain.edges}, Softmax())
    domain.check(found)


def orders(domain: Domain, seed: int) -> list[str]:
    decided = OnPaper(domain, seed)
    return [key for i in range(len(domain.edges)) for key in sorted(decided.news(ON_PAPER, 2 * i, 4))]


def test_the_order_is_drawn_from_the_seed() -> None:
    domain = oche.space("nasbench201").domain
    assert orders(domain, 1) == orders(domain, 1)
    assert len({tuple(orders(domain, seed)) for seed in range(8)}) > 4
    first = {orders(domain, seed)[0] for seed in range(60)}
    assert first == set(domain.edges)  # each edge may be the first one


def test_every_choice_of_a_users_module_is_decided_by_itself() -> None:
    domain = ModuleSpace(Mine()).domain
    assert len({kind_of(key) for key in domain.edges}) == 2  # two of three begin alike
    decided = OnPaper(domain)
    assert [len(decided.news(ON_PAPER, 2 * i, 4)) for i in range(3)] == [1, 1, 1]
    assert ON_PAPER.left(decided.scene) == 0


def test_what_was_decided_before_costs_no_turn_and_is_kept() -> None:
    domain = oche.space("nasbench201").domain
    keys, decided = list(domain.edges), OnPaper(domain)
    decided.remaining = Remaining().decide(keys[0], 3).prune(keys[1], (1, 2))
    assert ON_PAPER.left(decided.scene) == 5
    ON_PAPER.act(decided, 100, 4)
    assert decided.remaining.kept[keys[0]] == (3,)
    assert ON_PAPER.left(decided.scene) == 0


@pytest.mark.parametrize(
    ("interval", "epoch", "gap"), [(5.0, 390, 1950), (0.5, 3, 2), (0.1, 3, 1), (0.0, 3, 1), (1 / 3, 3, 1)]
)
def test_an_interval_is_any_fraction_of_an_epoch_but_at_least_a_step(interval: float, epoch: int, gap: int) -> None:
    rule = PerturbationSelection(interval=interval)
    assert rule.steps(oche.space("darts").domain, epoch) == (14 + 3 - 1) * gap
    assert rule.steps(oche.space("nasbench201").domain, epoch) == (6 - 1) * gap
    assert rule.steps(ModuleSpace(Mine()).domain, epoch) == (3 - 1) * gap


def test_a_negative_interval_is_refused() -> None:
    for interval in (-1.0, math.nan):
        with pytest.raises(InputError, match="interval"):
            PerturbationSelection(interval=interval)


# -- a search ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many evaluations each decision has made."""
    counts: list[int] = []
    own = Scene.measure_each

    def counted(self: Scene, mixtures: Sequence[Any]) -> Any:
        counts.append(len(mixtures))
        return own(self, mixtures)

    monkeypatch.setattr(Scene, "measure_each", counted)
    return counts


def test_the_cost_is_the_formula(images: Dataset, measured: list[int]) -> None:
    darts = oche.space("darts").domain
    rule = PerturbationSelection(interval=0)
    assert rule.evaluations(darts) == 28 * 7 + 2 * (3 + 4 + 5)  # none may not be selected, the first node keeps both
    assert rule.evaluations(oche.space("nasbench201").domain) == 6 * 5
    for space in (SPACE, Mine()):
        measured.clear()
        result = search(images, space, select=rule)
        assert sum(measured) == rule.evaluations(result.space.domain)
    assert sum(measured) == 3 + 2 + 2


def test_an_edge_with_one_candidate_to_select_is_not_measured(images: Dataset, measured: list[int]) -> None:
    edges = (("none", "skip_connect"), ("none", "skip_connect", "sep_conv_3x3"))
    small = SPACE.replace(nodes=1, normal=edges, reduction=edges)
    rule = PerturbationSelection(interval=0)
    result = search(images, small, select=rule)
    assert measured == [2, 2]
    assert rule.evaluations(small.domain) == 4
    assert result.architecture.choices["normal/2<-0"] == "skip_connect"


def test_the_tuning_is_training_with_a_rate_of_its_own_and_ends_decided(images: Dataset) -> None:
    rule = PerturbationSelection(interval=1)
    result = search(images, select=rule, epochs=2)
    decisions = 5 + 1
    assert result.found.steps == 3 * (2 + decisions - 1)
    records = result.found.records
    assert [r["epoch"] for r in records] == list(range(1, 2 + decisions))
    for i, record in enumerate(records[2:]):
        assert record["weight_rate"] == pytest.approx(Cosine(0.0025, 0.001).at(i / (decisions - 1)))
        kept = Remaining.from_plain(record["remaining"])
        assert sum(kept.decided(key) for key in SPACE.domain.edges) == 2 * (i + 1)
    assert "remaining" not in records[1]
    result.space.domain.check(result.architecture)  # type: ignore[union-attr]
    # Every decision stands, and each node has lost all but two edges.
    for key, places in records[-1]["remaining"].items():
        name = SPACE.domain.edges[key].candidates[places[0]]
        assert result.architecture.choices.get(key, name) == name


@pytest.mark.parametrize("moves", [True, False])
def test_undecided_logits_keep_moving_unless_they_are_fixed(images: Dataset, moves: bool) -> None:
    result = search(images, Mine(), select=PerturbationSelection(interval=1, move_logits=moves))
    before, after = result.found.logits[1], result.found.logits[2]
    decided = result.found.records[1]["remaining"]
    assert len(decided) == 1
    for key in before:
        if key not in decided:
            assert (before[key] != after[key]) == moves


def test_what_is_decided_runs_alone(images: Dataset) -> None:
    calls: list[set[int]] = [set()]

    class Watch(Listener):
        def epoch(self, record: Any) -> None:
            calls.append(set())

    def note(module: nn.Module, *_: Any) -> None:
        if torch.is_grad_enabled():  # a step, and neither a removal nor the evaluation of an epoch
            calls[-1].add(id(module))

    with torch.nn.modules.module.register_module_forward_hook(note):
        rule = PerturbationSelection(interval=1)
        result = search(images, select=rule, listeners=[Watch()], engine="reference")
    edges = [module for module in result.supernet.modules() if isinstance(module, MixedEdge)]
    for called, record in zip(calls, result.found.records, strict=False):
        for edge in edges:
            ran = [i for i, c in enumerate(edge.choice.candidates.values()) if id(c) in called]
            assert ran == list(record.get("remaining", {}).get(edge.key, [0, 1]))


# -- how it ends -------------------------------------------------------------------------------------------------------


class Patience:
    """Asks a job to stop the n-th time that it looks."""

    def __init__(self, patience: int) -> None:
        self.looks, self.patience = 0, patience

    @property
    def received(self) -> int | None:
        self.looks += 1
        return 2 if self.looks > self.patience else None


def same(a: oche.SearchResult, b: oche.SearchResult) -> bool:
    left, right = a.supernet.state_dict(), b.supernet.state_dict()
    timeless = [[{k: v for k, v in r.items() if k != "seconds"} for r in s.found.records] for s in (a, b)]
    return (
        timeless[0] == timeless[1]
        and a.architecture == b.architecture
        and all(torch.equal(left[name], right[name]) for name in left)
    )


@pytest.mark.parametrize(("space", "every"), [(Mine, 1), (lambda: SPACE, 17)], ids=["module", "cells"])
def test_a_search_that_was_stopped_at_any_moment_goes_on_bit_for_bit(
    tmp_path: Path, images: Dataset, space: Any, every: int
) -> None:
    rule = PerturbationSelection(interval=2 / 3)
    whole = search(images, space(), select=rule)
    stops = 0
    for patience in range(0, 1000, every):
        interrupts: Any = Patience(patience)
        place = tmp_path / str(patience)
        try:
            search(images, space(), select=rule, checkpoints=Checkpoints(place, "search", interrupts=interrupts))
        except Interrupted:
            assert same(search(images, space(), select=rule, checkpoints=Checkpoints(place, "search")), whole)
            stops += 1
        else:
            break
    # Steps, batches of the validation half (four) and the end of each epoch.
    lengths = [3, 3, 1] if every == 1 else [3, 3, 3, 3, 1]
    assert stops == math.ceil(sum(n + 4 + 1 for n in lengths) / every)


class Clock(Listener):
    """A second for every step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("oche.clock.time.monotonic", lambda: self.now)

    def step(self, epoch: int, step: int, meter: Any) -> None:
        self.now += 1


@pytest.mark.parametrize(("limit", "left"), [(2, 6), (3, 6), (4, 5), (5, 4), (7, 2), (8, 0), (9, 0)])
def test_a_time_limit_leaves_the_last_decisions_to_magnitude(
    monkeypatch: pytest.MonkeyPatch, images: Dataset, limit: int, left: int
) -> None:
    clock = Clock(monkeypatch)
    result = search(images, select=PerturbationSelection(interval=0), time_limit=limit, listeners=[clock])
    assert result.found.steps == min(limit, 3 + 5)
    result.space.domain.check(result.architecture)  # type: ignore[union-attr]
    if not left:
        assert result.found.stopped is None
        return
    assert result.found.stopped is not None
    assert result.found.stopped.endswith(f"decisions left to magnitude: {left}")
    kept = result.found.records[-1].get("remaining", {})
    assert len([key for key in kept if kept[key]]) == 2 * (6 - left)
    for key, places in kept.items():
        name = SPACE.domain.edges[key].candidates[places[0]]
        assert result.architecture.choices.get(key, name) == name


def test_progress_counts_the_tuning(images: Dataset) -> None:
    jobs: list[Job] = []
    lines: list[str] = []

    class Watch(Listener):
        def start(self, job: Job) -> None:
            jobs.append(job)

    result = search(
        images, Mine(), select=PerturbationSelection(interval=2), listeners=[Watch(), PlainLines(lines.append)]
    )
    (job,) = jobs
    assert (job.epochs, job.steps, job.total) == (1 + 4, 3, 3 * 5)
    assert result.found.steps == job.total
    assert lines[0] == "search: 5 epochs of 3 steps"
    assert lines[-1].startswith("search: epoch 5/5")


def test_a_diverged_tuning_ends_with_a_valid_selection(images: Dataset) -> None:
    rule = PerturbationSelection(interval=1, optimizer=replace(DARTS.weight_optimizer, lr=Cosine(1e20)))  # type: ignore[type-var]
    method = Method(**{**vars(DARTS), "clip": math.inf})
    result = search(images, select=rule, method=method)
    assert result.found.stopped is not None
    assert "decisions left to magnitude" in result.found.stopped
    result.space.domain.check(result.architecture)  # type: ignore[union-attr]
    assert all(value.isfinite().all() for value in result.supernet.state_dict().values())
