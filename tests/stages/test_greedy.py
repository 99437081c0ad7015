"""SGAS: its scores against NumPy, its decisions in time, and what runs afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oche
from oche.checkpoint import Checkpoints
from oche.data.dataset import Dataset
from oche.data.load import load
from oche.data.options import DataOptions
from oche.domain import Domain, Edge, Node
from oche.errors import InputError
from oche.interrupt import Interrupted
from oche.listeners.base import Listener
from oche.methods import SGAS, Method, method
from oche.mixture.softmax import Softmax
from oche.moment import Moment
from oche.nn.cell import MixedEdge
from oche.nn.network import Stack
from oche.remaining import Remaining
from oche.schedule import Epochs
from oche.select.removal import Removal
from oche.select.scene import Scene
from oche.stages.base import EpochPlan
from oche.stages.greedy import Greedy
from oche.testing.battery import StopAfter

SGAS_PT = method("sgas+pt")
SPACE = oche.space("rdarts-s3", nodes=2).replace(supernet_stack=Stack(cells=2, channels=4))
WITH_NONE, WITHOUT = ("none", "skip_connect", "sep_conv_3x3"), ("skip_connect", "sep_conv_3x3", "max_pool_3x3")
Tables = list[dict[str, list[float]]]


@pytest.fixture(scope="module")
def images() -> Dataset:
    return load("digits", DataOptions(limit=100))


# -- scores ------------------------------------------------------------------------------------------------------------


def by_hand(edges: Sequence[Edge], tables: Tables, history: bool) -> dict[str, float]:
    """Criteria 1 and 2 of the paper, in NumPy."""

    def weights(edge: Edge, table: Mapping[str, list[float]]) -> tuple[float, np.ndarray[Any, Any]]:
        exp = np.exp(np.array(table[edge.key]))
        a = exp / exp.sum()
        rest = np.array([x for x, name in zip(a, edge.candidates, strict=True) if name != "none"])
        return (float(a[0]) if edge.candidates[0] == "none" else 0.0), rest / rest.sum()

    importance, certainty, stability = [], [], []
    for edge in edges:
        none, p = weights(edge, tables[-1])
        importance.append(1 - none)
        certainty.append(1 - (-(p * np.log(p)).sum() / np.log(len(p))))
        overlaps = [sum(min(x, y) for x, y in zip(p, weights(edge, old)[1], strict=True)) for old in tables[:-1]]
        stability.append(float(np.mean(overlaps)) if overlaps else 1.0)
    total = np.ones(len(edges))
    for factor in (importance, certainty, stability) if history else (importance, certainty):
        values = np.array(factor)
        if values.max() > values.min():
            total *= (values - values.min()) / (values.max() - values.min())
    return dict(zip((e.key for e in edges), total.tolist(), strict=True))


def random_tables(edges: Sequence[Edge], count: int) -> Tables:
    return [{e.key: (2 * torch.randn(len(e.candidates))).tolist() for e in edges} for _ in range(count)]


@pytest.mark.parametrize("candidates", [WITH_NONE, WITHOUT, ("none", *WITHOUT)])
@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_scores_are_those_of_the_paper(candidates: tuple[str, ...], epochs: int) -> None:
    edges = [Edge(f"normal/{i}", candidates) for i in range(5)]
    for _ in range(5):
        tables = random_tables(edges, epochs)
        assert Greedy().scores(edges, tables, Softmax()) == pytest.approx(by_hand(edges, tables, history=True))
        now = Greedy(history=0).scores(edges, tables[-1:], Softmax())
        assert now == pytest.approx(by_hand(edges, tables, history=False))


def test_each_factor_counts() -> None:
    sure, unsure, none = [0.0, 5.0, 0.0], [0.0, 0.1, 0.0], [5.0, 5.0, 0.0]
    edges = [Edge(name, WITH_NONE) for name in ("sure", "unsure", "none")]
    table = {"sure": sure, "unsure": unsure, "none": none}
    scores = Greedy().scores(edges, [table], Softmax())
    assert max(scores, key=scores.__getitem__) == "sure"
    assert scores["unsure"] == scores["none"] == 0  # the least certain, and the least important
    # The one that has just turned round is less stable than one that has been as it is.
    edges = [Edge(name, WITHOUT) for name in ("steady", "turned", "unsure")]
    before = {"steady": [3.0, 0.0, 0.0], "turned": [0.0, 3.0, 0.0], "unsure": [0.0, 0.0, 0.0]}
    now = before | {"turned": [3.1, 0.0, 0.0]}
    scores = Greedy().scores(edges, [before, now], Softmax())
    assert scores["steady"] > scores["turned"] == 0
    one = Greedy(history=0).scores(edges, [now], Softmax())
    assert one["turned"] > one["steady"]


def test_a_factor_that_is_the_same_everywhere_up_to_rounding_decides_nothing() -> None:
    edges = [Edge(name, WITHOUT) for name in ("a", "b", "c")]
    turned = {"a": [0.1, 0.7, 0.3], "b": [0.7, 0.3, 0.1], "c": [0.3, 0.1, 0.7]}  # equally certain
    assert set(Greedy().scores(edges, [turned], Softmax()).values()) == {1.0}


def test_a_single_candidate_is_certain_and_saturated_weights_are_numbers() -> None:
    edges = [Edge("a", ("none", "skip_connect")), Edge("b", WITH_NONE), Edge("c", WITH_NONE)]
    tables: Tables = [{"a": [0.0, 1.0], "b": [900.0, 0.0, -900.0], "c": [0.0, 900.0, 0.0]}] * 2
    scores = Greedy().scores(edges, tables, Softmax())
    assert all(math.isfinite(score) for score in scores.values())
    assert scores["b"] == 0  # almost nothing but none
    assert scores["c"] == 1


# -- moments -----------------------------------------------------------------------------------------------------------


def test_the_paper_decides_after_nine_epochs_and_then_every_five() -> None:
    assert Greedy().moments(50) == [9, 14, 19, 24, 29, 34, 39, 44]
    (stage,) = method("sgas").fitted("nasbench201").stages
    assert isinstance(stage, Greedy)
    assert stage.moments(50) == [9, 14, 19, 24, 29, 34]
    assert Greedy(first=Epochs(2), last=Epochs(9), decisions=1).moments(10) == [2]


@pytest.mark.parametrize("epochs", [2, 3, 5, 10, 25, 49, 100, 600])
def test_moments_keep_their_proportions_and_leave_an_epoch_at_both_ends(epochs: int) -> None:
    moments = Greedy().moments(epochs)
    assert len(moments) == 8
    assert moments == sorted(moments)
    assert moments[0] > 0
    assert moments[-1] < epochs
    for moment, paper in zip(moments, Greedy().moments(50), strict=True):
        assert abs(moment - paper * epochs / 50) < 1.5  # rounded up at both ends, and rounded between them


def test_batches_grow_with_every_decision() -> None:
    sizes = [Greedy().plan(EpochPlan(relaxation=Softmax(), end=50), epoch, 50).more for epoch in range(50)]
    assert sizes == [8 * max(0, min((epoch - 9) // 5 + 1, 8)) for epoch in range(50)]
    assert Greedy().plan(EpochPlan(relaxation=Softmax(), end=50, more=3), 9, 50).more == 11


@pytest.mark.parametrize(
    ("change", "message"),
    [({"decisions": 0}, "decisions >= 1"), ({"history": -1}, "history >= 0"), ({"growth": -1}, "growth >= 0")],
)
def test_numbers_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Greedy(**change)


@pytest.mark.parametrize("stage", [Greedy(first=Epochs(0)), Greedy(first=Epochs(3)), Greedy()])
def test_a_search_without_an_epoch_at_both_ends_is_refused(images: Dataset, stage: Greedy) -> None:
    epochs = 1 if stage == Greedy() else 3
    with pytest.raises(InputError, match="search longer"):
        oche.search(SPACE, data=images, method=replace(SGAS, stages=(stage,)), epochs=epochs, batch=16)


# -- decisions ---------------------------------------------------------------------------------------------------------


class OnPaper:
    """A search whose logits after each epoch are given."""

    def __init__(self, domain: Domain, tables: Tables) -> None:
        self.domain, self.remaining = domain, Remaining()
        self.plan = EpochPlan(relaxation=Softmax(), end=1)
        self.records = [{"logits": table} for table in tables]

    @property
    def scene(self) -> Any:
        return _Paper(self)

    def settle(self, remaining: Remaining) -> None:
        self.remaining = remaining

    def restart(self) -> None:
        raise AssertionError("nothing begins anew")


class _Paper:
    """What of a scene the stage looks at."""

    def __init__(self, course: OnPaper) -> None:
        self.whole, self.remaining, self.relaxation = course.domain, course.remaining, Softmax()
        self.domain = course.remaining.domain(course.domain)
        self.logits = course.remaining.narrow({k: torch.tensor(v) for k, v in course.records[-1]["logits"].items()})


def run_on_paper(domain: Domain, stage: Greedy, epochs: int) -> list[dict[str, tuple[int, ...]]]:
    """What remained before each epoch."""
    edges = list(domain.edges.values())
    tables = random_tables(edges, epochs)
    course, seen = OnPaper(domain, []), []
    for epoch in range(epochs):
        course.records = [{"logits": table} for table in tables[:epoch]]
        stage.act(course, Moment(epoch=epoch, epochs=epochs))
        seen.append(dict(course.remaining.kept))
    return seen


def decisions(kept: Mapping[str, tuple[int, ...]], kind: str = "") -> int:
    return sum(len(places) == 1 for key, places in kept.items() if key.startswith(kind))


def test_at_each_moment_one_edge_of_every_kind_is_decided() -> None:
    domain = oche.space("darts").domain
    seen = run_on_paper(domain, Greedy(), 50)
    for epoch, kept in enumerate(seen):
        due = sum(moment <= epoch for moment in Greedy().moments(50))
        assert decisions(kept, "normal") == decisions(kept, "reduction") == due
    assert len(seen[-1]) == len(domain.edges)


@pytest.mark.parametrize("epochs", [2, 3, 5, 9, 10, 50, 100])
@pytest.mark.parametrize("name", ["darts", "nasbench201", "rdarts-s3"])
def test_everything_is_decided_in_the_end_of_any_search(name: str, epochs: int) -> None:
    domain = oche.space(name).domain
    last = run_on_paper(domain, Greedy(), epochs)[-1]
    assert set(last) == set(domain.edges)
    for node in domain.nodes:
        left = [edge for edge in node.edges if last[edge.key]]
        assert len(left) == (node.keep or len(node.edges))
        assert all(len(last[edge.key]) == 1 for edge in left)
        assert all(edge.candidates[last[edge.key][0]] in edge.selectable for edge in left)


def test_more_choices_than_moments_share_them_evenly() -> None:
    domain = Domain("mine", tuple(Node((Edge(f"block/{i}", ("a", "b")),)) for i in range(20)))
    counts = [decisions(kept) for kept in run_on_paper(domain, Greedy(), 50)]
    steps = [b - a for a, b in pairwise(counts) if b > a]
    assert counts[-1] == 20
    assert steps == [3, 3, 3, 3, 2, 2, 2, 2]


def test_a_node_with_as_many_decided_edges_as_it_keeps_drops_the_others_at_once() -> None:
    domain = oche.space("darts").domain
    for kept in run_on_paper(domain, Greedy(), 50):
        for node in domain.nodes:
            decided = [edge.key for edge in node.edges if len(kept.get(edge.key, "all")) == 1]
            dropped = [edge.key for edge in node.edges if kept.get(edge.key) == ()]
            assert len(dropped) == (len(node.edges) - 2 if len(decided) == 2 else 0)


def test_the_edge_has_the_largest_score_and_its_candidate_the_largest_weight() -> None:
    domain = oche.space("darts").domain
    edges = [edge for edge in domain.edges.values() if edge.key.startswith("normal")]
    tables = random_tables(list(domain.edges.values()), 9)
    course = OnPaper(domain, tables)
    Greedy().act(course, Moment(epoch=9, epochs=50))
    (key,) = [key for key in course.remaining.kept if key.startswith("normal")]
    scores = by_hand(edges, tables[-5:], history=True)  # the last four epochs before the present one
    assert key == max(scores, key=scores.__getitem__)
    row = tables[-1][key]
    assert course.remaining.kept[key] == (max(range(1, 8), key=row.__getitem__),)  # none is the first


# -- a search ----------------------------------------------------------------------------------------------------------


def test_decided_edges_run_alone_with_weight_one_and_batches_grow(images: Dataset) -> None:
    calls: list[set[int]] = [set()]
    batches: list[set[int]] = [set()]

    class Watch(Listener):
        def epoch(self, record: Any) -> None:
            calls.append(set())
            batches.append(set())

    def note(module: nn.Module, *_: Any) -> None:
        if torch.is_grad_enabled():
            calls[-1].add(id(module))

    def loss(output: Tensor, target: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            batches[-1].add(len(target))
        return F.cross_entropy(output, target)

    searched = replace(SGAS, stages=(Greedy(decisions=4, growth=3),))
    with torch.nn.modules.module.register_module_forward_hook(note):
        result = oche.search(
            SPACE,
            data=images,
            method=searched,
            epochs=6,
            batch=8,
            seed=1,
            validation=0,
            loss=loss,
            metrics={},
            engine="reference",
            listeners=[Watch()],
        )
    moments = Greedy(decisions=4).moments(6)
    assert moments == [2, 3, 4, 5]
    edges = [module for module in result.supernet.modules() if isinstance(module, MixedEdge)]
    for epoch, record in enumerate(result.found.records):
        remaining = record.get("remaining", {})
        assert decisions({k: tuple(v) for k, v in remaining.items()}, "normal") == sum(m <= epoch for m in moments)
        assert batches[epoch] == {8 + 3 * sum(m <= epoch for m in moments)}
        for edge in edges:
            ran = [i for i, c in enumerate(edge.choice.candidates.values()) if id(c) in calls[epoch]]
            assert ran == remaining.get(edge.key, [0, 1, 2])
    last = Remaining.from_plain(result.found.records[-1]["remaining"])
    logits = {key: torch.tensor(row) for key, row in result.found.logits[-1].items()}
    mixture = last.widen(Softmax().mean(last.narrow(logits)), {key: len(row) for key, row in logits.items()})
    for key, places in last.kept.items():
        assert mixture[key].tolist() == [float(i in places) for i in range(3)]
    assert dict(result.architecture.items) == {
        key: SPACE.domain.edges[key].candidates[places[0]] for key, places in last.kept.items() if places
    }


def test_with_perturbation_the_same_edges_are_decided_by_another_rule(
    images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(searched: Any) -> oche.SearchResult:
        return oche.search(SPACE, data=images, method=searched, epochs=2, batch=16, seed=1, validation=0)

    asked: list[str] = []
    own = Removal.candidate

    def candidate(self: Removal, scene: Scene, key: str) -> int:
        asked.append(key)
        return own(self, scene, key)

    monkeypatch.setattr(Removal, "candidate", candidate)
    plain, removed = search(SGAS), search(SGAS_PT)
    assert len(removed.found.records) == 2  # no separate phase
    chosen = [key for key, places in removed.found.records[-1]["remaining"].items() if places]
    assert asked == chosen
    assert len(asked) == 2 * 2 * 2  # two edges of each of two nodes of both kinds
    assert [key for key, places in plain.found.records[-1]["remaining"].items() if places] == chosen
    SPACE.domain.check(removed.architecture)


class Mine(nn.Module):
    """Choices of a user's own, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(oche.Choice({"linear": nn.Linear(64, 64), "skip": nn.Identity(), "tanh": nn.Tanh()}) for _ in range(3))
        )
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.blocks(x.flatten(1))))


