"""The search loop. It knows no method by name.

Each epoch is planned by the stages, which may also act before it: prune candidates, decide edges, begin anew. Then come
its steps (`oche.step`). After the last epoch some selections go on training in between decisions of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import torch

from oche.architecture import Architecture
from oche.checkpoint import Forgetful, Keeper, offering, structure
from oche.clock import Deadline
from oche.consistency import set_regularization
from oche.course import Course
from oche.data.halves import SearchData
from oche.domain import Domain
from oche.errors import InputError
from oche.evaluation import all_finite, evaluate
from oche.listeners.base import Job, Listener, Listeners
from oche.methods import Method
from oche.metrics import Loss, Metric
from oche.nn.cell import set_drop_path
from oche.nn.mixture import Mixture
from oche.nn.supernet import Supernet, logits
from oche.plain import described
from oche.probe.entropy import entropy, entropy_by_kind
from oche.probe.probes import NO_PROBES, Looked, Probes
from oche.probe.verdict import LogitTable, Verdict, judge
from oche.randomness import derive, frozen
from oche.stages.base import EpochPlan


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search leaves behind.

    Attributes:
        architecture: the selected architecture.
        logits: the logits by key, at the start and after every epoch.
        records: one record of plain values per epoch.
        verdict: whether it can be trusted.
        looked: what the probes saw at the end.
        steps: weight steps taken.
        seconds: wall time.
        stopped: why it ended before its last epoch; None if it did not.
    """

    architecture: Architecture
    logits: tuple[LogitTable, ...]
    records: tuple[Mapping[str, Any], ...]
    verdict: Verdict
    looked: Looked
    steps: int
    seconds: float
    stopped: str | None


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
    probes: Probes = NO_PROBES,
    job: str = "search",
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
        probes: what looks at the search, and when; nothing of the search depends on it.
        job: what to call it.

    Raises:
        InputError: no step can be made, or the very first epoch diverges.
        Interrupted: the user has stopped it; the keeper has its state.
    """
    deadline, watching, keeper = deadline or Deadline(), Listeners(listeners), keeper or Forgetful()
    timetable, tuning = _Timetable.of(method, domain, data, epochs), method.selection.tuning
    if not supernet.body.training:
        supernet.train()
    set_regularization(supernet.body, method.regularization.numbers)
    run = Course(
        supernet, domain, method, data, loss=loss, metrics=metrics, seed=seed, device=device, deadline=deadline
    )
    first_table, first_entropy = _table(supernet), entropy(run.scene.rows)

    def validate(mixture: Mixture) -> dict[str, float]:
        with frozen(derive(seed, "evaluate", run.epoch), device):
            batches = offering(keeper, run, data.evaluation.epoch(0))
            return evaluate(supernet, partial(supernet, mixture=mixture), batches, loss, metrics)

    def validations() -> dict[str, float]:
        """Under the mean mixture, and under the further views of the relaxation with their names."""
        scene = run.scene
        found = {f"valid_{name}": value for name, value in validate(scene.mixture).items()}
        for view, rows in run.relaxation.views(scene.logits).items():
            found |= {f"valid_{view}_{name}": value for name, value in validate(scene.widened(rows)).items()}
        return found

    plan = {"structure": structure(supernet), "epochs": epochs, "steps": timetable.lengths[0], "seed": seed}
    plan |= {"loss": described(loss), "metrics": list(metrics), "method": described(method), **(about or {})}
    keeper.begin(run, plan)
    begun = Job(job, len(timetable.lengths), timetable.lengths[0], run.steps, tuple(run.records), timetable.total)
    with watching.job(begun):
        while not run.over:
            epoch_plan, length = timetable.plans[run.epoch], timetable.lengths[run.epoch]
            now = epoch_plan.moment(run.epoch)
            run.follow(epoch_plan)
            set_drop_path(supernet, method.regularization.numbers.drop_path * now.fraction)
            if not run.done:
                for stage in method.stages if run.epoch < epochs else ():
                    stage.act(run, now)
                if run.epoch == epochs and tuning is not None:
                    run.begin_tuning(tuning.optimizer)
            rates = run.step.set_rates(timetable.fraction(run.epoch))
            batches = data.larger(epoch_plan.more).pairs(run.epoch, run.done)
            for train_batch, valid_batch in islice(batches, length - run.done):
                if tuning is not None and run.epoch >= epochs:
                    tuning.act(run, timetable.tuned(run.epoch, run.done), timetable.steps)
                step_seed = derive(seed, "step", run.epoch, run.done)
                batch_loss, output = run.step(
                    train_batch, valid_batch, seed=step_seed, now=now, move_logits=epoch_plan.move_logits
                )
                run.meter.add(batch_loss, output, train_batch[1])
                watching.step(run.epoch, run.done, run.meter)
                run.done += 1
                run.steps += 1
                if deadline.passed and (run.epoch + 1, run.done) != (len(timetable.lengths), length):
                    place = f"epoch {run.epoch + 1} of {len(timetable.lengths)}, step {run.done} of {length}"
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
                run.go_back()  # the selection of the epoch before stands, and its supernet
                break

            record = {"phase": job, "epoch": run.epoch + 1, "steps": run.steps, "seconds": deadline.elapsed}
            record |= rates | {f"train_{name}": value for name, value in means.items()}
            if run.stopped is None:
                record |= validations()
            rows, preview = run.scene.rows, run.preview()
            record |= {"entropy": entropy(rows), "entropy_by_kind": entropy_by_kind(rows)}
            record |= probes.of_epoch(run.scene.concluded, preview)
            record |= {"logits": table, "architecture": dict(preview.items)}
            if lost := run.step.lost:
                record["overflows"] = lost
            if run.remaining.kept:
                record["remaining"] = run.remaining.to_plain()
            run.end_epoch(record)
            watching.epoch(record)
            run.over = run.stopped is not None or run.epoch == len(timetable.lengths)
            keeper.offer(run, epoch_done=True)
        run.over = True
        if tuning is not None and run.stopped is None:
            tuning.act(run, timetable.tuned(run.epoch, 0), timetable.steps)
        keeper.finish(run)

    for parameter in supernet.parameters():
        parameter.grad = None
    stopped = run.stopped
    if stopped is not None and tuning is not None:
        stopped += f"; decisions left to magnitude: {tuning.left(run.scene)}"
    shown = f"valid_{next(iter(metrics), 'loss')}"
    validation = next((record[shown] for record in reversed(run.records) if shown in record), None)
    last = run.records[-1]
    scene = run.scene.concluded
    architecture = method.selection.select(scene)
    # Where the time is up, it is not spent on looking.
    looked = (NO_PROBES if deadline.passed else probes).of_search(scene, architecture, run.steps)
    verdict = judge(
        architecture,
        domain,
        first=first_table,
        last=last["logits"],
        entropies=(first_entropy, last["entropy"]),
        validation=None if validation is None else (shown.removeprefix("valid_"), validation),
        none_weight=last.get("none_weight"),
        skip_lead=last.get("skip_lead"),
        looked=looked,
        stopped=run.stopped,
    )
    return Found(
        architecture=architecture,
        logits=(first_table, *(record["logits"] for record in run.records)),
        records=tuple(run.records),
        verdict=verdict,
        looked=looked,
        steps=run.steps,
        seconds=deadline.elapsed,
        stopped=stopped,
    )


@dataclass(frozen=True)
class _Timetable:
    """What happens in which epoch: first those of the search, then those in which its selection decides.

    Attributes:
        search: epochs of the search.
        plans: of all epochs.
        lengths: steps of each.
        steps: of an epoch of the search, by which tuning counts.
    """

    search: int
    plans: tuple[EpochPlan, ...]
    lengths: tuple[int, ...]
    steps: int

    @classmethod
    def of(cls, method: Method, domain: Domain, data: SearchData, epochs: int) -> _Timetable:
        """That of a method.

        Raises:
            InputError: no step can be made, or the logits never move.
        """
        if not len(data.train) or not len(data.valid):
            raise InputError("a search needs a batch in each half, but got none; use more data or a smaller batch")
        plans = [planned(method, epoch, epochs) for epoch in range(epochs)]
        if not any(plan.move_logits for plan in plans):
            raise InputError(f"the stages of {method.name!r} freeze the logits in all {epochs} epochs; search longer")
        lengths = [len(data.larger(plan.more).train) for plan in plans]
        tuning = method.selection.tuning
        if tuning is not None:
            plan, steps = replace(plans[-1], move_logits=tuning.move_logits), lengths[-1]
            left = tuning.steps(domain, steps)
            while left > 0:
                plans.append(plan)
                lengths.append(min(left, steps))
                left -= steps
        return cls(epochs, tuple(plans), tuple(lengths), lengths[epochs - 1])

    @property
    def total(self) -> int:
        """Steps of all epochs."""
        return sum(self.lengths)

    def tuned(self, epoch: int, done: int) -> int:
        """Steps of tuning that are done at a step of an epoch."""
        return sum(self.lengths[self.search : epoch]) + done

    def fraction(self, epoch: int) -> float:
        """The finished share of the search, or of the tuning after it."""
        if epoch < self.search:
            return self.plans[epoch].moment(epoch).fraction
        return self.tuned(epoch, 0) / self.tuned(len(self.lengths), 0)


def planned(method: Method, epoch: int, epochs: int) -> EpochPlan:
    """What the stages of a method plan for an epoch (from 0) of a search of so many."""
    plan = EpochPlan(relaxation=method.relaxation, end=epochs)
    for stage in method.stages:
        plan = stage.plan(plan, epoch - plan.begin, plan.end - plan.begin)
    return plan


def _table(supernet: Supernet) -> dict[str, list[float]]:
    return {key: value.tolist() for key, value in logits(supernet).items()}
