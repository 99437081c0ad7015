"""Averaged SGD that begins by itself: the trigger, the mean, and a training that is cut off anywhere."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.checkpoint import Checkpoints
from oche.data.batches import IterableBatches
from oche.errors import InputError
from oche.interrupt import Interrupted
from oche.listeners.base import Listener
from oche.metrics import Meter
from oche.nn.network import Stack
from oche.optim import SGD
from oche.schedule import Constant, Share
from oche.testing.battery import StopAfter
from oche.training.averaging import Average, NonMonotone
from oche.training.protocol import TrainingProtocol
from oche.training.trainer import Trained, TrainingData, run_training

CPU = torch.device("cpu")
PROTOCOL = TrainingProtocol(
    name="p",
    summary="",
    stack=Stack(cells=1, channels=1),
    epochs=6,
    batch=4,
    optimizer=SGD(lr=Constant(0.3), momentum=0.5, weight_decay=0.0),
    averaging=NonMonotone(interval=1),
)


# -- the trigger -------------------------------------------------------------------------------------------------------


def public(losses: Sequence[float], nonmono: int) -> list[bool]:
    """After which validations the loop of the public code would switch: it asks first and appends then."""
    known: list[float] = []
    found = []
    for loss in losses:
        found.append(len(known) > nonmono and loss > min(known[:-nonmono]))
        known.append(loss)
    return found


@pytest.mark.parametrize("interval", [1, 2, 5])
def test_averaging_begins_where_the_public_code_switches(interval: int) -> None:
    draws = np.random.default_rng(0)
    rule, seen = NonMonotone(interval=interval), set()
    for _ in range(50):
        losses = draws.integers(0, 20, size=14).astype(float).tolist()  # with ties
        expected = public(losses, interval)
        assert [rule.begins(losses[: i + 1], 14) for i in range(len(losses))] == expected
        seen.add(expected.index(True) if True in expected else None)
    assert len(seen) > 3


def test_the_newest_losses_are_left_aside() -> None:
    rule = NonMonotone(interval=5)
    rising = [float(i) for i in range(7)]
    assert [rule.begins(rising[:n], 9) for n in range(8)] == [False] * 7 + [True]  # six before the newest one, not five
    assert not rule.begins(
        [5.0, 1, 1, 1, 1, 1, 4], 99
    )  # worse than the newest five, but better than what was before them
    assert rule.begins([5.0, 1, 1, 1, 1, 1, 6], 99)
    assert not rule.begins([5.0, 1, 1, 1, 1, 1, 5], 99)  # a tie is no reason
    assert not rule.begins([float(-i) for i in range(99)], 99)
    with pytest.raises(InputError, match="interval=0"):
        NonMonotone(interval=0)


def test_it_begins_after_a_part_of_the_epochs_in_any_case() -> None:
    falling = [float(-i) for i in range(12)]
    rule = NonMonotone(interval=5, latest=Share(2 / 3))
    assert [rule.begins(falling[:n], 12) for n in range(1, 13)] == [False] * 7 + [True] * 5
    assert rule.begins([*falling[:6], 1.0], 12), "or before, by the losses"
    assert [rule.begins(falling[:n], 1) for n in range(2)] == [False, True]


# -- the mean ----------------------------------------------------------------------------------------------------------


class Tied(nn.Module):
    """An embedding that decodes as well, and running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 4, bias=False)
        self.norm = nn.BatchNorm1d(4)
        self.decoder = nn.Linear(3, 4)
        self.decoder.weight = self.encoder.weight

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.norm(self.encoder(x)), self.decoder.weight.T)


def moved(model: nn.Module, steps: int) -> Iterator[dict[str, np.ndarray]]:
    """Parameters as float64 after each of some steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().mean().backward()
        optimizer.step()
        yield {name: p.detach().double().numpy().copy() for name, p in model.named_parameters(remove_duplicate=False)}


def test_the_average_is_the_mean_of_all_steps_with_the_buffers_of_the_model() -> None:
    model = Tied()
    average, seen = Average(model), []
    for parameters in moved(model, 7):
        average.take()
        seen.append(parameters)
    found, own = average.weights(), model.state_dict()
    assert list(found) == list(own)
    for name, value in found.items():
        expected = np.mean([p[name] for p in seen], axis=0) if name in seen[0] else own[name].numpy()
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(found["encoder.weight"], own["encoder.weight"])
    assert torch.equal(found["encoder.weight"], found["decoder.weight"])
    other, x = Tied(), torch.randn(6, 3)
    other.load_state_dict(found)
    torch.testing.assert_close(average(x), other(x))
    assert all(torch.equal(a, b) for a, b in zip(own.values(), model.state_dict().values(), strict=True) if a.dim())


def test_it_is_that_of_averaged_sgd_with_the_first_step() -> None:
    ours, theirs = nn.Linear(3, 1), nn.Linear(3, 1)
    theirs.load_state_dict(ours.state_dict())
    average = Average(ours)
    sgd = torch.optim.SGD(ours.parameters(), lr=0.1)
    asgd = torch.optim.ASGD(theirs.parameters(), lr=0.1, lambd=0.0, t0=0)
    first, steps = None, 6
    for _ in range(steps):
        x = torch.randn(4, 3)
        for model, optimizer in ((ours, sgd), (theirs, asgd)):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        average.take()
        first = ours.weight.detach().clone() if first is None else first
    torch.testing.assert_close(ours.weight, theirs.weight)
    rest = asgd.state[theirs.weight]["ax"]  # the mean of all steps but the first
    torch.testing.assert_close(average.weights()["weight"], (first + (steps - 1) * rest) / steps)


def test_a_recurrent_module_of_pytorch_can_be_averaged() -> None:
    model = nn.LSTM(3, 4)
    average = Average(model)
    average.take()
    x = torch.randn(5, 2, 3)
    before = model(x)[0].detach()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert torch.equal(average(x)[0], before)  # type: ignore[index]
    assert not model(x)[0].any()


# -- in a training -----------------------------------------------------------------------------------------------------


class Watch(Listener):
    """Keeps the parameters after every step."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.after: list[dict[str, Tensor]] = []

    def step(self, epoch: int, step: int, meter: Meter) -> None:
        self.after.append({name: value.clone() for name, value in self.model.state_dict().items()})


