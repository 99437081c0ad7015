"""The search loop. It knows no method by name.

One step, logits first and then weights (methods.md, "Step"):
1. draw the mixture `a` from the logits `A`;
2. the objective gives a gradient with respect to `a`, one vector-Jacobian product takes it to `A`, and the logits'
   optimizer steps;
3. redraw `a` with the same random numbers from the moved logits, and step the weights on the training batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from oche.architecture import Architecture
from oche.clock import Deadline
from oche.data.batches import Batch, Batches
from oche.domain import Domain
from oche.errors import InputError
from oche.evaluation import evaluate
from oche.listener import Listener, Listeners
from oche.methods import Method
from oche.metrics import Loss, Meter, Metric
from oche.nn.supernet import Supernet, initialize_logits, logits, weights
from oche.objective.base import Point
from oche.objective.problem import SupernetProblem
from oche.optim import set_rate
from oche.probe.entropy import entropy, entropy_by_kind
from oche.probe.verdict import LogitTable, Verdict, judge
from oche.randomness import derive, frozen, generator
from oche.stages.base import EpochPlan


@dataclass(frozen=True, kw_only=True)
class SearchData:
    """The two halves of a search.

    Attributes:
        train: batches for the weights.
        valid: batches for the logits.
        evaluation: batches of the validation half as it is evaluated, without augmentation.
    """

    train: Batches
    valid: Batches
    evaluation: Batches


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search leaves behind.

    Attributes:
        architecture: the selected architecture.
        logits: the logits by key, at the start and after every epoch.
        records: one record of plain values per epoch.
        verdict: whether it can be trusted.
        steps: weight steps taken.
        seconds: wall time.
        stopped: why it ended before its last epoch; None if it did not.
    """

    architecture: Architecture
    logits: tuple[LogitTable, ...]
    records: tuple[Mapping[str, Any], ...]
    verdict: Verdict
    steps: int
    seconds: float
    stopped: str | None


