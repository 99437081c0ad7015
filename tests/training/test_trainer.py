"""The training loop on networks and losses that are small enough to follow by hand."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.clock import Deadline
from oche.data.batches import IterableBatches
from oche.errors import InputError
from oche.feed import TrainingData
from oche.listeners.base import Job, Listener
from oche.metrics import PERPLEXITY, Meter, Metric
from oche.nn.cell import DropPath
from oche.nn.network import Stack
from oche.nn.recurrent.regularization import ActivationPenalty, VariationalDropout
from oche.optim import SGD
from oche.schedule import Constant, Cosine, Schedule
from oche.spaces.registry import space
from oche.task import ImageTask
from oche.text.loss import word_loss
from oche.text.window import Stream, Window
from oche.training.language import Language
from oche.training.protocol import TrainingProtocol
from oche.training.trainer import Trained, run_training

CPU = torch.device("cpu")
PLAIN = SGD(lr=Constant(0.1), momentum=0.0, weight_decay=0.0)
PROTOCOL = TrainingProtocol(
    name="p", summary="", stack=Stack(cells=2, channels=4), epochs=3, batch=4, optimizer=PLAIN, clip=None
)


class Loader:
    """Batches that count how often they are gone through."""

    def __init__(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.batches = batches
        self.rounds = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.rounds += 1
        return iter(self.batches)


class Watch(Listener):
    """Calls a function after every step and every epoch."""

    def __init__(
        self, step: Callable[[int, int], None] | None = None, epoch: Callable[[Mapping[str, Any]], None] | None = None
    ) -> None:
        self._step, self._epoch = step, epoch
        self.calls: list[str] = []

    def start(self, job: Job) -> None:
        self.calls.append(f"start {job.name} {job.epochs} {job.steps}")

    def step(self, epoch: int, step: int, meter: Meter) -> None:
        self.calls.append("step")
        if self._step:
            self._step(epoch, step)

    def epoch(self, record: Mapping[str, Any]) -> None:
        self.calls.append("epoch")
        if self._epoch:
            self._epoch(record)

    def finish(self) -> None:
        self.calls.append("finish")


class Kept:
    """SGD that can be looked at from outside."""

    def __init__(self, lr: Schedule) -> None:
        self.lr = lr

    def build(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        self.optimizer = replace(PLAIN, lr=self.lr).build(parameters)
        return self.optimizer

    def at_rate(self, lr: Schedule) -> "Kept":
        return Kept(lr)

    @property
    def rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]  # type: ignore[no-any-return]


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(4, 3), torch.randint(2, (4,))) for _ in range(count)]


def feed(train: Any = None, valid: Any = None, test: Any = None) -> TrainingData:
    def wrap(loader: Any) -> IterableBatches | None:
        return None if loader is None else IterableBatches(loader, CPU)

    first = wrap(train or batches(2))
    assert first is not None
    return TrainingData(train=first, valid=wrap(valid), test=wrap(test))


def run(model: nn.Module, data: TrainingData, protocol: TrainingProtocol = PROTOCOL, **options: Any) -> Trained:
    settings = {
        "train_loss": F.cross_entropy,
        "loss": F.cross_entropy,
        "metrics": {},
        "seed": 0,
        "device": CPU,
    } | options
    forward = settings.pop("forward", lambda x: (model(x), None))
    return run_training(model, forward, protocol, data=data, **settings)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(v, b[k]) for k, v in a.items())


def rigged(values: Iterable[float]) -> Callable[[Any, Any], Tensor]:
    """A metric whose values in evaluation (where outputs carry no gradient) are these, one after the other."""
    coming = iter(values)
    return lambda output, target: torch.tensor(0.0 if output.requires_grad else next(coming), dtype=torch.float64)


# -- steps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_training_is_plain_pytorch(clip: float | None) -> None:
    model = nn.Linear(3, 2)
    mine = copy.deepcopy(model)
    loader = batches(2)
    sgd = SGD(lr=Cosine(0.3, 0.1), momentum=0.9, weight_decay=0.01)
    found = run(model, feed(loader), replace(PROTOCOL, optimizer=sgd, clip=clip))

    optimizer = torch.optim.SGD(mine.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01)
    losses = []
    for step in range(3 * 2):
        optimizer.param_groups[0]["lr"] = 0.1 + 0.2 * (1 + math.cos(math.pi * step / 6)) / 2
        x, y = loader[step % 2]
        loss = F.cross_entropy(mine(x), y)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            norm = sum(p.grad.square().sum() for p in mine.parameters()).sqrt()
            for p in mine.parameters():
                p.grad *= min(1.0, clip / norm)
        optimizer.step()
        losses.append(loss.item())
    for p, q in zip(found.model.parameters(), mine.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    recorded = [record["train_loss"] for record in found.records]
    assert recorded == pytest.approx([(a + b) / 2 for a, b in zip(losses[::2], losses[1::2], strict=True)])


@pytest.mark.parametrize("per_step", [True, False])
def test_the_rate_follows_steps_or_epochs(per_step: bool) -> None:
    kept, rates = Kept(Cosine(0.1)), []
    protocol = replace(PROTOCOL, optimizer=kept, rate_per_step=per_step, epochs=4)
    run(nn.Linear(3, 2), feed(batches(3)), protocol, listeners=[Watch(step=lambda e, i: rates.append(kept.rate))])
    done = [(3 * e + (i if per_step else 0)) / 12 for e in range(4) for i in range(3)]
    assert rates == pytest.approx([Cosine(0.1).at(d) for d in done])


def test_drop_path_rises_linearly_with_the_epochs() -> None:
    s = space("rdarts-s2", nodes=1)
    task = ImageTask(channels=1, height=4, width=4, classes=2)
    architecture = next(a for a in s.enumerate() if set(a.choices.values()) == {"sep_conv_3x3"})
    model = s.network(architecture, task, PROTOCOL.stack)
    drops = [m for m in model.modules() if isinstance(m, DropPath)]
    assert drops
    seen = []
    loader = [(torch.randn(4, 1, 4, 4), torch.randint(2, (4,)))]
    protocol = replace(PROTOCOL, drop_path=0.4, epochs=5)
    run(model, feed(loader), protocol, listeners=[Watch(step=lambda e, i: seen.append({d.p for d in drops}))])
    assert [len(p) for p in seen] == [1] * 5
    assert [min(p) for p in seen] == pytest.approx([0.4 * e / 5 for e in range(5)])


@pytest.mark.parametrize("weight", [0.4, 2.0])
def test_the_auxiliary_head_adds_its_weighted_loss(weight: float) -> None:
    s = space("rdarts-s2", nodes=1)
    task = ImageTask(channels=1, height=4, width=4, classes=2)
    model = s.network(s.sample(Random(0)), task, PROTOCOL.stack, auxiliary=True)
    x, y = torch.randn(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
    scores, inner = copy.deepcopy(model).train().with_auxiliary(x)
    before = state(model)
    found = run(model, feed([(x, y)]), replace(PROTOCOL, epochs=1, auxiliary=weight), forward=model.with_auxiliary)
    expected = F.cross_entropy(scores, y) + weight * F.cross_entropy(inner, y)
    assert found.records[0]["train_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert not torch.equal(model.auxiliary.classifier.weight, before["auxiliary.classifier.weight"])
    assert found.parameters == sum(p.numel() for p in s.network(s.sample(Random(0)), task, PROTOCOL.stack).parameters())


class Reader(nn.Module):
    """A language model without a memory, with a penalty of its own."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.embedding, self.decoder = nn.Embedding(words, 5), nn.Linear(5, words)
        self.dropout, self.penalty = VariationalDropout(), ActivationPenalty()

    def forward(self, window: Window) -> Tensor:
        return self.decoder(self.embedding(window.tokens))

    def with_auxiliary(self, window: Window, mixture: Any = None) -> tuple[Tensor, Tensor]:
        return self(window), self.penalty.beta * self.embedding(window.tokens).square().mean()

    def auxiliary_loss(self, inner: Tensor, target: Tensor, loss: object) -> Tensor:
        return inner


