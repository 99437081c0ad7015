"""Discretization accuracy at convergence, the advantage of skips, and shuffled edges, against direct computations."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oche
from oche.data.batches import Batch
from oche.data.halves import SearchData
from oche.errors import InputError
from oche.listeners.base import Job, Listener
from oche.methods import DARTS
from oche.metrics import ACCURACY, Meter
from oche.mixture.softmax import Softmax
from oche.nn.choice import Choice
from oche.nn.engine import set_engine
from oche.nn.network import Stack
from oche.nn.supernet import Supernet, initialize_logits, logits
from oche.optim import SGD
from oche.probe.strength import advantages, exchange, shuffled, strengths
from oche.randomness import generator
from oche.remaining import Remaining
from oche.schedule import Constant
from oche.select.scene import Scene
from oche.spaces.module_space import ModuleSpace
from oche.spaces.registry import space
from oche.task import ImageTask

CPU = torch.device("cpu")
SPACE = space("rdarts-s3", nodes=2).replace(supernet_stack=Stack(cells=2, channels=4))
TASK = ImageTask(channels=1, height=8, width=8, classes=2)


class Fixed:
    """The same batches in every epoch."""

    def __init__(self, *batches: Batch) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return iter(self.batches[start:])


class Hear(Listener):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.steps: list[tuple[int, int]] = []
        self.records: list[Mapping[str, Any]] = []

    def start(self, job: Job) -> None:
        self.job = job

    def step(self, epoch: int, step: int, meter: Meter) -> None:
        self.steps.append((epoch, step))

    def epoch(self, record: Mapping[str, Any]) -> None:
        self.records.append(record)


def halves(batches: list[Batch]) -> SearchData:
    own = Fixed(*batches)
    return SearchData(train=own, valid=own, evaluation=own)


def scene(supernet: Supernet, domain: Any, data: SearchData, **changes: Any) -> Scene:
    options: dict[str, Any] = {"loss": F.cross_entropy, "metrics": ACCURACY, "seed": 0, "device": CPU}
    return Scene(whole=domain, supernet=supernet, relaxation=Softmax(), images=data.evaluation, **options | changes)


# -- discretization accuracy at convergence ----------------------------------------------------------------------------


class Column(nn.Module):
    """A candidate that sees one of two numbers."""

    def __init__(self, column: int) -> None:
        super().__init__()
        self.column, self.linear = column, nn.Linear(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x[:, [self.column]])


def by_column() -> tuple[Scene, SearchData]:
    """The class is the sign of the second number, and the mixing weights prefer the first one."""
    x = torch.randn(48, 2)
    data = halves([(part, (part[:, 1] > 0).long()) for part in x.split(16)])
    searched = ModuleSpace(
        nn.Sequential(Choice({"noise": Column(0), "signal": Column(1)}, key="block"), nn.Dropout(0.1))
    )
    supernet = searched.supernet()
    with torch.no_grad():
        logits(supernet)["block"].copy_(torch.tensor([2.0, 0.0]))
    return scene(supernet, searched.domain, data), data


FAST = SGD(lr=Constant(0.5), weight_decay=0.0)


def test_the_strong_candidate_is_found_whatever_the_weights_say() -> None:
    s, data = by_column()
    before = copy.deepcopy(s.supernet.state_dict())
    noise, signal = strengths(s, DARTS, data, ["block"], epochs=10, optimizer=FAST)
    assert (noise.key, noise.candidate, signal.candidate) == ("block", "noise", "signal")
    assert [noise.weight, signal.weight] == pytest.approx(torch.softmax(torch.tensor([2.0, 0.0]), 0).tolist())
    assert signal.measured["accuracy"] > 0.9 > noise.measured["accuracy"]
    assert all(torch.equal(before[name], value) for name, value in s.supernet.state_dict().items())


def test_it_is_the_training_of_the_discretized_supernet() -> None:
    searched = ModuleSpace(
        nn.Sequential(Choice({"noise": Column(0), "signal": Column(1)}, key="block"), nn.Linear(2, 2))
    )
    _, data = by_column()
    s = scene(searched.supernet(), searched.domain, data)
    found = strengths(s, DARTS, data, ["block"], epochs=5 / 3, optimizer=FAST)
    for strength in found:
        body: Any = copy.deepcopy(s.supernet).body
        network = nn.Sequential(body.module[0].candidates[strength.candidate], body.module[1])
        sgd = torch.optim.SGD(body.parameters(), lr=0.5, momentum=0.9)
        for x, y in [*data.train.epoch(0), *data.train.epoch(1)][:5]:  # five steps of three batches
            sgd.zero_grad()
            F.cross_entropy(network(x), y).backward()
            nn.utils.clip_grad_norm_(network.parameters(), DARTS.clip)
            sgd.step()
        with torch.no_grad():
            losses = [F.cross_entropy(network(x), y).item() for x, y in data.evaluation.epoch(0)]
        assert strength.measured["loss"] == pytest.approx(np.mean(losses), abs=1e-6)


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_every_candidate_begins_from_a_fresh_copy(engine: str) -> None:
    supernet = SPACE.supernet(TASK)
    set_engine(supernet, engine)
    initialize_logits(supernet, 1.0, generator(3))
    data = halves([(torch.randn(4, 1, 8, 8), torch.arange(4) % 2) for _ in range(2)])
    s, heard = scene(supernet, SPACE.domain, data), Hear()
    a, b = "normal/2<-0", "reduction/3<-2"
    both = strengths(s, DARTS, data, [a, b], epochs=1, listeners=[heard])
    assert [x.key for x in both] == [a] * 3 + [b] * 3
    assert both[3:] == strengths(s, DARTS, data, [b], epochs=1)
    assert heard.job == Job("strength", 6, 2)
    assert heard.steps == [(number, step) for number in range(6) for step in range(2)]
    assert [record["epoch"] for record in heard.records] == list(range(1, 7))
    assert [record["valid_loss"] for record in heard.records] == [x.measured["loss"] for x in both]
    # Without training it is the one-hot row, under the weights as they are.
    for strength in strengths(s, DARTS, data, [a], epochs=0):
        place = SPACE.domain.edges[a].candidates.index(strength.candidate)
        mixture = s.mixture | {a: torch.eye(3)[place]}  # type: ignore[operator]
        assert strength.measured == pytest.approx(s.measure(mixture), abs=1e-6)
        assert strength.weight == float(s.rows[a][place])


def test_undecided_logits_move_unless_they_shall_not() -> None:
    s, data = by_column()
    searched = ModuleSpace(
        nn.Sequential(
            Choice({"noise": Column(0), "signal": Column(1)}, key="block"),
            Choice({"linear": nn.Linear(2, 2), "skip": nn.Identity()}, key="other"),
        )
    )
    s = scene(searched.supernet(), searched.domain, data)
    quick = replace(DARTS, logit_optimizer=replace(DARTS.logit_optimizer, lr=Constant(0.5)))  # type: ignore[type-var]
    moving, fixed = (strengths(s, quick, data, ["block"], epochs=3, move_logits=m) for m in (True, False))
    assert moving != fixed


@pytest.mark.parametrize(
    ("keys", "epochs", "message"),
    [(["blok"], 1, "did you mean 'block'"), (["block"], -1, "epochs >= 0"), (["block"], 1, "has been decided")],
)
def test_what_cannot_be_compared_is_refused(keys: list[str], epochs: float, message: str) -> None:
    s, data = by_column()
    if "decided" in message:
        s = replace(s, remaining=Remaining().decide("block", 0))
    with pytest.raises(InputError, match=message):
        strengths(s, DARTS, data, keys, epochs=epochs)


# -- the advantage of skips --------------------------------------------------------------------------------------------


def test_the_advantage_is_the_mean_of_the_skips_less_the_mean_of_what_has_weights() -> None:
    domain = oche.space("darts", nodes=1).domain
    names = next(iter(domain.edges.values())).candidates
    tables = [{key: torch.randn(len(names)).tolist() for key in domain.edges} for _ in range(3)]
    records: list[Mapping[str, Any]] = [
        {"epoch": i + 1, "logits": table, "valid_accuracy": 0.5 + i / 10, "valid_loss": 1.0, "train_loss": 3.0}
        for i, table in enumerate(tables)
    ]
    for found, record in zip(advantages(records, domain, Softmax()), records, strict=True):
        gaps = []
        for row in record["logits"].values():
            a = dict(zip(names, np.exp(row) / np.exp(row).sum(), strict=True))
            convolutions = [a[n] for n in ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")]
            gaps.append(a["skip_connect"] - np.mean(convolutions))
        assert found.gap == pytest.approx(np.mean(gaps))
        assert found.measured == {"accuracy": record["valid_accuracy"], "loss": 1.0}
        assert found.epoch == record["epoch"]


def test_only_edges_on_which_skips_still_compete_count() -> None:
    domain = oche.space("darts", nodes=1).domain
    keys, names = list(domain.edges), next(iter(domain.edges.values())).candidates
    table = {key: torch.randn(len(names)).tolist() for key in keys}
    skip, conv = names.index("skip_connect"), names.index("sep_conv_3x3")
    left = Remaining().prune(keys[0], (skip, conv)).decide(keys[1], skip).drop(keys[2:])
    (found,) = advantages([{"epoch": 4, "logits": table, "remaining": left.to_plain()}], domain, Softmax())
    a, b = np.exp(table[keys[0]][skip]), np.exp(table[keys[0]][conv])
    assert found.gap == pytest.approx((a - b) / (a + b))
    assert found.measured == {}
    nothing = Remaining().drop(keys[1:]).decide(keys[0], skip)
    assert advantages([{"epoch": 1, "logits": table, "remaining": nothing.to_plain()}], domain, Softmax()) == []


def test_a_supernet_without_a_kind_of_cell_has_its_own_edges_only() -> None:
    domain = oche.space("darts", nodes=1).domain
    table = {key: torch.randn(8).tolist() for key in domain.edges if key.startswith("normal")}
    assert len(advantages([{"epoch": 1, "logits": table}], domain, Softmax())) == 1


# -- shuffled edges ----------------------------------------------------------------------------------------------------


def cells(engine: str = "reference") -> Scene:
    supernet = SPACE.supernet(TASK)
    set_engine(supernet, engine)
    initialize_logits(supernet, 1.0, generator(3))
    data = halves([(torch.randn(6, 1, 8, 8), torch.arange(6) % 2) for _ in range(2)])
    return scene(supernet, SPACE.domain, data)


def test_an_exchange_takes_weights_and_the_row_along() -> None:
    s = cells()
    x, _ = next(s.images.epoch(0))
    mine = copy.deepcopy(s.supernet)
    body: Any = mine.body
    exchange(body.cells[0], (0, "1"), (1, "2"))
    # By hand: the two edges trade their states, and the mixture its rows. The supernet has one normal cell.
    other = copy.deepcopy(s.supernet)
    edges: Any = other.body.cells[0].nodes  # type: ignore[union-attr, index]
    a, b = edges[0]["1"].choice, edges[1]["2"].choice
    states = copy.deepcopy(a.state_dict()), copy.deepcopy(b.state_dict())
    a.load_state_dict(states[1])
    b.load_state_dict(states[0])
    rows = dict(s.mixture)
    rows["normal/2<-1"], rows["normal/3<-2"] = rows["normal/3<-2"], rows["normal/2<-1"]
    with torch.no_grad():
        found, expected, before = mine(x, s.mixture), other(x, rows), s.supernet(x, s.mixture)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, before, atol=1e-3)


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_shuffling_is_repeated_from_the_supernet_as_it_is(engine: str) -> None:
    s, heard = cells(engine), Hear()
    before = copy.deepcopy(s.supernet.state_dict())
    found = shuffled(s, repeats=4, listeners=[heard])
    assert found.before == s.measure(s.mixture)
    assert len(found.after) == 4
    assert len({after["loss"] for after in found.after} - {found.before["loss"]}) > 1
    assert shuffled(s, repeats=4) == found
    assert heard.job == Job("shuffle", 4, 1)
    assert heard.steps == [(number, 0) for number in range(4)]
    assert [record["valid_loss"] for record in heard.records] == [after["loss"] for after in found.after]
    assert all(torch.equal(before[name], value) for name, value in s.supernet.state_dict().items())


def test_edges_that_are_the_same_can_change_places_unnoticed() -> None:
    s = cells()
    first: dict[str, Any] = {}
    for cell in s.supernet.body.cells:  # type: ignore[union-attr]
        for node in cell.nodes:  # type: ignore[union-attr]
            for edge in node.values():
                form = str([(name, w.shape) for name, w in edge.state_dict().items()])
                edge.load_state_dict(first.setdefault(form, edge.state_dict()))
    with torch.no_grad():
        for value in logits(s.supernet).values():
            value.copy_(torch.tensor([0.1, 0.5, -0.3]))
    found = shuffled(s, repeats=3)
    assert all(after["loss"] == pytest.approx(found.before["loss"], abs=1e-6) for after in found.after)


def test_only_edges_of_equal_stride_and_candidates_that_run_are_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, Any, Any]] = []
    monkeypatch.setattr("oche.probe.strength.exchange", lambda graph, a, b: seen.append((graph, a, b)))
    s = cells()
    dropped = replace(s, remaining=Remaining().drop(["normal/3<-0"]).prune("normal/2<-0", (0, 1)))
    shuffled(dropped, repeats=40)
    pairs = {frozenset((a, b)) for graph, a, b in seen[::2]}
    # The normal cell: 2<-1, 3<-1 and 3<-2 are alike; 2<-0 has other candidates and 3<-0 is no more.
    alike = [(0, "1"), (1, "1"), (1, "2")]
    assert pairs == {frozenset((a, b)) for a in alike for b in alike if a != b}
    # The reduction cell: four edges of stride 2, and 3<-2 of stride 1.
    halving = [(0, "0"), (0, "1"), (1, "0"), (1, "1")]
    assert {frozenset((a, b)) for graph, a, b in seen[1::2]} == {
        frozenset((a, b)) for a in halving for b in halving if a != b
    }


def test_a_module_without_cells_has_nothing_to_shuffle() -> None:
    s, _ = by_column()
    with pytest.raises(InputError, match="no cell has two edges"):
        shuffled(s)
