"""The search loop, step by step: what moves, what stays, and what it equals."""

import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from oche.clock import Deadline
from oche.data.batches import Batch, IterableBatches
from oche.errors import InputError
from oche.feed import SearchData
from oche.listeners.base import Job, Listener
from oche.loop import Found, run_search
from oche.methods import DARTS, METHODS, Method
from oche.metrics import ACCURACY, Meter
from oche.mixture.softmax import Softmax
from oche.moment import Moment
from oche.needs import CELLS, declared
from oche.nn.choice import Choice
from oche.nn.network import Stack
from oche.nn.supernet import Supernet, initialize_logits, logits, weights
from oche.objective.base import Bilevel, Objective, Point
from oche.objective.first_order import FirstOrder
from oche.optim import SGD, Adam
from oche.probe.entropy import entropy
from oche.randomness import generator
from oche.schedule import Constant, Cosine, Epochs
from oche.spaces.module_space import ModuleSpace
from oche.spaces.registry import space
from oche.stages.freeze_logits import FreezeLogits
from oche.step import SearchStep
from oche.task import ImageTask

CPU = torch.device("cpu")
TASK = ImageTask(channels=1, height=8, width=8, classes=2)
SPACE = space("rdarts-s3", nodes=1).replace(supernet_stack=Stack(cells=2, channels=4))


def batch(count: int = 4) -> Batch:
    return torch.randn(count, 1, 8, 8), torch.arange(count) % 2


class Small(nn.Module):
    """A user's module that is trained in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Choice({"linear": nn.Linear(3, 3), "skip": nn.Identity()})
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.block(x)))


def rows(count: int, batch: int = 4) -> list[Batch]:
    return [(torch.randn(batch, 3), torch.arange(batch) % 2) for _ in range(count)]


def feed(train: Any, valid: Any) -> SearchData:
    own = IterableBatches(valid, CPU, 1)
    return SearchData(train=IterableBatches(train, CPU, 0), valid=own, evaluation=own)


def search(method: Method = DARTS, *, train: Any = None, valid: Any = None, **options: Any) -> Found:
    """A search in the small module."""
    torch.manual_seed(5)
    s = ModuleSpace(Small())
    settings = {"loss": F.cross_entropy, "metrics": ACCURACY, "epochs": 2, "seed": 0, "device": CPU} | options
    return run_search(s.supernet(), s.domain, method, feed(train or rows(3), valid or rows(3)), **settings)


# -- one step ----------------------------------------------------------------------------------------------------------


@dataclass
class Snapshot:
    """A moment of a search, copied."""

    weights: list[Tensor]
    logits: list[Tensor]
    buffers: dict[str, Tensor]
    weight_grads: list[Tensor | None]
    logit_grads: list[Tensor | None]


def snapshot(supernet: Supernet) -> Snapshot:
    def copies(tensors: Sequence[Tensor | None]) -> list[Any]:
        return [None if t is None else t.detach().clone() for t in tensors]

    w, a = weights(supernet), list(logits(supernet).values())
    return Snapshot(
        copies(w),
        copies(a),
        {n: b.clone() for n, b in supernet.named_buffers()},
        copies([p.grad for p in w]),
        copies([p.grad for p in a]),
    )


def equal(a: Any, b: Any) -> bool:
    """Bit by bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return a is b if a is None or b is None else torch.equal(a, b)


