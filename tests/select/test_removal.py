"""The removal test on supernets in which it is known what carries the signal."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.data.batches import Batch
from oche.domain import Domain, Node
from oche.metrics import ACCURACY, Metric
from oche.mixture.softmax import Softmax
from oche.nn.choice import Choice
from oche.nn.engine import set_engine
from oche.nn.network import Stack
from oche.nn.supernet import Supernet, initialize_logits, logits
from oche.randomness import generator
from oche.remaining import Remaining
from oche.select.removal import FirstMetric, Removal, ValidationLoss, without
from oche.select.scene import Scene
from oche.spaces.module_space import ModuleSpace
from oche.spaces.registry import space
from oche.task import ImageTask

CPU = torch.device("cpu")
ALL = Remaining()


class Fixed:
    """The same batches in every epoch."""

    def __init__(self, *batches: Batch) -> None:
        self.batches, self.read = batches, 0

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for batch in self.batches[start:]:
            self.read += 1
            yield batch


def scene(supernet: Supernet, domain: Domain, images: Any, remaining: Remaining = ALL, **changes: Any) -> Scene:
    options: dict[str, Any] = {"loss": F.cross_entropy, "metrics": ACCURACY, "seed": 0, "device": CPU}
    return Scene(
        whole=domain,
        supernet=supernet,
        relaxation=Softmax(),
        images=images,
        remaining=remaining,
        **options | changes,
    )


class Scaled(nn.Module):
    """A candidate that multiplies by a fixed matrix."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix


def module_scene(candidates: Mapping[str, nn.Module], weights: Mapping[str, float], images: Any, **more: Any) -> Scene:
    """A module that is one choice, whose mixing weights are these."""
    searched = ModuleSpace(nn.Sequential(Choice(candidates, key="block"), nn.Identity()))
    supernet = searched.supernet()
    with torch.no_grad():
        logits(supernet)["block"].copy_(torch.tensor([weights[name] for name in candidates]).log())
    return scene(supernet, searched.domain, images, **more)


def by_sign(count: int = 40) -> Batch:
    """Two numbers; the class is the sign of the first one, and the second says nothing."""
    x = torch.randn(count, 2)
    return x, (x[:, 0] > 0).long()


SIGNAL = torch.tensor([[-1.0, 1.0], [0.0, 0.0]])  # scores of both classes from the first number
NOISE = torch.tensor([[0.0, 0.0], [-1.0, 1.0]])  # from the second


@pytest.mark.parametrize("criterion", [FirstMetric(), ValidationLoss()])
def test_the_candidate_that_carries_the_signal_is_found_although_its_logit_is_smallest(criterion) -> None:
    candidates = {"noise": Scaled(0.01 * NOISE), "nothing": Scaled(0 * SIGNAL), "signal": Scaled(SIGNAL)}
    s = module_scene(candidates, {"noise": 0.5, "nothing": 0.4, "signal": 0.1}, Fixed(by_sign(), by_sign()))
    assert s.rows["block"].argmin() == 2
    assert Removal(criterion=criterion).candidate(s, "block") == 2


def test_two_copies_of_the_strongest_make_each_other_dispensable_and_the_unique_one_is_kept() -> None:
    # The class is the sign of the sum of both numbers. Two candidates see the first number, and one, with a smaller
    # weight, the second: alone, a copy is better than it, but it cannot be replaced.
    x = torch.randn(400, 2) * torch.tensor([1.0, 0.8])
    images = Fixed((x, (x.sum(dim=1) > 0).long()))
    candidates = {"copy": Scaled(SIGNAL), "other copy": Scaled(SIGNAL), "unique": Scaled(NOISE)}
    s = module_scene(candidates, {"copy": 0.35, "other copy": 0.35, "unique": 0.3}, images)
    alone = [s.measure({"block": torch.eye(3)[i]})["accuracy"] for i in range(3)]
    assert max(range(3), key=alone.__getitem__) == 0  # what discretization accuracy keeps
    assert alone[2] < alone[0]
    assert Removal().candidate(s, "block") == 2