def data(valid: bool = True) -> TrainingData:
    torch.manual_seed(0)
    # Noise on few samples: the validation loss rises soon.
    train, held, test = ([(torch.randn(4, 3), torch.randint(2, (4,))) for _ in range(3)] for _ in range(3))
    wrap = lambda batches: IterableBatches(batches, CPU)  # noqa: E731
    return TrainingData(train=wrap(train), valid=wrap(held) if valid else None, test=wrap(test))


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 2))


def run(model: nn.Module, protocol: TrainingProtocol = PROTOCOL, **options: Any) -> Trained:
    given = {"data": data(), "train_loss": F.cross_entropy, "loss": F.cross_entropy, "metrics": {}} | options
    return run_training(model, lambda x: (model(x), None), protocol, seed=0, device=CPU, **given)


def test_after_the_trigger_the_mean_is_validated_and_kept_while_the_steps_go_on() -> None:
    model = network()
    watch = Watch(model)
    found = run(model, replace(PROTOCOL, keep_best=False), listeners=[watch])
    flags = [record["averaged"] for record in found.records]
    losses = [record["valid_loss"] for record in found.records]
    first = flags.index(True)
    assert flags == [False] * first + [True] * (6 - first)
    assert 0 < first < 5
    assert [PROTOCOL.averaging.begins(losses[: n + 1], 6) for n in range(first)] == [False] * (first - 1) + [True]  # type: ignore[union-attr]

    # The steps are those of a training that never averages.
    other = network()
    plain = Watch(other)
    run(other, replace(PROTOCOL, averaging=None), listeners=[plain])
    assert all(torch.equal(v, b[k]) for a, b in zip(watch.after, plain.after, strict=True) for k, v in a.items())

    # The last epoch's network, its validation and its test are the mean's.
    steps = watch.after[3 * first :]
    for name, value in found.model.state_dict().items():
        if "running" in name or "num_batches" in name:
            assert torch.equal(value, watch.after[-1][name])
        else:
            expected = np.mean([state[name].double().numpy() for state in steps], axis=0)
            np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=1e-6)
    for part, scores in ((data().valid, found.validation), (data().test, found.test)):
        assert part is not None
        with torch.no_grad():
            mean = np.mean([F.cross_entropy(found.model(x), y).item() for x, y in part.epoch(0)])
        assert scores["loss"] == pytest.approx(mean, rel=1e-6)
    assert losses[-1] == found.validation["loss"]


def test_the_best_epoch_may_be_an_averaged_one_or_not() -> None:
    model = network()
    found = run(model)
    losses = [record["valid_loss"] for record in found.records]
    assert found.best_epoch == 1 + losses.index(min(losses))
    assert found.validation["loss"] == min(losses)
    part = data().test
    assert part is not None
    with torch.no_grad():  # the test is of that epoch, not of the last mean
        mean = np.mean([F.cross_entropy(model(x), y).item() for x, y in part.epoch(0)])
    assert found.test["loss"] == pytest.approx(mean, rel=1e-6)


def test_a_training_is_cut_off_anywhere_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = run(network())
    plain = [{k: v for k, v in record.items() if k != "seconds"} for record in whole.records]
    assert {record["averaged"] for record in plain} == {False, True}
    cuts = 0
    for looks in range(1, 60):  # between steps, in evaluations, at the ends of epochs
        where = tmp_path / str(looks)
        cut: Any = Checkpoints(where, "train", interrupts=StopAfter(looks))  # type: ignore[arg-type]
        try:
            run(network(), keeper=cut)
        except Interrupted:
            cuts += 1
        else:
            break
        again = run(network(), keeper=Checkpoints(where, "train"))
        assert [{k: v for k, v in record.items() if k != "seconds"} for record in again.records] == plain
        assert (again.best_epoch, again.test) == (whole.best_epoch, whole.test)
        for a, b in zip(again.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
            assert torch.equal(a, b)
    assert cuts > 30


def test_without_a_validation_part_averaging_is_refused() -> None:
    with pytest.raises(InputError, match=r"no validation part.*averaging=None"):
        run(network(), data=data(valid=False))
    found = run(network(), replace(PROTOCOL, averaging=None), data=data(valid=False))
    assert all("averaged" not in record for record in found.records)