@dataclass(frozen=True)
class Spy:
    """A softmax that looks at the supernet whenever a mixture is drawn: before the logit and the weight step."""

    supernet: Supernet
    seen: list[Snapshot] = field(default_factory=list)

    @property
    def scale(self) -> float:
        return 1.0

    def draw(self, values: Mapping[str, Tensor], now: Moment) -> dict[str, Tensor]:
        self.seen.append(snapshot(self.supernet))
        return Softmax().draw(values, now)

    def views(self, values: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        return {}

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return Softmax().mean(values)

    def log_strength(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return Softmax().log_strength(values)


NOW = Moment(epoch=3, epochs=10)

OBJECTIVES = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
FOR_MODULES = pytest.mark.parametrize(
    "method",
    [m for m in METHODS.values() if CELLS not in declared(m, "NEEDS_OF_SPACE") and not m.selection.needs_supernet],
    ids=lambda m: m.name,
)


@OBJECTIVES
def test_each_half_of_a_step_moves_what_it_should_and_nothing_else(method: Method) -> None:
    supernet = SPACE.supernet(TASK)
    spy = Spy(supernet)
    step = SearchStep(supernet, replace(method, relaxation=spy, terms=()), F.cross_entropy, CPU)
    for seed in range(3):
        step(batch(), batch(), seed=seed, now=NOW)
    spy.seen.append(snapshot(supernet))
    assert len(spy.seen) == 2 * 3 + 1
    for before, after in zip(spy.seen[0:-1:2], spy.seen[1::2], strict=True):  # the logit steps
        assert not any(map(equal, before.logits, after.logits))
        assert equal(before.weights, after.weights)
        assert equal(before.buffers, after.buffers)
        assert equal(before.weight_grads, after.weight_grads)
    for before, after in zip(spy.seen[1::2], spy.seen[2::2], strict=True):  # the weight steps
        assert equal(before.logits, after.logits)
        assert equal(before.logit_grads, after.logit_grads)
        assert not any(map(equal, before.weights, after.weights))
        for name, b in before.buffers.items():
            if name.endswith("num_batches_tracked"):
                assert after.buffers[name] == b + 1
            elif name.endswith("running_mean"):
                assert not torch.equal(after.buffers[name], b)
    # The first logit step leaves no gradient on the weights.
    assert all(g is None for g in spy.seen[1].weight_grads)


def test_a_frozen_step_leaves_the_logits_without_a_gradient() -> None:
    supernet = SPACE.supernet(TASK)
    step = SearchStep(supernet, DARTS, F.cross_entropy, CPU)
    before = snapshot(supernet)
    step(batch(), batch(), seed=0, now=NOW, move_logits=False)
    after = snapshot(supernet)
    assert equal(before.logits, after.logits)
    assert all(g is None for g in after.logit_grads)
    assert not equal(before.weights, after.weights)


@pytest.mark.parametrize("clip", [5.0, 0.1])
def test_a_first_order_step_is_two_plain_steps_of_autograd(clip: float) -> None:
    supernet = SPACE.supernet(TASK).double()
    initialize_logits(supernet, 0.5, generator(0))
    mine = copy.deepcopy(supernet)
    settings = {
        "weight_optimizer": SGD(lr=Constant(0.1), momentum=0.9, weight_decay=0.01),
        "logit_optimizer": Adam(lr=Constant(0.02), betas=(0.5, 0.999), weight_decay=0.1),
        "clip": clip,
    }
    step = SearchStep(supernet, replace(DARTS, **settings), F.cross_entropy, CPU)
    w, a = weights(mine), logits(mine)
    sgd = torch.optim.SGD(w, lr=0.1, momentum=0.9, weight_decay=0.01)
    adam = torch.optim.Adam(a.values(), lr=0.02, betas=(0.5, 0.999), weight_decay=0.1)

    def loss(data: Batch) -> Tensor:
        mixture = {k: torch.exp(v) / torch.exp(v).sum() for k, v in a.items()}
        return F.cross_entropy(mine(data[0], mixture), data[1])

    for seed in range(3):
        (x, y), (u, v) = batch(), batch()
        train, valid = (x.double(), y), (u.double(), v)
        found, output = step(train, valid, seed=seed, now=NOW)

        statistics = {n: b.clone() for n, b in mine.named_buffers()}
        mine.zero_grad()
        loss(valid).backward()
        adam.step()
        mine.load_state_dict(statistics, strict=False)
        mine.zero_grad()
        expected = loss(train)
        expected.backward()
        norm = sum(p.grad.square().sum() for p in w).sqrt()  # type: ignore[union-attr]
        for p in w:
            p.grad *= min(1.0, clip / norm)
        sgd.step()

        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(F.cross_entropy(output, train[1]), expected)
        for p, q in zip(supernet.state_dict().items(), mine.state_dict().items(), strict=True):
            assert p[0] == q[0]
            torch.testing.assert_close(p[1], q[1])


def test_second_order_needs_plain_sgd() -> None:
    with pytest.raises(InputError, match="plain SGD"):
        replace(METHODS["darts-2nd"], weight_optimizer=Adam())


def test_the_draws_of_a_step_depend_on_its_seed_alone() -> None:
    found = []
    for outer, seed in ((1, 7), (2, 7), (1, 8)):
        torch.manual_seed(0)
        s = ModuleSpace(Small())
        supernet = s.supernet()
        data = rows(2)
        step = SearchStep(supernet, METHODS["darts-2nd"], F.cross_entropy, CPU)
        torch.manual_seed(outer)
        before = torch.get_rng_state()
        step(data[0], data[1], seed=seed, now=NOW)
        assert torch.equal(torch.get_rng_state(), before)
        found.append(snapshot(supernet))
    assert equal(found[0].weights, found[1].weights)
    assert equal(found[0].logits, found[1].logits)
    assert not equal(found[0].weights, found[2].weights)


class Drawing(nn.Module):
    """Notes a random number in each call; shared by all copies of the module."""

    drawn: ClassVar[list[float]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.drawn.append(torch.rand(1).item())
        return x


@pytest.mark.parametrize(("method", "evaluations"), [("darts", 2), ("darts-2nd", 5)])
def test_draws_are_shared_within_a_step_and_new_in_the_next(method: str, evaluations: int) -> None:
    Drawing.drawn.clear()
    s = ModuleSpace(nn.Sequential(Choice({"draw": Drawing(), "linear": nn.Linear(3, 3)}), nn.Linear(3, 2)))
    supernet, seen = s.supernet(), []

    def collect() -> None:
        seen.append(list(Drawing.drawn))
        Drawing.drawn.clear()

    run_search(
        supernet,
        s.domain,
        METHODS[method],
        feed(rows(2), rows(1)),
        loss=F.cross_entropy,
        metrics={},
        epochs=3,
        seed=0,
        device=CPU,
        listeners=[Hear(collect)],
    )
    seen = [step[-evaluations:] for step in seen]  # before them, the evaluation of the epoch before
    assert [len(set(step)) for step in seen] == [1] * 6
    assert [len(step) for step in seen] == [evaluations] * 6
    assert len({step[0] for step in seen}) == 6


def test_rates_follow_their_schedules() -> None:
    method = replace(DARTS, weight_optimizer=SGD(lr=Cosine(0.4, 0.1)), logit_optimizer=Adam(lr=Cosine(0.2)))
    found = search(method, epochs=4)
    for epoch, record in enumerate(found.records):
        assert record["weight_rate"] == pytest.approx(Cosine(0.4, 0.1).at(epoch / 4))
        assert record["logit_rate"] == pytest.approx(Cosine(0.2).at(epoch / 4))
    # The rates reach the optimizers: with both at 0 nothing moves.
    still = replace(DARTS, weight_optimizer=SGD(lr=Constant(0.0)), logit_optimizer=Adam(lr=Constant(0.0)))
    s = ModuleSpace(Small())
    supernet = s.supernet()
    step = SearchStep(supernet, DARTS, F.cross_entropy, CPU)
    assert step.set_rates(0.0) == {"weight_rate": DARTS.weight_optimizer.lr.at(0), "logit_rate": 3e-4}
    step = SearchStep(supernet, still, F.cross_entropy, CPU)
    before = snapshot(supernet)
    step.set_rates(0.5)
    step(*rows(2), seed=0, now=NOW)
    after = snapshot(supernet)
    assert equal(before.weights, after.weights)
    assert equal(before.logits, after.logits)


# -- the whole search --------------------------------------------------------------------------------------------------


@FOR_MODULES
def test_nothing_is_left_behind_in_a_users_module(method: Method) -> None:
    s = ModuleSpace(Small())
    supernet = s.supernet()
    names = set(vars(supernet.body))
    run_search(
        supernet,
        s.domain,
        method,
        feed(rows(2), rows(2)),
        loss=F.cross_entropy,
        metrics={},
        epochs=2,
        seed=0,
        device=CPU,
    )
    assert {n for n, _ in supernet.named_buffers()} == {"body.module.block.mixing"}
    (mixing,) = supernet.buffers()
    assert torch.equal(mixing, torch.tensor([0.5, 0.5]))
    assert not mixing.requires_grad
    assert set(vars(supernet.body)) == names


@OBJECTIVES
def test_evaluation_moves_no_running_statistics(method: Method) -> None:
    supernet = SPACE.supernet(TASK)
    data = feed([batch()] * 2, [batch()] * 3)
    found = run_search(
        supernet,
        SPACE.domain,
        method,
        data,
        loss=F.cross_entropy,
        metrics=ACCURACY,
        epochs=2,
        seed=0,
        device=CPU,
    )
    assert found.steps == 4
    tracked = [b.item() for n, b in supernet.named_buffers() if n.endswith("num_batches_tracked")]
    assert max(tracked) == found.steps
    assert "remaining" in found.records[-1] or set(tracked) == {found.steps}  # what was left out has not moved


def test_logits_are_frozen_bit_for_bit_during_warm_up() -> None:
    found = search(replace(DARTS, stages=(FreezeLogits(first=Epochs(2)),)), epochs=4)
    assert len(found.logits) == 5  # at the start and after each epoch
    assert found.logits[0] == found.logits[1] == found.logits[2]
    assert found.logits[2] != found.logits[3]
    assert found.logits[3] != found.logits[4]


def test_a_warm_up_as_long_as_the_search_is_refused() -> None:
    with pytest.raises(InputError, match=r"freeze the logits in all 4 epochs"):
        search(replace(DARTS, stages=(FreezeLogits(first=Epochs(4)),)), epochs=4)


def test_records_are_plain_values_and_agree_with_each_other() -> None:
    found = search(epochs=3)
    assert [r["epoch"] for r in found.records] == [1, 2, 3]
    assert [r["steps"] for r in found.records] == [3, 6, 9]
    for record, table in zip(found.records, found.logits[1:], strict=True):
        assert json.loads(json.dumps(record))["logits"] == dict(table)
        mixture = Softmax().mean({k: torch.tensor(v) for k, v in table.items()})
        assert record["entropy"] == pytest.approx(entropy(mixture))
        assert sum(record["entropy_by_kind"].values()) == pytest.approx(record["entropy"])
        strongest = max(range(2), key=lambda i, table=table: table["block"][i])
        assert record["architecture"] == {"block": ("linear", "skip")[strongest]}
        assert all(math.isfinite(record[name]) for name in ("train_loss", "valid_loss"))
        assert 0 <= record["valid_accuracy"] <= 1
    last = found.records[-1]
    assert dict(found.architecture.items) == last["architecture"]
    assert found.verdict.validation == ("accuracy", last["valid_accuracy"])
    assert found.verdict.entropy_end == last["entropy"]
    moves = [abs(b - a) for a, b in zip(found.logits[0]["block"], found.logits[-1]["block"], strict=True)]
    assert found.verdict.travel_max == max(moves)


class Hear(Listener):
    """Notes what it is told, and may do something after each step."""

    def __init__(self, after_step: Any = None) -> None:
        self.calls: list[str] = []
        self.records: list[Mapping[str, Any]] = []
        self._after_step = after_step

    def start(self, job: Job) -> None:
        self.calls.append(f"start {job.name} {job.epochs} {job.steps}")

    def step(self, epoch: int, step: int, meter: Meter) -> None:
        self.calls.append(f"step {epoch} {step}")
        if self._after_step:
            self._after_step()

    def epoch(self, record: Mapping[str, Any]) -> None:
        self.calls.append("epoch")
        self.records.append(record)

    def finish(self) -> None:
        self.calls.append("finish")


def test_listeners_hear_the_search() -> None:
    hear = Hear()
    found = search(train=rows(2), listeners=[hear])
    one = ["step {} 0", "step {} 1", "epoch"]
    assert hear.calls == ["start search 2 2", *(c.format(e) for e in (0, 1) for c in one), "finish"]
    assert hear.records == list(found.records)


# -- batches -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batched:
    """First-order, with a note of every validation batch."""

    seen: list[list[int]] = field(default_factory=list)

    def check(self, optimizer: torch.optim.Optimizer) -> None:
        """Every optimizer will do."""

    def gradient(self, problem: Bilevel, point: Point) -> dict[str, Tensor]:
        self.seen.append(point.valid_batch[0][:, 0].int().tolist())
        return FirstOrder().gradient(problem, point)


def numbered(count: int, batch_size: int) -> DataLoader[tuple[Tensor, ...]]:
    """Shuffled batches; the first number of a sample is its name."""
    x = torch.randn(count, 3)
    x[:, 0] = torch.arange(count)
    return DataLoader(TensorDataset(x, torch.arange(count) % 2), batch_size=batch_size, shuffle=True)


def test_a_shorter_validation_half_begins_anew_in_another_order() -> None:
    spy: Objective = Batched()
    found = search(replace(DARTS, objective=spy), train=rows(6), valid=numbered(8, 4), epochs=2)
    assert found.steps == 12
    seen = spy.seen  # type: ignore[attr-defined]
    assert len(seen) == 12
    orders = [seen[i] + seen[i + 1] for i in range(0, 12, 2)]
    assert all(sorted(order) == list(range(8)) for order in orders)  # each round is a proper epoch
    assert len({tuple(order) for order in orders}) == len(orders)


def test_a_longer_validation_half_is_cut_and_shuffled_anew() -> None:
    spy: Objective = Batched()
    search(replace(DARTS, objective=spy), train=rows(2), valid=numbered(20, 4), epochs=3)
    seen = spy.seen  # type: ignore[attr-defined]
    assert len(seen) == 6
    epochs = [set(seen[i] + seen[i + 1]) for i in range(0, 6, 2)]
    assert all(len(e) == 8 for e in epochs)
    assert epochs[0] != epochs[1]


def test_each_step_has_its_own_train_batch() -> None:
    seen = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            seen.append(len(target))
        return F.cross_entropy(output, target)

    sizes = [(torch.randn(n, 3), torch.arange(n) % 2) for n in (2, 3, 4)]
    search(train=sizes, valid=rows(1, batch=7), loss=loss, epochs=1)
    assert seen == [7, 2, 7, 3, 7, 4]  # the logits first, then the weights


# -- how it ends -------------------------------------------------------------------------------------------------------


class Poisoned:
    """Batches that turn into NaN after some rounds."""

    def __init__(self, good: int) -> None:
        self.batches, self.good, self.rounds = rows(2), good, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        self.rounds += 1
        factor = 1.0 if self.rounds <= self.good else math.nan
        return iter([(factor * x, y) for x, y in self.batches])


@pytest.mark.parametrize("half", ["train", "valid"])
def test_a_loss_that_is_no_number_ends_with_the_last_good_selection(half: str) -> None:
    # The validation half is read twice an epoch: for the logits and for the evaluation.
    poisoned = {"train": Poisoned(2), "valid": Poisoned(4)}
    hear = Hear()
    halves = {"train": rows(2), "valid": rows(2)} | {half: poisoned[half]}
    found = search(epochs=5, listeners=[hear], **halves)
    assert found.stopped is not None
    assert "nan in epoch 3" in found.stopped
    assert len(found.records) == 2
    assert dict(found.architecture.items) == found.records[-1]["architecture"]
    assert all(math.isfinite(x) for table in found.logits for row in table.values() for x in row)
    assert math.isfinite(found.verdict.entropy_end)
    assert hear.calls[-1] == "finish"


@FOR_MODULES
def test_every_method_ends_with_its_last_good_selection(method: Method) -> None:
    # The weights turn into NaN in the third epoch, the logits with them, and are drawn from once more.
    found = search(method, epochs=5, train=Poisoned(2))
    assert found.stopped is not None
    assert "in epoch 3" in found.stopped
    assert len(found.records) == 2
    assert dict(found.architecture.items) == found.records[-1]["architecture"]
    assert all(math.isfinite(x) for table in found.logits for row in table.values() for x in row)


@pytest.mark.parametrize("half", ["train", "valid"])
def test_a_loss_that_is_no_number_in_the_first_epoch_is_an_error(half: str) -> None:
    hear = Hear()
    with pytest.raises(InputError, match=r"nan in epoch 1.*smaller rate"):
        search(epochs=5, listeners=[hear], **{half: Poisoned(0)})
    assert hear.calls[-1] == "finish"


def test_the_time_limit_ends_with_the_selection_of_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("oche.clock.time.monotonic", lambda: now[0])

    def tick() -> None:
        now[0] += 1

    hear = Hear(tick)
    found = search(epochs=9, train=rows(3), deadline=Deadline(5), listeners=[hear])
    assert found.stopped is not None
    assert "epoch 2 of 9, step 2 of 3" in found.stopped
    assert (found.steps, found.seconds) == (5, 5)
    assert len(found.records) == 2
    assert "valid_accuracy" in found.records[0]
    assert "valid_accuracy" not in found.records[1]  # there is no time left to evaluate
    assert found.verdict.validation == ("accuracy", found.records[0]["valid_accuracy"])
    assert dict(found.architecture.items) == found.records[1]["architecture"]
    assert hear.calls[-1] == "finish"


def test_a_limit_that_passes_in_the_last_step_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("oche.clock.time.monotonic", lambda: now[0])

    def tick() -> None:
        now[0] += 1

    found = search(epochs=2, train=rows(3), deadline=Deadline(6), listeners=[Hear(tick)])
    assert found.stopped is None
    assert found.steps == 6