class SearchStep:
    """One step of a search: its optimizers, and what they do with a batch of each half.

    Args:
        supernet: trained in place.
        method: a part on each axis.
        loss: the loss of a batch.
        device: where the supernet lives.

    Raises:
        InputError: the method's parts do not fit together.
    """

    def __init__(self, supernet: Supernet, method: Method, loss: Loss, device: torch.device) -> None:
        self._supernet, self._method, self._loss, self._device = supernet, method, loss, device
        self._weights = weights(supernet)
        self._weight_optimizer = method.weight_optimizer.build(self._weights)
        self._logit_optimizer = method.logit_optimizer.build(logits(supernet).values())
        method.objective.check(self._weight_optimizer)

    def set_rates(self, fraction: float) -> dict[str, float]:
        """Set both learning rates for the finished fraction of the epochs, and return them by name."""
        weight_rate = self._method.weight_optimizer.lr.at(fraction)
        logit_rate = self._method.logit_optimizer.lr.at(fraction)
        set_rate(self._weight_optimizer, weight_rate)
        set_rate(self._logit_optimizer, logit_rate)
        return {"weight_rate": weight_rate, "logit_rate": logit_rate}

    def __call__(
        self, train_batch: Batch, valid_batch: Batch, *, seed: int, move_logits: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Update the logits, then the weights (or in the other order, if the method says so).

        Args:
            train_batch: of the training half.
            valid_batch: of the validation half.
            seed: fixes every draw of this step.
            move_logits: whether the logits are updated.

        Returns:
            Loss and output of the training batch, before the weights moved.
        """
        problem = SupernetProblem(self._supernet, self._loss, seed, self._device)
        if move_logits and self._method.logits_first:
            self._move_logits(problem, train_batch, valid_batch)
        before = self._move_weights(problem, train_batch)
        if move_logits and not self._method.logits_first:
            self._move_logits(problem, train_batch, valid_batch)
        return before

    def _move_logits(self, problem: SupernetProblem, train_batch: Batch, valid_batch: Batch) -> None:
        """No gradient of the weights is kept, and no running statistic moves."""
        values = logits(self._supernet)
        mixture = self._draw(problem, values)
        point = Point(
            weights=[w.detach() for w in self._weights],
            mixture={key: a.detach().requires_grad_() for key, a in mixture.items()},
            train_batch=train_batch,
            valid_batch=valid_batch,
            optimizer=self._weight_optimizer,
        )
        gradient = self._method.objective.gradient(problem, point)
        # The one vector-Jacobian product from the mixing weights to the logits.
        pulled = torch.autograd.grad(
            list(mixture.values()),
            list(values.values()),
            [gradient[key] for key in mixture],
            allow_unused=True,
            materialize_grads=True,
        )
        for value, g in zip(values.values(), pulled, strict=True):
            value.grad = g
        self._logit_optimizer.step()

    def _move_weights(self, problem: SupernetProblem, batch: Batch) -> tuple[Tensor, Tensor]:
        """The logits get no gradient."""
        with torch.no_grad():
            mixture = self._draw(problem, logits(self._supernet))
        output = problem.output(mixture, batch)
        loss = self._loss(output, batch[1])
        self._weight_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._weights, self._method.clip)
        self._weight_optimizer.step()
        return loss, output

    def _draw(self, problem: SupernetProblem, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # A stream of its own: the mixture must not follow the masks that the network draws from the same seed.
        with frozen(derive(problem.seed, "mixture"), self._device):
            return self._method.relaxation.draw(values)


def run_search(
    supernet: Supernet,
    domain: Domain,
    method: Method,
    data: SearchData,
    *,
    loss: Loss,
    metrics: Mapping[str, Metric],
    epochs: int,
    seed: int,
    device: torch.device,
    deadline: Deadline | None = None,
    listeners: Iterable[Listener] = (),
) -> Found:
    """Search until the last epoch, the deadline, or a loss that is no number.

    Args:
        supernet: on `device`; its weights and logits are trained in place.
        domain: the decisions, exactly those of the supernet's logits.
        method: a part on each axis.
        data: the two halves.
        loss: the loss of a batch.
        metrics: numbers to report; the first one is shown.
        epochs: passes over the training half.
        seed: fixes the initial logits and every draw.
        device: where to compute.
        deadline: when to end early with the selection of that moment.
        listeners: who watches.

    Raises:
        InputError: no step can be made, or the very first epoch diverges.
    """
    deadline, watching = deadline or Deadline(), Listeners(listeners)
    steps_per_epoch = len(data.train)
    if not steps_per_epoch or not len(data.valid):
        raise InputError("a search needs a batch in each half, but got none; use more data or a smaller batch")
    if not any(_plan(method, epoch, epochs).move_logits for epoch in range(epochs)):
        raise InputError(f"the stages of {method.name!r} freeze the logits in all {epochs} epochs; search longer")
    initialize_logits(supernet, method.logit_std, generator(seed, "logits"))
    step = SearchStep(supernet, method, loss, device)

    def mean_mixture() -> dict[str, Tensor]:
        with torch.no_grad():
            return method.relaxation.mean(logits(supernet))

    def select() -> Architecture:
        return method.selection.select(domain, logits(supernet), method.relaxation)

    def validate(epoch: int) -> dict[str, float]:
        with frozen(derive(seed, "evaluate", epoch), device):
            forward = partial(supernet, mixture=mean_mixture())
            return evaluate(supernet, forward, data.evaluation.epoch(0), loss, metrics)

    architecture = select()
    history, records = [_table(supernet)], list[dict[str, Any]]()
    entropies = [entropy(mean_mixture())]
    steps, stopped = 0, None
    if not supernet.body.training:
        supernet.train()
    good = _snapshot(supernet)
    with watching.job("search", epochs, steps_per_epoch):
        for epoch in range(epochs):
            plan = _plan(method, epoch, epochs)
            rates = step.set_rates(epoch / epochs)
            meter = Meter(metrics)
            for i, (train_batch, valid_batch) in enumerate(_pairs(data, epoch)):
                step_seed = derive(seed, "step", epoch, i)
                batch_loss, output = step(train_batch, valid_batch, seed=step_seed, move_logits=plan.move_logits)
                meter.add(batch_loss, output, train_batch[1])
                steps += 1
                watching.step(epoch, i, meter)
                if deadline.passed and (epoch, i) != (epochs - 1, steps_per_epoch - 1):
                    stopped = f"the time limit came in epoch {epoch + 1} of {epochs}, step {i + 1} of {steps_per_epoch}"
                    break

            means, table = meter.means(), _table(supernet)
            if not all(map(math.isfinite, [means["loss"], *(a for row in table.values() for a in row)])):
                stopped = f"the loss became {means['loss']} in epoch {epoch + 1}"
                if not records:
                    raise InputError(
                        f"{stopped}, so there is nothing to select; use a smaller rate or check the data's scale"
                    )
                supernet.load_state_dict(good)  # the selection of the epoch before stands, and its supernet
                break

            architecture, good = select(), _snapshot(supernet)
            history.append(table)
            entropies.append(entropy(mean_mixture()))
            record = {"phase": "search", "epoch": epoch + 1, "steps": steps, "seconds": deadline.elapsed, **rates}
            record |= {f"train_{name}": value for name, value in means.items()}
            if stopped is None:
                record |= {f"valid_{name}": value for name, value in validate(epoch).items()}
            record |= {"entropy": entropies[-1], "entropy_by_kind": entropy_by_kind(mean_mixture())}
            record |= {"logits": table, "architecture": dict(architecture.items)}
            records.append(record)
            watching.epoch(record)
            if stopped is not None:
                break

    for parameter in supernet.parameters():
        parameter.grad = None
    shown = f"valid_{next(iter(metrics), 'loss')}"
    validation = next((record[shown] for record in reversed(records) if shown in record), None)
    verdict = judge(
        architecture,
        first=history[0],
        last=history[-1],
        entropies=(entropies[0], entropies[-1]),
        validation=None if validation is None else (shown.removeprefix("valid_"), validation),
    )
    return Found(
        architecture=architecture,
        logits=tuple(history),
        records=tuple(records),
        verdict=verdict,
        steps=steps,
        seconds=deadline.elapsed,
        stopped=stopped,
    )


def _plan(method: Method, epoch: int, epochs: int) -> EpochPlan:
    plan = EpochPlan()
    for stage in method.stages:
        plan = stage.plan(plan, epoch, epochs)
    return plan


def _pairs(data: SearchData, epoch: int) -> Iterator[tuple[Batch, Batch]]:
    """A training and a validation batch per step; a shorter validation half begins anew, in another order."""
    rounds = -(-len(data.train) // len(data.valid))
    valid = (batch for r in range(rounds) for batch in data.valid.epoch(epoch * rounds + r))
    return zip(data.train.epoch(epoch), valid, strict=False)


def _snapshot(supernet: Supernet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in supernet.state_dict().items()}


def _table(supernet: Supernet) -> dict[str, list[float]]:
    return {key: value.tolist() for key, value in logits(supernet).items()}
