"""The training loop of discrete networks: steps, best epoch by the validation part, time limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from oche.checkpoint import Forgetful, Keeper, Position, offering, structure
from oche.clock import Deadline
from oche.consistency import set_regularization
from oche.data.batches import Batches
from oche.data.prepare import Normalize
from oche.errors import InputError
from oche.evaluation import all_finite, evaluate
from oche.listeners.base import Job, Listener, Listeners
from oche.metrics import Loss, Meter, Metric, better
from oche.nn.auxiliary import WithAuxiliary
from oche.nn.cell import set_drop_path
from oche.nn.network import ImageNetwork
from oche.optim import clip_gradients, set_rate, step_share
from oche.plain import described
from oche.randomness import derive, frozen
from oche.schedule import Linear
from oche.training.averaging import Average
from oche.training.protocol import TrainingProtocol

FIRST_LOOK = 0.1
"""Share of a time limit before which a training does not ask whether it will be late: first steps are slow."""

TrainingForward: TypeAlias = Callable[[Any], tuple[Tensor, Tensor | None]]
"""Inputs to the outputs and what the model's `auxiliary_loss` needs, if it has one."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The parts of a training.

    Attributes:
        train: batches for the weights.
        valid: batches that choose the best epoch; None: the last epoch counts.
        test: batches of the one final evaluation; None: there is none.
        normalize: what the images went through; None for a user's own loaders.
        batch: images or lanes per step; None: a user's own loaders decide.
    """

    train: Batches
    valid: Batches | None
    test: Batches | None
    normalize: Normalize | None = None
    batch: int | None = None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network, with the weights of its best epoch.

    Attributes:
        model: the network, in evaluation mode.
        records: one record of plain values per epoch.
        best_epoch: the epoch (from 1) whose weights the model has: the best one, or the last if the protocol says so.
        validation: loss and metrics on the validation part at that epoch; empty without such a part.
        test: loss and metrics of the one final evaluation; empty if there was no test part.
        parameters: number of weights, without an auxiliary head.
        normalize: how images have to be normalized for it; None for a user's own loaders.
        seconds: wall time of the training.
        stopped: why it ended before its last epoch; None if it did not.
    """

    model: nn.Module
    records: tuple[Mapping[str, Any], ...]
    best_epoch: int
    validation: Mapping[str, float]
    test: Mapping[str, float]
    parameters: int
    normalize: Normalize | None
    seconds: float
    stopped: str | None


@dataclass(frozen=True)
class _Best:
    epoch: int
    scores: Mapping[str, float]
    weights: Mapping[str, Tensor]