class Windows:
    """Windows of unequal length, each with its share."""

    def __init__(self, stream: Stream, lengths: Sequence[int], words: int) -> None:
        self.batches = []
        for place, length in enumerate(lengths):
            text = torch.randint(words, (2, length + 1))
            self.batches.append((Window(text[:, :-1], place, stream, length / 4), text[:, 1:]))

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        return iter(self.batches[start:])


def test_a_language_model_is_plain_pytorch_with_a_rate_by_window_and_its_penalty() -> None:
    words = 7
    model = Reader(words)
    mine = copy.deepcopy(model)
    train, valid = Windows(Stream.WEIGHTS, [4, 2, 5], words), Windows(Stream.EVALUATION, [4, 1], words)
    language = Language(dropout=VariationalDropout(inputs=0.5), penalty=ActivationPenalty(beta=3.0))
    protocol = replace(PROTOCOL, language=language, auxiliary=0.5, epochs=2, keep_best=False)
    found = run(
        model,
        TrainingData(train=train, valid=valid, test=None),
        protocol,
        forward=model.with_auxiliary,
        train_loss=protocol.loss(None, CPU),
        loss=word_loss,
        metrics=PERPLEXITY,
    )
    assert (model.dropout, model.penalty) == (language.dropout, language.penalty)
    optimizer = torch.optim.SGD(mine.parameters(), lr=math.nan)
    for _ in range(2):
        losses = []
        for window, target in train.batches:
            optimizer.param_groups[0]["lr"] = 0.1 * window.tokens.shape[1] / 4
            loss = F.cross_entropy(mine(window).reshape(-1, words), target.reshape(-1))
            optimizer.zero_grad()
            (loss + 0.5 * 3.0 * mine.embedding(window.tokens).square().mean()).backward()
            optimizer.step()
            losses.append(loss.item())
    for p, q in zip(model.parameters(), mine.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    # Both report the perplexity per word, without the penalty, of whatever windows.
    last = found.records[-1]
    per_word = sum(n * loss for n, loss in zip((4, 2, 5), losses, strict=True)) / 11
    assert last["train_perplexity"] == pytest.approx(math.exp(per_word))
    with torch.no_grad():
        held = torch.cat(
            [F.cross_entropy(mine(x).reshape(-1, words), y.reshape(-1), reduction="none") for x, y in valid.batches]
        )
    assert last["valid_loss"] == pytest.approx(held.mean().item(), rel=1e-5)
    assert last["valid_perplexity"] == pytest.approx(held.mean().exp().item(), rel=1e-5)
    assert last["train_loss"] > math.log(last["train_perplexity"])


def test_a_model_in_evaluation_mode_is_trained_in_training_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).eval()
    loader = batches(2)
    run(model, feed(loader), replace(PROTOCOL, epochs=1))
    assert model[0].num_batches_tracked == len(loader)
    mean = 0.9 * 0.1 * loader[0][0].mean(0) + 0.1 * loader[1][0].mean(0)
    torch.testing.assert_close(model[0].running_mean, mean)