@pytest.mark.parametrize("searched", [SGAS, SGAS_PT], ids=lambda m: m.name)
def test_a_search_that_was_stopped_at_any_moment_goes_on_bit_for_bit(
    tmp_path: Path, images: Dataset, searched: Method
) -> None:
    def search(checkpoints: Any = None) -> oche.SearchResult:
        torch.manual_seed(0)
        settings = {"epochs": 4, "batch": 8, "seed": 3, "validation": 0}
        return oche.search(Mine(), data=images, method=searched, checkpoints=checkpoints, **settings)  # type: ignore[arg-type]

    def plain(result: oche.SearchResult) -> Any:
        weights = {name: value.tolist() for name, value in result.supernet.state_dict().items()}
        records = [{k: v for k, v in record.items() if k != "seconds"} for record in result.found.records]
        return weights, records, result.architecture

    whole, stops = plain(search()), 0
    for looks in range(0, 100, 3):
        interrupts: Any = StopAfter(looks)
        place = tmp_path / str(looks)
        try:
            search(Checkpoints(place, "search", interrupts=interrupts))
        except Interrupted:
            assert plain(search(Checkpoints(place, "search"))) == whole
            stops += 1
        else:
            break
    assert [len(record.get("remaining", {})) for record in whole[1]] == [0, 1, 3, 3]  # 2, 4, 2 of 8 moments
    assert stops > 8