def test_a_metric_of_which_less_is_better_is_an_error_and_the_loss_stands_in_for_none() -> None:
    measured = {"loss": 2.0, "error": 0.3}
    error = {"error": Metric(lambda output, target: output.mean(), higher_is_better=False)}
    assert FirstMetric().quality(measured, error) == -0.3
    assert FirstMetric().quality(measured, {}) == -2.0
    assert ValidationLoss().quality(measured, error) == -2.0
    assert FirstMetric().quality({"loss": 2.0, "accuracy": 0.3}, ACCURACY) == 0.3


def test_ties_go_to_the_lower_index() -> None:
    same = {name: Scaled(SIGNAL) for name in "abc"}
    s = module_scene(same, {"a": 0.2, "b": 0.3, "c": 0.5}, Fixed(by_sign()))
    assert Removal().candidate(s, "block") == 0  # no removal changes the accuracy


# -- cells -------------------------------------------------------------------------------------------------------------

SPACE = space("rdarts-s3", nodes=2).replace(supernet_stack=Stack(cells=2, channels=4))
TASK = ImageTask(channels=1, height=8, width=8, classes=2)


def images(*sizes: int) -> Fixed:
    return Fixed(*[(torch.randn(n, 1, 8, 8), torch.arange(n) % 2) for n in sizes])


def cells(remaining: Remaining = ALL, data: Any = None) -> Scene:
    torch.manual_seed(1)
    supernet = SPACE.supernet(TASK)
    initialize_logits(supernet, 1.0, generator(3))
    return scene(supernet, SPACE.domain, data or images(4, 4), remaining)


def test_during_a_removal_the_row_sums_to_what_is_left_and_all_other_rows_stay() -> None:
    pruned = Remaining().prune("normal/2<-0", (0, 2)).decide("normal/2<-1", 1)
    for remaining in (Remaining(), pruned):
        s = cells(remaining)
        before, row = s.mixture, s.rows["normal/2<-0"]
        for place, a in enumerate(row):
            mixture = without(s, "normal/2<-0", place)
            whole = s.remaining.of("normal/2<-0", 3)[place]
            torch.testing.assert_close(mixture["normal/2<-0"].sum(), 1 - a)
            assert mixture["normal/2<-0"][whole] == 0
            for key, other in before.items():
                same = mixture[key] == other
                assert same.all() if key != "normal/2<-0" else same.sum() == len(other) - 1
        assert not without(s, "normal/2<-0")["normal/2<-0"].any()
        torch.testing.assert_close(s.rows["normal/2<-0"], row)  # nothing of it was changed in place


def test_a_removal_leaves_the_supernet_as_it_is() -> None:
    s = cells()
    s.supernet.train()
    before = copy.deepcopy(s.supernet.state_dict())
    Removal().candidate(s, "normal/2<-0")
    Removal().dropped(s, SPACE.domain.nodes[1])
    assert s.supernet.training
    assert all(module.training for module in s.supernet.modules())
    after = s.supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any("running_var" in name for name in before)
    assert all(value.grad is None for value in s.supernet.parameters())


def test_it_is_measured_under_batch_statistics() -> None:
    s = cells()
    before = s.measure(s.mixture)
    for name, buffer in s.supernet.named_buffers():
        if "running" in name:
            buffer.mul_(7).add_(3)
    assert s.measure(s.mixture) == before
    # By hand: training mode, and the means over both batches.
    with torch.no_grad():
        losses = [F.cross_entropy(s.supernet.train()(x, s.mixture), y).item() for x, y in s.images.epoch(0)]
    assert before["loss"] == pytest.approx(sum(losses) / 2, abs=1e-6)


def test_a_last_batch_of_one_image_is_left_out() -> None:
    pair, single = images(4), images(4, 1)
    single.batches = (pair.batches[0], single.batches[1])
    assert cells(data=single).measure(cells().mixture) == cells(data=pair).measure(cells().mixture)