def test_the_training_loss_is_minimized_and_the_other_one_reported() -> None:
    loader = batches(1)
    double = run(
        nn.Linear(3, 2),
        feed(loader, loader),
        replace(PROTOCOL, optimizer=replace(PLAIN, lr=Constant(0.0))),
        train_loss=lambda o, t: 7 * F.cross_entropy(o, t),
    )
    assert double.records[0]["train_loss"] == pytest.approx(7 * double.records[0]["valid_loss"])


# -- the best epoch ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "higher", "best"),
    [
        ([0.2, 0.9, 0.5], True, 2),
        ([0.9, 0.2, 0.5], True, 1),
        ([0.2, 0.5, 0.9], True, 3),
        ([0.2, 0.9, 0.5], False, 1),
        ([0.9, 0.2, 0.5], False, 2),
        ([math.nan, 0.1, 0.05], True, 2),
        ([0.3, math.nan, math.nan], True, 1),
        ([math.nan, 0.1, 0.2], False, 2),
        ([0.3, math.nan, math.nan], False, 1),
    ],
)
def test_the_model_has_the_weights_of_the_best_epoch(scores: list[float], higher: bool, best: int) -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    states = []
    found = run(
        model,
        feed(valid=batches(1)),
        metrics={"score": Metric(rigged(scores), higher_is_better=higher)},
        listeners=[Watch(epoch=lambda record: states.append(state(model)))],
    )
    assert found.best_epoch == best
    assert found.validation["score"] == scores[best - 1]
    assert found.model is model
    assert [same(state(model), s) for s in states] == [epoch == best for epoch in (1, 2, 3)]
    assert not model.training