class _Training:
    """Everything of a training that changes: what a checkpoint keeps.

    Attributes:
        epoch: epochs done.
        step: steps done of the epoch after those.
        steps: taken in all.
        meter: sums over the steps of this epoch.
        records: one per epoch done.
        average: of the weights after every step since it counts; None: it does not count yet.
        lost: steps whose gradient overflowed on its way back through time.
        best: the epoch that counts so far, the best or the last one; None before the first.
        stopped: why the training ends before its last epoch.
        over: whether no step is left to take.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, meter: Meter, deadline: Deadline, keep_best: bool
    ) -> None:
        self._model, self._optimizer, self._deadline, self._keep_best = model, optimizer, deadline, keep_best
        self.epoch = self.step = self.steps = 0
        self.meter = meter
        self.records: list[Mapping[str, Any]] = []
        self.average: Average | None = None
        self.lost: Tensor | int = 0
        self.best: _Best | None = None
        self.stopped: str | None = None
        self.over = False

    @property
    def position(self) -> Position:
        """See `Resumable`."""
        return Position(self.epoch, self.step, self.over)

    def state(self) -> dict[str, Any]:
        """See `Resumable`."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "steps": self.steps,
            "seconds": self._deadline.elapsed,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "lost": int(self.lost),
            "meter": self.meter.state(),
            "records": self.records,
            "best": self.best and vars(self.best),
            "stopped": self.stopped,
            "over": self.over,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Resumable`."""
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.meter.restore(state["meter"])
        self._deadline.carry(state["seconds"])
        if state.get("average") is not None:  # what was kept before there were averages has no such entry
            self.average = Average(self._model)
            self.average.restore(state["average"])
        self.lost = state.get("lost", 0)
        self.best = state["best"] and _Best(**state["best"])
        for name in ("epoch", "step", "steps", "records", "stopped", "over"):
            setattr(self, name, state[name])

    def stepped(self) -> None:
        """The optimizer has made a step."""
        if self.average is not None:
            self.average.take()

    def begin_average(self) -> None:
        """From the next step on the average counts."""
        self.average = Average(self._model)

    @property
    def losses(self) -> list[float]:
        """On the validation part, after every epoch; it has to have been there."""
        return [record["valid_loss"] for record in self.records]

    @property
    def counting(self) -> Callable[[Any], Tensor]:
        """The network that is evaluated: the model, with the average of its weights where that counts."""
        return self._model if self.average is None else self.average

    def end_epoch(self, scores: Mapping[str, float], metrics: Mapping[str, Metric], record: Mapping[str, Any]) -> None:
        """An epoch is done, with these scores on the validation part."""
        self.records.append(record)
        self.epoch, self.step = self.epoch + 1, 0
        self.meter.clear()
        if self.best is None or not self._keep_best or better(scores, self.best.scores, metrics):
            weights = self._model.state_dict() if self.average is None else self.average.weights()
            self.best = _Best(self.epoch, scores, {k: v.clone() for k, v in weights.items()})


def run_training(
    model: nn.Module,
    forward: TrainingForward,
    protocol: TrainingProtocol,
    *,
    data: TrainingData,
    train_loss: Loss,
    loss: Loss,
    metrics: Mapping[str, Metric],
    seed: int,
    device: torch.device,
    deadline: Deadline | None = None,
    listeners: Iterable[Listener] = (),
    keeper: Keeper | None = None,
    about: Mapping[str, Any] | None = None,
    job: str = "train",
) -> Trained:
    """Train until the last epoch, the deadline, or a loss that is no number.

    With a deadline the rate follows the time that is spent where that runs ahead of the steps, so that it has come
    down to its end when the time is up. A limit that is never in sight changes nothing.

    Args:
        model: on its device; trained in place.
        forward: how to call it in training.
        protocol: the numbers.
        data: batches to train, to choose the best epoch, and to test.
        train_loss: the loss that is minimized.
        loss: the loss that is reported on validation and test.
        metrics: numbers to report; a better value of the first chooses the best epoch, or a lower loss if empty.
        seed: fixes drop-path and dropout, step by step.
        device: where the model lives.
        deadline: when to end early.
        listeners: who watches.
        keeper: has the state of an earlier session, and keeps that of this one.
        about: plain values that tell this training from others: its data, its architecture.
        job: what to call it.

    Raises:
        InputError: the loss is no number in the very first epoch, or averaging has no validation part to begin by.
        Interrupted: the user has stopped it; the keeper has its state.
    """
    deadline, watching, keeper = deadline or Deadline(), Listeners(listeners), keeper or Forgetful()
    train, valid = data.train, data.valid
    if protocol.averaging is not None and valid is None:
        raise InputError(
            "averaging begins by the validation loss, but there is no validation part; give one (validation=0.1, or "
            "valid=... beside your own loaders), or averaging=None"
        )
    if protocol.language is not None:
        set_regularization(model, protocol.language)
    optimizer = protocol.optimizer.build(model.parameters())
    epochs, total = protocol.epochs, protocol.epochs * len(train)
    drop_path = Linear(0.0, protocol.drop_path)
    if not model.training:
        model.train()
    run = _Training(model, optimizer, Meter(metrics), deadline, protocol.keep_best)
    plan = {"structure": structure(model), "epochs": epochs, "steps": len(train), "seed": seed}
    plan |= {"loss": described(train_loss), "metrics": list(metrics), "protocol": described(protocol), **(about or {})}
    keeper.begin(run, plan)

    def evaluated(network: Callable[[Any], Tensor], batches: Batches, purpose: str) -> dict[str, float]:
        with frozen(derive(seed, purpose, run.epoch), device):
            return evaluate(model, network, offering(keeper, run, batches.epoch(0)), loss, metrics)

    with watching.job(Job(job, epochs, len(train), run.steps, tuple(run.records))):
        while not run.over:
            set_drop_path(model, drop_path.at(run.epoch / epochs))
            left = run.stopped is None and run.step < len(train)
            for x, y in train.epoch(run.epoch, run.step) if left else ():
                share = (run.epoch * len(train) + run.step) / total
                fraction = share if protocol.rate_per_step else run.epoch / epochs
                if deadline.spent > max(share, FIRST_LOOK):
                    fraction = min(deadline.spent, 1.0)
                set_rate(optimizer, protocol.optimizer.lr.at(fraction) * step_share(x))
                with frozen(derive(seed, run.epoch, run.step), device):
                    output, inner = forward(x)
                    objective = train_loss(output, y)
                    if inner is not None:
                        assert isinstance(model, WithAuxiliary)
                        objective = objective + protocol.auxiliary * model.auxiliary_loss(inner, y, train_loss)
                optimizer.zero_grad()
                objective.backward()  # type: ignore[no-untyped-call]
                if protocol.clip is not None:
                    recurrent = protocol.language is not None
                    finite = clip_gradients(model.parameters(), protocol.clip, recurrent=recurrent)
                    if recurrent:
                        run.lost = run.lost + ~finite
                optimizer.step()
                run.stepped()
                run.meter.add(objective, output, y)
                watching.step(run.epoch, run.step, run.meter)
                run.step += 1
                run.steps += 1
                if deadline.passed and (run.epoch + 1, run.step) != (epochs, len(train)):
                    place = f"epoch {run.epoch + 1} of {epochs}, step {run.step} of {len(train)}"
                    run.stopped = f"the time limit came in {place}"
                    break
                keeper.offer(run)
            means = run.meter.means()
            if not math.isfinite(means["loss"]) or not all_finite(model):
                what = "loss became" if not math.isfinite(means["loss"]) else "weights are no numbers after a loss of"
                run.stopped = f"the {what} {means['loss']} in epoch {run.epoch + 1}"
                if run.best is None:
                    raise InputError(f"{run.stopped}, so there is no network to keep; use a smaller learning rate")
                break
            record: dict[str, Any] = {"phase": job, "epoch": run.epoch + 1, "steps": run.steps}
            record["seconds"] = deadline.elapsed
            if protocol.averaging is not None:
                record["averaged"] = run.average is not None
            if lost := int(run.lost):
                record["overflows"] = lost
            record |= {f"train_{name}": value for name, value in means.items()}
            scores: dict[str, float] = {}
            if valid is not None:
                scores = evaluated(run.counting, valid, "evaluate")
                record |= {f"valid_{name}": value for name, value in scores.items()}
            run.end_epoch(scores, metrics, record)
            rule = protocol.averaging
            if rule is not None and run.average is None and rule.begins(run.losses, epochs):
                run.begin_average()
            watching.epoch(record)
            run.over = run.stopped is not None or run.epoch == epochs
            keeper.offer(run, epoch_done=True)
        run.over = True
        keeper.finish(run)
    assert run.best is not None
    model.load_state_dict(run.best.weights)
    model.eval()
    return Trained(
        model=model,
        records=tuple(run.records),
        best_epoch=run.best.epoch,
        validation=run.best.scores,
        test={} if data.test is None else evaluated(model, data.test, "test"),
        parameters=_count(model) - (_count(model.auxiliary) if isinstance(model, ImageNetwork) else 0),
        normalize=data.normalize,
        seconds=deadline.elapsed,
        stopped=run.stopped,
    )


def _count(module: nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters())