def test_edges_are_removed_one_by_one_in_a_single_ranking() -> None:
    node = SPACE.domain.nodes[1]
    assert (len(node.edges), node.keep) == (3, 2)
    s, losses = cells(), []
    for edge in node.edges:
        mixture = {key: row.clone() for key, row in s.mixture.items()}
        mixture[edge.key].zero_()
        losses.append(s.measure(mixture)["loss"])
    weakest = min(range(3), key=losses.__getitem__)  # hurts least
    assert Removal(criterion=ValidationLoss()).dropped(s, node) == [node.edges[weakest].key]
    assert Removal().dropped(s, Node(node.edges[:2], 2)) == []
    assert Removal().dropped(s, Node(node.edges, None)) == []
    others = [edge.key for i, edge in enumerate(node.edges) if i != weakest]
    assert Removal().dropped(cells(Remaining().drop([others[0]])), node) == []  # as many as are kept


def test_the_candidate_is_one_that_may_be_selected_by_its_place_among_all() -> None:
    key = "normal/2<-0"
    assert SPACE.domain.edges[key].candidates == ("none", "skip_connect", "sep_conv_3x3")
    for remaining, allowed in (
        (Remaining(), {1, 2}),
        (Remaining().prune(key, (0, 2)), {2}),  # one that may be selected needs no evaluation
        (Remaining().prune(key, (1, 2)), {1, 2}),
    ):
        data = images(4)
        s = cells(remaining, data)
        assert Removal().candidate(s, key) in allowed
        assert data.read == (len(allowed) > 1)  # the batch is read once for all removals


class Drawing(nn.Module):
    """Adds noise in every mode, so that evaluations differ unless they draw the same."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


def test_all_removals_see_the_same_random_draws() -> None:
    searched = ModuleSpace(nn.Sequential(Drawing(), Choice({n: Scaled(SIGNAL) for n in "abc"}, key="block")))
    s = scene(searched.supernet(), searched.domain, Fixed(by_sign(), by_sign()))
    state = torch.get_rng_state()
    found = s.measure_each([without(s, "block", i) for i in range(3)])
    assert found[0] == found[1] == found[2] == s.measure(without(s, "block", 0))
    assert torch.equal(torch.get_rng_state(), state)
    # Two batches see other draws.
    seen: list[Tensor] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        seen.append(output)
        return F.cross_entropy(output, target)

    batch = by_sign()
    again = scene(s.supernet, searched.domain, Fixed(batch, batch), loss=loss)
    again.measure(again.mixture)
    assert not torch.equal(seen[0], seen[1])


# -- what is shared between removals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["reference", "fast"])
@pytest.mark.parametrize(("key", "shared"), [("normal/2<-0", 0), ("reduction/3<-1", 2)])
def test_cells_before_the_first_changed_one_are_evaluated_once_to_the_same_bits(
    key: str, shared: int, engine: str
) -> None:
    deep = SPACE.replace(supernet_stack=Stack(cells=5, channels=4, reductions=1))
    supernet = deep.supernet(TASK)
    set_engine(supernet, engine)
    initialize_logits(supernet, 1.0, generator(3))
    s = scene(supernet, deep.domain, images(4, 4))
    mixtures = [without(s, key, place) for place in range(3)]
    apart = [s.measure(mixture) for mixture in mixtures]
    calls = [0] * 5
    for index, cell in enumerate(supernet.body.cells):
        cell.register_forward_hook(lambda *_, index=index: calls.__setitem__(index, calls[index] + 1))
    assert s.measure_each(mixtures) == apart
    # Both batches, and per batch once or for each of the three removals.
    assert calls == [2] * shared + [2 * 3] * (5 - shared)


def test_mixtures_that_run_different_candidates_share_nothing() -> None:
    s = cells()
    pruned = Remaining().decide("reduction/2<-0", 1)
    mixtures = [s.mixture, replace(s, remaining=pruned).mixture]
    assert s.measure_each(mixtures) == [s.measure(mixture) for mixture in mixtures]