def test_ties_are_broken_by_the_loss() -> None:
    losses = iter([0.5, 0.3, 0.4, 0.2])

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return torch.tensor(next(losses))

    found = run(
        nn.Linear(3, 2),
        feed(valid=batches(1)),
        replace(PROTOCOL, epochs=4),
        loss=loss,
        metrics={"score": Metric(rigged([0.5, 0.7, 0.7, 0.6]))},
    )
    assert (found.best_epoch, found.validation["loss"]) == (2, pytest.approx(0.3))


def test_without_metrics_the_lowest_loss_is_best() -> None:
    losses = iter([0.5, 0.3, 0.4])
    found = run(nn.Linear(3, 2), feed(valid=batches(1)), loss=lambda o, t: torch.tensor(next(losses)))
    assert found.best_epoch == 2


def test_without_a_validation_part_the_last_epoch_counts() -> None:
    model, states = nn.Linear(3, 2), []
    found = run(model, feed(), listeners=[Watch(epoch=lambda record: states.append(state(model)))])
    assert (found.best_epoch, found.validation) == (3, {})
    assert same(state(model), states[-1])
    assert not any(name.startswith("valid_") for record in found.records for name in record)


def test_the_test_part_is_seen_once_at_the_end() -> None:
    test, valid, model = Loader(batches(2)), Loader(batches(1)), nn.Linear(3, 2)
    rounds = []
    found = run(
        model,
        feed(valid=valid, test=test),
        metrics={"score": Metric(rigged([0.9, 0.2, 0.1, 0.5, 0.7]))},
        listeners=[Watch(epoch=lambda record: rounds.append((valid.rounds, test.rounds)))],
    )
    assert rounds == [(1, 0), (2, 0), (3, 0)]
    assert test.rounds == 1
    assert found.test["score"] == pytest.approx((0.5 + 0.7) / 2)
    # It is the best epoch's model that is tested, not the last one's.
    with torch.no_grad():
        expected = torch.stack([F.cross_entropy(model(x), y) for x, y in test.batches]).mean()
    assert found.best_epoch == 1
    assert found.test["loss"] == pytest.approx(expected.item(), rel=1e-6)


def test_without_a_test_part_nothing_is_tested() -> None:
    assert run(nn.Linear(3, 2), feed()).test == {}


# -- how it ends -------------------------------------------------------------------------------------------------------


def test_the_rate_has_come_down_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("oche.clock.time.monotonic", lambda: now[0])
    kept, rates = Kept(Cosine(0.1)), []

    def second(epoch: int, step: int) -> None:
        rates.append(kept.rate)
        now[0] += 1

    protocol = replace(PROTOCOL, optimizer=kept, epochs=100)
    watch = Watch(step=second)
    found = run(nn.Linear(3, 2), feed(batches(4)), protocol, deadline=Deadline(10), listeners=[watch])
    # The clock moves in the listener, before the loop looks at the deadline: the tenth step is the last.
    # A tenth of the time passes before it asks whether it will be late (it counts 400 steps until then).
    assert rates == pytest.approx([Cosine(0.1).at(i / 400 if i <= 1 else i / 10) for i in range(10)])
    assert found.stopped is not None
    assert "epoch 3 of 100, step 2 of 4" in found.stopped
    assert len(found.records) == 3
    assert found.seconds == 10
    assert watch.calls[-1] == "finish"


