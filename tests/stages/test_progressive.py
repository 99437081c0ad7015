"""Shrinking and widening in the middle of a search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from scipy import stats
from torch import Tensor

import oche
from oche.checkpoint import Checkpoints
from oche.data.dataset import Dataset
from oche.data.load import load
from oche.data.options import DataOptions
from oche.domain import Domain, Edge, Node
from oche.errors import InputError
from oche.interrupt import Interrupted
from oche.methods import DARTS, METHODS, Method
from oche.mixture.dirichlet import Dirichlet
from oche.mixture.softmax import Softmax
from oche.moment import Moment
from oche.nn.cell import MixedEdge
from oche.nn.network import Stack
from oche.nn.structure import PartialChannels
from oche.nn.supernet import Supernet
from oche.remaining import Remaining
from oche.schedule import Epochs, Length, Share
from oche.select.scene import Scene
from oche.spaces.cell_space import CellSpace
from oche.spaces.darts import uniform
from oche.stages.base import Course, EpochPlan
from oche.stages.progressive import Progressive

PLAN = EpochPlan(relaxation=Softmax(), end=6)
STAGE = Progressive(first=Share(1 / 2), keep=2, frozen=Share(2 / 5))


# -- when --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frozen", "epochs", "still"),
    [
        (Share(10 / 25), 50, [*range(10), *range(25, 35)]),  # the paper's search on CIFAR-10
        (Share(10 / 50), 100, [*range(10), *range(50, 60)]),  # and on NAS-Bench-201
        (Share(10 / 25), 5, [0, 1, 3]),
        (Share(10 / 25), 2, []),  # a part of one epoch is not frozen
        (Share(10 / 25), 1, []),
        (Epochs(3), 4, [0, 2]),
        (Epochs(0), 4, []),
    ],
)
def test_the_logits_stand_still_at_the_start_of_each_part(frozen: Length, epochs: int, still: list[int]) -> None:
    stage = Progressive(first=Share(1 / 2), keep=2, frozen=frozen)
    assert [e for e in range(epochs) if not stage.plan(PLAN, e, epochs).move_logits] == still
    assert not any(stage.plan(replace(PLAN, move_logits=False), e, epochs).move_logits for e in range(epochs))


# -- what remains ------------------------------------------------------------------------------------------------------


class Noted:
    """A course that notes what is done to it."""

    def __init__(self, domain: Domain, logits: dict[str, list[float]], remaining: Remaining | None = None) -> None:
        self.calls: list[str] = []
        rows = {key: torch.tensor(row) for key, row in logits.items()}
        supernet = cast(Supernet, _Owner({f"A/{key}": row for key, row in rows.items()}))
        nothing: Any = None
        self.scene = Scene(
            whole=domain,
            supernet=supernet,
            relaxation=Dirichlet(),
            images=nothing,
            loss=nothing,
            metrics={},
            seed=0,
            device=torch.device("cpu"),
            remaining=remaining or Remaining(),
        )

    def settle(self, remaining: Remaining) -> None:
        self.calls.append("settle")
        self.remaining = remaining

    def widen(self) -> None:
        self.calls.append("widen")


class _Owner:
    """Has logits, and nothing else of a supernet."""

    def __init__(self, rows: dict[str, Tensor]) -> None:
        self.logits = rows


def act(course: Noted, keep: int, epoch: int = 2, epochs: int = 4) -> None:
    stage = Progressive(first=Share(1 / 2), keep=keep, frozen=Epochs(0))
    stage.act(cast(Course, course), Moment(epoch=epoch, epochs=epochs))


def domain(*edges: Edge) -> Domain:
    return Domain("mine", (Node(edges),))


def test_the_strongest_remain_and_ties_go_to_the_lower_place() -> None:
    edge = Edge("k", ("a", "b", "c", "d", "e"))
    course = Noted(domain(edge), {"k": [0.1, -3.0, 0.5, 0.1, 0.1]})
    act(course, keep=3)
    assert course.calls == ["settle", "widen"]
    assert course.remaining.kept == {"k": (0, 2, 3)}


def test_what_cannot_be_selected_goes_first_whatever_its_weight() -> None:
    none = frozenset({"none"})
    course = Noted(
        domain(Edge("k", ("none", "a", "b", "c"), none), Edge("l", ("none", "a"), none), Edge("m", ("none", "a", "b"))),
        {"k": [9.0, 0.1, 0.3, 0.2], "l": [9.0, 0.0], "m": [9.0, 0.0, 0.1]},
    )
    act(course, keep=2)
    # Where it may be selected, as in NAS-Bench-201, it is a candidate like others; a short edge keeps what it has.
    assert course.remaining.kept == {"k": (2, 3), "l": (0, 1), "m": (0, 2)}


def test_what_was_pruned_or_decided_before_stays_so() -> None:
    edges = [Edge(key, ("a", "b", "c", "d")) for key in ("k", "l", "m")]
    before = Remaining().prune("k", (1, 2, 3)).decide("l", 2).drop(["m"])
    course = Noted(domain(*edges), {key: [9.0, 0.1, 0.3, 0.2] for key in "klm"}, before)
    act(course, keep=2)
    assert course.remaining.kept == {"k": (2, 3), "l": (2,), "m": ()}


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_it_acts_once(epoch: int) -> None:
    course = Noted(domain(Edge("k", ("a", "b"))), {"k": [0.0, 1.0]})
    act(course, keep=1, epoch=epoch)
    assert course.calls == []


def test_one_candidate_at_least_remains() -> None:
    with pytest.raises(InputError, match=r"keep >= 1.*keep=0"):
        Progressive(first=Share(1 / 2), keep=0, frozen=Epochs(0))


def test_a_draw_from_what_remains_is_the_old_draw_masked_and_renormalized() -> None:
    """Both against the closed form: each weight is Beta(beta_o, sum of the others), and the moments of pairs agree."""
    logits = torch.tensor([0.7, -0.4, 0.2, 1.5, -1.0], dtype=torch.float64)
    kept = [0, 2, 4]
    beta = (torch.nn.functional.elu(logits) + 1)[kept]
    many, now = 20_000, Moment(epoch=0, epochs=1)
    whole = Dirichlet().draw({"k": logits.expand(many, -1)}, now)["k"][:, kept]
    masked = whole / whole.sum(1, keepdim=True)
    narrow = Dirichlet().draw({"k": Remaining().prune("k", kept).narrow({"k": logits})["k"].expand(many, -1)}, now)["k"]
    for draws in (masked, narrow):
        for i in range(3):
            law = stats.beta(float(beta[i]), float(beta.sum() - beta[i]))
            assert stats.kstest(draws[:, i].numpy(), law.cdf).pvalue > 1e-3
        product = draws[:, 0] * draws[:, 1]
        expected = beta[0] * beta[1] / (beta.sum() * (beta.sum() + 1))
        assert abs(product.mean() - expected) < 4 * product.std() / many**0.5


# -- searches ----------------------------------------------------------------------------------------------------------


SPACE = uniform("mine", ("none", "avg_pool_3x3", "skip_connect", "sep_conv_3x3"), nodes=1).replace(
    supernet_stack=Stack(cells=2, channels=4)
)
METHOD = replace(
    METHODS["drnas-progressive"],
    structure=PartialChannels(shares=(4, 2)),
    stages=(STAGE,),
    variants=(),
)


@pytest.fixture(scope="module")
def images() -> Dataset:
    return load("digits", DataOptions(limit=120))


def search(images: Dataset, method: Method = METHOD, epochs: int = 2, **more: Any) -> oche.SearchResult:
    return oche.search(SPACE, data=images, method=method, epochs=epochs, batch=16, validation=0, seed=3, **more)


def edges(result: oche.SearchResult) -> list[MixedEdge]:
    return [m for m in result.supernet.modules() if isinstance(m, MixedEdge)]


def test_a_search_shrinks_widens_and_selects_from_what_remains(images: Dataset) -> None:
    result = search(images)
    first, second = result.found.records
    assert "remaining" not in first
    assert second["remaining"].keys() == first["logits"].keys()
    for key, kept in second["remaining"].items():
        row = first["logits"][key]
        assert kept == sorted(sorted((1, 2, 3), key=lambda i, row=row: -row[i])[:2])  # without none
        chosen = result.architecture.choices.get(key)
        assert chosen is None or result.space.domain.edges[key].candidates.index(chosen) in kept
    for edge in edges(result):
        assert edge.bypass is not None
        assert edge.bypass.share == 2
        width = {m.num_features for m in edge.modules() if isinstance(m, torch.nn.BatchNorm2d)}
        assert width == {4 if "reduction" in edge.key else 2}


def test_a_search_of_one_epoch_is_all_first_part(images: Dataset) -> None:
    result = search(images, epochs=1)
    assert {edge.bypass.share for edge in edges(result) if edge.bypass} == {4}
    assert "remaining" not in result.found.records[0]


def test_the_last_share_may_be_every_channel(images: Dataset) -> None:
    result = search(images, replace(METHOD, structure=PartialChannels(shares=(2, 1))))
    assert {edge.bypass for edge in edges(result)} == {None}


def test_both_engines_find_the_same(images: Dataset) -> None:
    rows = [search(images, engine=engine).found.logits[-1] for engine in ("fast", "reference")]
    for key, row in rows[0].items():
        assert row == pytest.approx(rows[1][key], abs=1e-4)


class Patience:
    """Asks a search to stop the n-th time that it looks."""

    def __init__(self, patience: int) -> None:
        self.looks, self.patience = 0, patience

    @property
    def received(self) -> int | None:
        self.looks += 1
        return 2 if self.looks > self.patience else None


def stopped_once(images: Dataset, method: Method, directory: Path) -> Iterator[oche.SearchResult]:
    """What comes out if the search is stopped once, for every moment at which it looks."""
    for patience in range(1000):
        place, interrupts = directory / str(patience), cast(Any, Patience(patience))
        try:
            search(images, method, checkpoints=Checkpoints(place, "search", interrupts=interrupts))
        except Interrupted:
            yield search(images, method, checkpoints=Checkpoints(place, "search"))
        else:
            return


def test_a_search_goes_on_bit_for_bit_before_at_and_after_the_widening(images: Dataset, tmp_path: Path) -> None:
    whole = search(images)
    expected, stops = whole.supernet.state_dict(), 0
    for pieces in stopped_once(images, METHOD, tmp_path):
        stops += 1
        found = pieces.supernet.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
        assert pieces.found.logits == whole.found.logits
        assert pieces.architecture == whole.architecture
        for one, other in zip(pieces.found.records, whole.found.records, strict=True):
            assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert stops == 2 * (3 + 4 + 1)  # steps, validation batches and end of each epoch


def test_a_search_that_diverges_after_the_widening_ends_with_its_last_selection(images: Dataset) -> None:
    class Poisoned:
        """Batches that turn into NaN in the second epoch."""

        def __init__(self) -> None:
            self.rounds = 0

        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            self.rounds += 1
            x = torch.randn(8, 1, 8, 8) if self.rounds == 1 else torch.full((8, 1, 8, 8), torch.nan)
            return iter([(x, torch.arange(8))] * 2)

    valid = [(torch.randn(8, 1, 8, 8), torch.arange(8))] * 2
    result = oche.search(SPACE, train=Poisoned(), valid=valid, task=images.task, method=METHOD, epochs=2)
    assert result.found.stopped is not None
    assert len(result.found.records) == 1
    assert all(t.isfinite().all() for t in result.supernet.state_dict().values())
    assert result.architecture.choices == dict(result.found.records[0]["architecture"])
    assert {edge.bypass.share for edge in edges(result) if edge.bypass} == {2}


# -- methods -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": (STAGE,)}, "needs a structure that lets more channels through later"),
        ({"structure": PartialChannels(shares=(6, 4))}, "needs a stage that lets more channels through"),
        ({"structure": PartialChannels(shares=(4,)), "stages": (STAGE,)}, "needs a structure that lets more"),
        ({"structure": PartialChannels(shares=(4, 2)), "stages": (STAGE, STAGE)}, "one share of channels to widen to"),
    ],
)
def test_there_is_a_share_of_channels_for_each_widening(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(DARTS, **changes)


def test_a_space_whose_candidates_cannot_be_widened_is_refused() -> None:
    METHODS["drnas-progressive"].check(oche.space("darts"))
    with pytest.raises(InputError, match="needs candidates that can all be widened"):
        METHODS["drnas-progressive"].check(oche.space("allegro"))


def test_a_search_that_begins_anew_cannot_be_widened() -> None:
    class Restarting:
        restarts = True

        def plan(self, plan: EpochPlan, epoch: int, epochs: int) -> EpochPlan:
            return plan

        def act(self, course: Course, now: Moment) -> None:
            course.restart()

    with pytest.raises(InputError, match="begins the search anew"):
        replace(METHOD, stages=(STAGE, Restarting()))


def test_the_paper_s_supernet_can_be_built_and_a_width_that_cannot_be_divided_is_refused() -> None:
    progressive = METHODS["drnas-progressive"].fitted("darts-without-none")
    searched = cast(CellSpace, oche.space("darts-without-none"))
    with pytest.raises(InputError, match=r"--space\.channels 24"):  # its own 16
        searched.supernet(oche.ImageTask(channels=3, height=8, width=8, classes=10), progressive.structure)
    assert progressive.supernet == Stack(cells=20, channels=36)
    for share in progressive.structure.shares:
        assert 36 % share == 0
