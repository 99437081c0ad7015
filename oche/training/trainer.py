"""The training loop of discrete networks: steps, best epoch by the validation part, time limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from oche.clock import Deadline
from oche.data.batches import Batches
from oche.data.prepare import Normalize
from oche.errors import InputError
from oche.evaluation import evaluate
from oche.listener import Listener, Listeners
from oche.metrics import Loss, Meter, Metric
from oche.nn.cell import set_drop_path
from oche.nn.network import CellNetwork
from oche.optim import set_rate
from oche.randomness import derive, frozen
from oche.schedule import Linear
from oche.training.protocol import TrainingProtocol

FIRST_LOOK = 0.1
"""Share of a time limit before which a training does not ask whether it will be late: first steps are slow."""

TrainingForward: TypeAlias = Callable[[Any], tuple[Tensor, Tensor | None]]
"""Inputs to the outputs and those of an auxiliary head, if there is one."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The parts of a training.

    Attributes:
        train: batches for the weights.
        valid: batches that choose the best epoch; None: the last epoch counts.
        test: batches of the one final evaluation; None: there is none.
        normalize: what the images went through; None for a user's own loaders.
    """

    train: Batches
    valid: Batches | None
    test: Batches | None
    normalize: Normalize | None = None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network, with the weights of its best epoch.

    Attributes:
        model: the network, in evaluation mode.
        records: one record of plain values per epoch.
        best_epoch: the epoch (from 1) whose weights the model has.
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
        job: what to call it.

    Raises:
        InputError: the loss is no number in the very first epoch.
    """
    deadline, watching = deadline or Deadline(), Listeners(listeners)
    train, valid = data.train, data.valid
    optimizer = protocol.optimizer.build(model.parameters())
    total = protocol.epochs * len(train)
    drop_path = Linear(0.0, protocol.drop_path)
    records: list[Mapping[str, Any]] = []
    if not model.training:
        model.train()
    best: _Best | None = None
    stopped = None
    with watching.job(job, protocol.epochs, len(train)):
        for epoch in range(protocol.epochs):
            set_drop_path(model, drop_path.at(epoch / protocol.epochs))
            meter = Meter(metrics)
            for i, (x, y) in enumerate(train.epoch(epoch)):
                fraction = (epoch * len(train) + i) / total if protocol.rate_per_step else epoch / protocol.epochs
                if deadline.spent > max((epoch * len(train) + i) / total, FIRST_LOOK):
                    fraction = min(deadline.spent, 1.0)
                set_rate(optimizer, protocol.optimizer.lr.at(fraction))
                with frozen(derive(seed, epoch, i), device):
                    output, inner = forward(x)
                objective = train_loss(output, y)
                if inner is not None:
                    objective = objective + protocol.auxiliary * train_loss(inner, y)
                optimizer.zero_grad()
                objective.backward()  # type: ignore[no-untyped-call]
                if protocol.clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), protocol.clip)
                optimizer.step()
                meter.add(objective, output, y)
                watching.step(epoch, i, meter)
                if deadline.passed and (epoch, i) != (protocol.epochs - 1, len(train) - 1):
                    stopped = (
                        f"the time limit came in epoch {epoch + 1} of {protocol.epochs}, step {i + 1} of {len(train)}"
                    )
                    break
            means = meter.means()
            if not math.isfinite(means["loss"]):
                stopped = f"the loss became {means['loss']} in epoch {epoch + 1}"
                if best is None:
                    raise InputError(f"{stopped}, so there is no network to keep; use a smaller learning rate")
                break
            record: dict[str, Any] = {"phase": job, "epoch": epoch + 1, "seconds": deadline.elapsed}
            record |= {f"train_{name}": value for name, value in means.items()}
            scores: dict[str, float] = {}
            if valid is not None:
                scores = evaluate(model, model, valid.epoch(0), loss, metrics)
                record |= {f"valid_{name}": value for name, value in scores.items()}
            records.append(record)
            watching.epoch(record)
            if best is None or best.worse_than(scores, metrics):
                best = _Best(epoch + 1, scores, {k: v.clone() for k, v in model.state_dict().items()})
            if stopped is not None:
                break
    assert best is not None
    model.load_state_dict(best.state)
    model.eval()
    return Trained(
        model=model,
        records=tuple(records),
        best_epoch=best.epoch,
        validation=best.scores,
        test={} if data.test is None else evaluate(model, model, data.test.epoch(0), loss, metrics),
        parameters=_count(model) - (_count(model.auxiliary) if isinstance(model, CellNetwork) else 0),
        normalize=data.normalize,
        seconds=deadline.elapsed,
        stopped=stopped,
    )


def _count(module: nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters())


@dataclass(frozen=True)
class _Best:
    epoch: int
    scores: Mapping[str, float]
    state: Mapping[str, Tensor]

    def worse_than(self, scores: Mapping[str, float], metrics: Mapping[str, Metric]) -> bool:
        """Whether a later epoch with these scores replaces this one; without scores it always does."""
        if not scores:
            return True
        shown = {name: metric.higher_is_better for name, metric in metrics.items()} | {"loss": False}
        for name in (next(iter(metrics), "loss"), "loss"):
            new, old = scores[name], self.scores[name]
            if math.isnan(new) or math.isnan(old):
                return not math.isnan(new)
            if new != old:
                return (new > old) == shown[name]
        return False