def test_a_limit_that_is_never_in_sight_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("oche.clock.time.monotonic", lambda: now[0])

    def second(epoch: int, step: int) -> None:
        now[0] += 1

    states, data = [], batches(4)
    for seconds in (None, 30):  # 12 steps of a second
        model = nn.Linear(3, 2)
        with torch.no_grad():
            model.weight.fill_(0.1)
            model.bias.zero_()
        protocol = replace(PROTOCOL, epochs=3, optimizer=SGD(lr=Cosine(0.1)))
        run(model, feed(data), protocol, deadline=Deadline(seconds), listeners=[Watch(step=second)])
        states.append(state(model))
    assert same(*states)


def test_a_slow_last_step_is_no_early_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("oche.clock.time.monotonic", lambda: now[0])

    def tick(epoch: int, step: int) -> None:
        now[0] += 100 * (epoch == 2 and step == 1)

    found = run(nn.Linear(3, 2), feed(batches(2)), deadline=Deadline(10), listeners=[Watch(step=tick)])
    assert found.stopped is None


class Poisoned(Loader):
    """Batches that turn into NaN after some rounds."""

    def __init__(self, good: int) -> None:
        super().__init__(batches(2))
        self.good = good

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.rounds += 1
        factor = 1.0 if self.rounds <= self.good else math.nan
        return iter([(factor * x, y) for x, y in self.batches])


def test_a_loss_that_is_no_number_ends_with_the_best_model_so_far() -> None:
    model, states = nn.Linear(3, 2), []
    watch = Watch(epoch=lambda record: states.append(state(model)))
    found = run(model, feed(Poisoned(2)), replace(PROTOCOL, epochs=5), listeners=[watch])
    assert found.stopped is not None
    assert "nan in epoch 3" in found.stopped
    assert (found.best_epoch, len(found.records)) == (2, 2)
    assert same(state(model), states[1])
    assert watch.calls[-1] == "finish"


def test_a_loss_that_is_no_number_from_the_start_is_an_error() -> None:
    watch = Watch()
    with pytest.raises(InputError, match=r"nan in epoch 1.*smaller learning rate"):
        run(nn.Linear(3, 2), feed(Poisoned(0)), listeners=[watch])
    assert watch.calls[-1] == "finish"


def test_listeners_hear_the_job() -> None:
    watch = Watch()
    run(nn.Linear(3, 2), feed(batches(2)), replace(PROTOCOL, epochs=2), listeners=[watch], job="baseline")
    assert watch.calls == ["start baseline 2 2", *["step", "step", "epoch"] * 2, "finish"]


@pytest.mark.parametrize("keep_best", [True, False])
def test_the_best_epoch_counts_or_the_last_one(keep_best: bool) -> None:
    """The validation part has the labels of one class, and the training drifts away from it."""
    x = torch.ones(4, 3)
    train, valid = [(x, torch.ones(4, dtype=torch.long))], [(x, torch.zeros(4, dtype=torch.long))]
    weights = []

    def remember(record: Mapping[str, Any]) -> None:
        weights.append(model.weight.detach().clone())

    model = nn.Linear(3, 2)
    test = Loader(valid)
    trained = run(
        model, feed(train, valid, test), replace(PROTOCOL, keep_best=keep_best), listeners=[Watch(epoch=remember)]
    )
    losses = [record["valid_loss"] for record in trained.records]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]
    at = 1 if keep_best else PROTOCOL.epochs
    assert trained.best_epoch == at
    assert torch.equal(model.weight, weights[at - 1])
    assert trained.validation["loss"] == losses[at - 1]
    assert trained.test["loss"] == pytest.approx(losses[at - 1])
    assert test.rounds == 1


def test_keeping_the_last_epoch_changes_no_step() -> None:
    data = batches(3)
    records = []
    for keep_best in (True, False):
        torch.manual_seed(1)
        trained = run(nn.Linear(3, 2), feed(data, data), replace(PROTOCOL, keep_best=keep_best))
        records.append([{k: v for k, v in record.items() if k != "seconds"} for record in trained.records])
    assert records[0] == records[1]
