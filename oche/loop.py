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
from oche.checkpoint import Forgetful, Keeper, Position, offering, structure
from oche.clock import Deadline
from oche.data.batches import Batch, Batches
from oche.domain import Domain
from oche.errors import InputError
from oche.evaluation import all_finite, evaluate
from oche.listeners.base import Job, Listener, Listeners
from oche.methods import Method
from oche.metrics import Loss, Meter, Metric
from oche.moment import Moment
from oche.nn.supernet import Supernet, initialize_logits, logits, weights
from oche.objective.base import Point
from oche.objective.problem import SupernetProblem
from oche.optim import set_rate
from oche.plain import described
from oche.probe.entropy import entropy, entropy_by_kind
from oche.probe.verdict import LogitTable, Verdict, judge
from oche.randomness import derive, frozen, generator
from oche.select.scene import Scene
from oche.stages.base import EpochPlan


@dataclass(frozen=True, kw_only=True)
class SearchData:
    """The two halves of a search.

    Attributes:
        train: batches for the weights.
        valid: batches for the logits.
        evaluation: batches of the validation half as it is evaluated, without augmentation.
        batch: images per step; None: a user's own loaders decide.
    """

    train: Batches
    valid: Batches
    evaluation: Batches
    batch: int | None = None


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

    def state(self) -> dict[str, Any]:
        """Of both optimizers."""
        return {"weights": self._weight_optimizer.state_dict(), "logits": self._logit_optimizer.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the state of both optimizers."""
        self._weight_optimizer.load_state_dict(state["weights"])
        self._logit_optimizer.load_state_dict(state["logits"])

    def set_rates(self, fraction: float) -> dict[str, float]:
        """Set both learning rates for the finished fraction of the epochs, and return them by name."""
        weight_rate = self._method.weight_optimizer.lr.at(fraction)
        logit_rate = self._method.logit_optimizer.lr.at(fraction)
        set_rate(self._weight_optimizer, weight_rate)
        set_rate(self._logit_optimizer, logit_rate)
        return {"weight_rate": weight_rate, "logit_rate": logit_rate}

    def __call__(
        self, train_batch: Batch, valid_batch: Batch, *, seed: int, now: Moment, move_logits: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Update the logits, then the weights (or in the other order, if the method says so).

        Args:
            train_batch: of the training half.
            valid_batch: of the validation half.
            seed: fixes every draw of this step.
            now: where the search stands.
            move_logits: whether the logits are updated.

        Returns:
            Loss and output of the training batch, before the weights moved.
        """
        problem = SupernetProblem(self._supernet, self._loss, seed, self._device)
        if move_logits and self._method.logits_first:
            self._move_logits(problem, now, train_batch, valid_batch)
        before = self._move_weights(problem, now, train_batch)
        if move_logits and not self._method.logits_first:
            self._move_logits(problem, now, train_batch, valid_batch)
        return before

    def _move_logits(self, problem: SupernetProblem, now: Moment, train_batch: Batch, valid_batch: Batch) -> None:
        """No gradient of the weights is kept, and no running statistic moves."""
        values = logits(self._supernet)
        mixture = self._draw(problem, now, values)
        point = Point(
            weights=[w.detach() for w in self._weights],
            mixture={key: a.detach().requires_grad_() for key, a in mixture.items()},
            train_batch=train_batch,
            valid_batch=valid_batch,
            optimizer=self._weight_optimizer,
            now=now,
        )
        gradient = self._method.objective.gradient(problem, point)
        # The one vector-Jacobian product from the mixing weights to the logits; terms depend on these alone.
        outputs, weights_of_outputs = list(mixture.values()), [gradient[key] for key in mixture]
        for term in self._method.terms:
            outputs.append(term.value(values, now))
            weights_of_outputs.append(torch.ones_like(outputs[-1]))
        pulled = torch.autograd.grad(
            outputs, list(values.values()), weights_of_outputs, allow_unused=True, materialize_grads=True
        )
        for value, g in zip(values.values(), pulled, strict=True):
            value.grad = g
        self._logit_optimizer.step()

    def _move_weights(self, problem: SupernetProblem, now: Moment, batch: Batch) -> tuple[Tensor, Tensor]:
        """The logits get no gradient."""
        with torch.no_grad():
            mixture = self._draw(problem, now, logits(self._supernet))
        with frozen(derive(problem.seed, "perturbation"), self._device):
            mixture = self._method.perturbation.apply(mixture, now, partial(problem.loss_at, batch=batch))
        loss, output = problem.forward(mixture, batch)
        self._weight_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._weights, self._method.clip)
        self._weight_optimizer.step()
        return loss, output

    def _draw(self, problem: SupernetProblem, now: Moment, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # A stream of its own: the mixture must not follow the masks that the network draws from the same seed.
        with frozen(derive(problem.seed, "mixture"), self._device):
            return self._method.relaxation.draw(values, now)


class _Search:
    """Everything of a search that changes: what a checkpoint keeps.

    Attributes:
        epoch: epochs done.
        step: steps done of the epoch after those.
        steps: weight steps taken in all.
        meter: sums over the steps of this epoch.
        records: one per epoch done; the last one has the selection that stands.
        good: the supernet after the last epoch done.
        stopped: why the search ends before its last epoch.
        over: whether no step is left to take.
    """

    def __init__(self, supernet: Supernet, step: SearchStep, meter: Meter, deadline: Deadline) -> None:
        self._supernet, self._step, self._deadline = supernet, step, deadline
        self.epoch = self.step = self.steps = 0
        self.meter = meter
        self.records: list[dict[str, Any]] = []
        self.good = _snapshot(supernet)
        self.stopped: str | None = None
        self.over = False

    @property
    def position(self) -> Position:
        """See `Resumable`."""
        return Position(self.epoch, self.step, self.over)

    def state(self) -> dict[str, Any]:
        """See `Resumable`. Between two epochs the supernet is itself the last good one."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "steps": self.steps,
            "seconds": self._deadline.elapsed,
            "supernet": self._supernet.state_dict(),
            "optimizers": self._step.state(),
            "meter": self.meter.state(),
            "records": self.records,
            "good": self.good if self.step else None,
            "stopped": self.stopped,
            "over": self.over,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Resumable`."""
        self._supernet.load_state_dict(state["supernet"])
        self.good = state["good"] or _snapshot(self._supernet)
        self._step.restore(state["optimizers"])
        self.meter.restore(state["meter"])
        self._deadline.carry(state["seconds"])
        for name in ("epoch", "step", "steps", "records", "stopped", "over"):
            setattr(self, name, state[name])

    def end_epoch(self, record: dict[str, Any]) -> None:
        """An epoch is done."""
        self.records.append(record)
        self.good = _snapshot(self._supernet)
        self.epoch, self.step = self.epoch + 1, 0
        self.meter.clear()


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
    keeper: Keeper | None = None,
    about: Mapping[str, Any] | None = None,
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
        keeper: has the state of an earlier session, and keeps that of this one.
        about: plain values that tell this search from others: its data, its space.

    Raises:
        InputError: no step can be made, or the very first epoch diverges.
        Interrupted: the user has stopped it; the keeper has its state.
    """
    deadline, watching, keeper = deadline or Deadline(), Listeners(listeners), keeper or Forgetful()
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

    def preview() -> Architecture:
        return method.selection.preview(domain, logits(supernet), method.relaxation)

    def validate(mixture: Mapping[str, Tensor]) -> dict[str, float]:
        with frozen(derive(seed, "evaluate", run.epoch), device):
            batches = offering(keeper, run, data.evaluation.epoch(0))
            return evaluate(supernet, partial(supernet, mixture=mixture), batches, loss, metrics)

    def validations() -> dict[str, float]:
        """Under the mean mixture, and under the further views of the relaxation with their names."""
        found = {f"valid_{name}": value for name, value in validate(mean_mixture()).items()}
        for view, mixture in method.relaxation.views({k: v.detach() for k, v in logits(supernet).items()}).items():
            found |= {f"valid_{view}_{name}": value for name, value in validate(mixture).items()}
        return found

    if not supernet.body.training:
        supernet.train()
    run = _Search(supernet, step, Meter(metrics), deadline)
    first_table, first_entropy = _table(supernet), entropy(mean_mixture())
    plan = {"structure": structure(supernet), "epochs": epochs, "steps": steps_per_epoch, "seed": seed}
    plan |= {"loss": described(loss), "metrics": list(metrics), "method": described(method), **(about or {})}
    keeper.begin(run, plan)
    with watching.job(Job("search", epochs, steps_per_epoch, run.steps, tuple(run.records))):
        while not run.over:
            epoch_plan = _plan(method, run.epoch, epochs)
            now = Moment(epoch=run.epoch, epochs=epochs)
            rates = step.set_rates(now.fraction)
            for train_batch, valid_batch in _pairs(data, run.epoch, run.step):
                step_seed = derive(seed, "step", run.epoch, run.step)
                batch_loss, output = step(
                    train_batch, valid_batch, seed=step_seed, now=now, move_logits=epoch_plan.move_logits
                )
                run.meter.add(batch_loss, output, train_batch[1])
                watching.step(run.epoch, run.step, run.meter)
                run.step += 1
                run.steps += 1
                if deadline.passed and (run.epoch + 1, run.step) != (epochs, steps_per_epoch):
                    place = f"epoch {run.epoch + 1} of {epochs}, step {run.step} of {steps_per_epoch}"
                    run.stopped = f"the time limit came in {place}"
                    break
                keeper.offer(run)

            means, table = run.meter.means(), _table(supernet)
            if not math.isfinite(means["loss"]) or not all_finite(supernet):
                what = "loss became" if not math.isfinite(means["loss"]) else "weights are no numbers after a loss of"
                run.stopped = f"the {what} {means['loss']} in epoch {run.epoch + 1}"
                if not run.records:
                    raise InputError(
                        f"{run.stopped}, so there is nothing to select; use a smaller rate or check the data's scale"
                    )
                supernet.load_state_dict(run.good)  # the selection of the epoch before stands, and its supernet
                break

            record = {"phase": "search", "epoch": run.epoch + 1, "steps": run.steps, "seconds": deadline.elapsed}
            record |= rates | {f"train_{name}": value for name, value in means.items()}
            if run.stopped is None:
                record |= validations()
            record |= {"entropy": entropy(mean_mixture()), "entropy_by_kind": entropy_by_kind(mean_mixture())}
            record |= {"logits": table, "architecture": dict(preview().items)}
            run.end_epoch(record)
            watching.epoch(record)
            run.over = run.stopped is not None or run.epoch == epochs
            keeper.offer(run, epoch_done=True)
        run.over = True
        keeper.finish(run)

    for parameter in supernet.parameters():
        parameter.grad = None
    shown = f"valid_{next(iter(metrics), 'loss')}"
    validation = next((record[shown] for record in reversed(run.records) if shown in record), None)
    last = run.records[-1]
    scene = Scene(domain=domain, supernet=supernet, relaxation=method.relaxation, images=data.evaluation, device=device)
    architecture = method.selection.select(scene)
    verdict = judge(
        architecture,
        first=first_table,
        last=last["logits"],
        entropies=(first_entropy, last["entropy"]),
        validation=None if validation is None else (shown.removeprefix("valid_"), validation),
    )
    return Found(
        architecture=architecture,
        logits=(first_table, *(record["logits"] for record in run.records)),
        records=tuple(run.records),
        verdict=verdict,
        steps=run.steps,
        seconds=deadline.elapsed,
        stopped=run.stopped,
    )


def _plan(method: Method, epoch: int, epochs: int) -> EpochPlan:
    plan = EpochPlan()
    for stage in method.stages:
        plan = stage.plan(plan, epoch, epochs)
    return plan


def _pairs(data: SearchData, epoch: int, start: int) -> Iterator[tuple[Batch, Batch]]:
    """A training and a validation batch per step; a shorter validation half begins anew, in another order."""
    if start == len(data.train):
        return iter(())
    rounds = -(-len(data.train) // len(data.valid))
    first, skipped = divmod(start, len(data.valid))
    valid = (
        batch
        for r in range(first, rounds)
        for batch in data.valid.epoch(epoch * rounds + r, skipped if r == first else 0)
    )
    return zip(data.train.epoch(epoch, start), valid, strict=False)


def _snapshot(supernet: Supernet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in supernet.state_dict().items()}


def _table(supernet: Supernet) -> dict[str, list[float]]:
    return {key: value.tolist() for key, value in logits(supernet).items()}
