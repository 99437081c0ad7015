"""Edges first, then operations."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import oche
from oche.data.dataset import Dataset
from oche.data.load import load
from oche.data.options import DataOptions
from oche.errors import InputError
from oche.methods import METHODS, Method
from oche.mixture.perturbation import UniformPerturbation
from oche.moment import Moment
from oche.nn.cell import MixedEdge
from oche.nn.network import Stack
from oche.nn.structure import PartialChannels
from oche.nn.supernet import logits
from oche.schedule import Epochs, Share
from oche.stages.base import Course, EpochPlan
from oche.stages.edge_search import EdgeSearch, FixedEdges
from oche.stages.freeze_logits import FreezeLogits

SPACE = oche.space("rdarts-s3", nodes=2).replace(supernet_stack=Stack(cells=3, channels=4))


@pytest.fixture(scope="module")
def images() -> Dataset:
    return load("digits", DataOptions(limit=80))


@dataclass(frozen=True)
class Look:
    """A stage that only looks."""

    seen: list[dict[str, Any]] = field(default_factory=list)
    restarts = False

    def logits(self, domain: object) -> Mapping[str, int]:
        return {}

    def plan(self, plan: EpochPlan, epoch: int, epochs: int) -> EpochPlan:
        return plan

    def act(self, course: Course, now: Moment) -> None:
        scene = course.scene
        state = {name: value.clone() for name, value in scene.supernet.state_dict().items()}
        self.seen.append({"now": now, "kept": dict(scene.remaining.kept), "state": state, "mixture": scene.mixture})


def search(method: Method, images: Dataset, epochs: int = 4, **options: Any) -> oche.SearchResult:
    return oche.search(SPACE, data=images, method=method, epochs=epochs, batch=16, validation=0, **options)


def of(*stages: Any, name: str = "amended", **changes: Any) -> Method:
    return replace(METHODS[name], stages=stages, **changes)


def test_the_second_part_begins_anew_on_the_edges_of_the_first(images: Dataset) -> None:
    look = Look()
    found = search(of(EdgeSearch(), look), images)
    assert [(e["now"].epoch, e["now"].epochs) for e in look.seen] == [(0, 2), (1, 2), (0, 2), (1, 2)]
    first, _, third, _ = (e["state"] for e in look.seen)
    assert all(torch.equal(third[name], value) for name, value in first.items())

    # In the first part the rows of an edge sum to the share of the pairs that hold it: at node 3, three pairs of three
    # edges, two of which hold each edge.
    sums = {key: float(row.sum()) for key, row in look.seen[0]["mixture"].items() if key.startswith("normal/")}
    expected = {"normal/2<-0": 1, "normal/2<-1": 1} | {f"normal/3<-{i}": 2 / 3 for i in range(3)}
    assert sums == pytest.approx(expected)

    # Two of the three edges of node 3 stay, in each kind of cell, and nothing is left to decide but operations.
    assert not look.seen[1]["kept"]
    kept = look.seen[2]["kept"]
    dropped = [key for key, places in kept.items() if places == () and not key.endswith("*")]
    assert sorted(key.partition("<-")[0] for key in dropped) == ["normal/3", "reduction/3"]
    assert look.seen[3]["kept"] == kept
    assert not set(dropped) & set(found.architecture.choices)

    # The strongest pair by the logits that the first part has left.
    table = found.found.records[1]["logits"]
    for kind in ("normal", "reduction"):
        row = table[f"{kind}/3<-0*"]
        pair = [(0, 1), (0, 2), (1, 2)][row.index(max(row))]
        assert {int(key[-1]) for key in found.architecture.choices if key.startswith(f"{kind}/3")} == set(pair)


def test_the_logits_of_pairs_move_in_the_first_part_only(images: Dataset) -> None:
    found = search(of(EdgeSearch()), images, seed=1)
    tables = found.found.logits
    assert tables[0]["normal/3<-0*"] != tables[2]["normal/3<-0*"]
    assert tables[3]["normal/3<-0*"] == pytest.approx(tables[0]["normal/3<-0*"], abs=1e-6), (
        "begun anew, and no gradient"
    )


def test_the_gradient_reaches_pairs_and_operations_through_their_product() -> None:
    """Against differentiating the loss with Eq. 16 in the forward pass."""
    from torch.nn import functional as F

    from oche.mixture.groups import EdgeGroups
    from oche.step import SearchStep

    torch.manual_seed(0)
    task = oche.ImageTask(channels=1, height=8, width=8, classes=2)
    supernet = SPACE.supernet(task).double()
    groups = EdgeGroups.of(SPACE.domain)
    supernet.add_logits({key: len(sets) for key, sets in groups.sets.items()})
    supernet.double()
    for value in logits(supernet).values():
        torch.nn.init.normal_(value)
    step = SearchStep(supernet, METHODS["darts"], F.cross_entropy, torch.device("cpu"))
    step.groups = groups
    batch = torch.randn(6, 1, 8, 8, dtype=torch.float64), torch.arange(6) % 2
    mixing = {key: torch.softmax(value, 0) for key, value in logits(supernet).items()}
    loss = F.cross_entropy(supernet(batch[0], weighted_by_hand(mixing)), batch[1])
    expected = torch.autograd.grad(loss, list(logits(supernet).values()))
    step(batch, batch, seed=0, now=Moment(epoch=0, epochs=1))
    for (key, value), g in zip(logits(supernet).items(), expected, strict=True):
        torch.testing.assert_close(value.grad, g, msg=key)
    assert any(g.abs().max() > 0 for key, g in zip(logits(supernet), expected, strict=True) if key.endswith("3<-0*"))


def weighted_by_hand(mixing: dict[str, Tensor]) -> dict[str, Tensor]:
    result = {}
    for key, a in mixing.items():
        kind, _, source = key.partition("<-")
        if not source.endswith("*"):
            p = mixing[f"{kind}<-0*"]
            pairs = [(0, 1)] if kind.endswith("2") else [(0, 1), (0, 2), (1, 2)]
            result[key] = a * sum(p[i] for i, pair in enumerate(pairs) if int(source) in pair)
    return result


def test_fixed_edges_are_the_first_input_and_the_node_before(images: Dataset) -> None:
    look = Look()
    found = search(of(FixedEdges(), look, name="darts"), images, epochs=2)
    assert {key for key, places in look.seen[0]["kept"].items() if not places} == {"normal/3<-1", "reduction/3<-1"}
    assert set(found.architecture.choices) == {
        f"{kind}/{edge}" for kind in ("normal", "reduction") for edge in ("2<-0", "2<-1", "3<-0", "3<-2")
    }
    edges = [module for module in found.supernet.modules() if isinstance(module, MixedEdge)]
    for edge in edges:  # what is dropped is never computed, and has never been trained
        counts = {int(b) for name, b in edge.named_buffers() if name.endswith("num_batches_tracked")}
        assert (counts == {0}) == (edge.key in ("normal/3<-1", "reduction/3<-1"))


def test_they_compose_with_warm_ups_perturbations_and_sparse_mixtures(images: Dataset) -> None:
    look = Look()
    stages = (EdgeSearch(first=Epochs(2)), FreezeLogits(first=Share(1 / 2)), look)
    found = search(of(*stages, name="sdarts-rs", perturbation=UniformPerturbation()), images)
    tables = found.found.logits
    # Each part has a warm-up of its own: the logits stand still in its first epoch.
    assert tables[1] == tables[0]
    assert tables[2] != tables[1]
    assert tables[3] == tables[0]
    search(of(EdgeSearch(), name="sp-darts"), images, epochs=2)
    search(of(EdgeSearch(), name="drnas"), images, epochs=4)


def test_a_time_limit_within_the_edge_search_still_gives_an_architecture(images: Dataset) -> None:
    found = search(of(EdgeSearch(first=Epochs(50))), images, epochs=100, time_limit=0.1)
    assert found.found.stopped is not None
    SPACE.domain.check(found.architecture)


def test_edges_of_which_only_some_channels_are_mixed_are_refused() -> None:
    with pytest.raises(InputError, match="every channel of an edge is mixed"):
        of(EdgeSearch(), structure=PartialChannels(shares=(4,)))
    of(FixedEdges(), structure=PartialChannels(shares=(4,)))


@pytest.mark.parametrize(
    ("stage", "space", "message"),
    [
        (EdgeSearch(), "nasbench201", "needs nodes that keep some"),
        (FixedEdges(), "nasbench201", "needs nodes that each keep two"),
        (EdgeSearch(first=Epochs(4)), "rdarts-s3", "4 of 4"),
        (EdgeSearch(first=Epochs(0)), "rdarts-s3", "0 of 4"),
    ],
)
def test_what_cannot_be_is_refused_before_the_search(images: Dataset, stage: Any, space: str, message: str) -> None:
    small = oche.space(space).replace(supernet_stack=Stack(cells=1, channels=4))
    with pytest.raises(InputError, match=message):
        oche.search(small, data=images, method=of(stage, name="darts"), epochs=4, batch=16, validation=0)
