"""A running search: everything of it that changes, and what its stages and its selection may do to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from oche.architecture import Architecture
from oche.checkpoint import Position
from oche.clock import Deadline
from oche.data.halves import SearchData
from oche.domain import Domain
from oche.methods import Method
from oche.metrics import Loss, Meter, Metric
from oche.mixture.base import Relaxation
from oche.mixture.groups import EdgeGroups
from oche.nn.supernet import Supernet, initialize_logits
from oche.optim import OptimizerSettings
from oche.randomness import generator
from oche.remaining import Remaining
from oche.select.scene import Scene
from oche.stages.base import EpochPlan
from oche.step import SearchStep


class Course:
    """What a checkpoint keeps of a search.

    Args:
        supernet: as it is before the first step; its logits are initialized.
        domain: the decisions, exactly those of the supernet's logits.
        method: a part on each axis.
        data: the two halves.
        loss: the loss of a batch.
        metrics: numbers to report.
        seed: of the search.
        device: where the supernet lives.
        deadline: knows how long earlier sessions took.

    Attributes:
        step: makes the steps.
        plan: of the epoch.
        epoch: epochs done.
        done: steps done of the epoch after those.
        steps: weight steps taken in all.
        meter: sums over the steps of this epoch.
        records: one per epoch done; the last one has the selection that stands.
        good: the supernet after the last epoch done.
        tuning: whether the selection has begun to decide.
        stopped: why the search ends before its last epoch.
        over: whether no step is left to take.
    """

    def __init__(
        self,
        supernet: Supernet,
        domain: Domain,
        method: Method,
        data: SearchData,
        *,
        loss: Loss,
        metrics: Mapping[str, Metric],
        seed: int,
        device: torch.device,
        deadline: Deadline,
    ) -> None:
        self._supernet, self._domain, self._method, self._data = supernet, domain, method, data
        self._loss, self._metrics, self._seed, self._device = loss, metrics, seed, device
        self._deadline = deadline
        for stage in method.stages:
            supernet.add_logits(stage.logits(domain))
        initialize_logits(supernet, method.logit_std, generator(seed, "logits"))
        self.step = SearchStep(supernet, method, loss, device)
        self.plan = EpochPlan(relaxation=method.relaxation, end=1)
        self.epoch = self.done = self.steps = 0
        self.meter = Meter(metrics)
        self.records: list[dict[str, Any]] = []
        self.good = _snapshot(supernet)
        self.tuning = False
        self.stopped: str | None = None
        self.over = False
        self._first = self.good if any(stage.restarts for stage in method.stages) else None

    @property
    def scene(self) -> Scene:
        """See `stages.base.Course`."""
        return Scene(
            whole=self._domain,
            supernet=self._supernet,
            relaxation=self.relaxation,
            images=self._data.evaluation,
            loss=self._loss,
            metrics=self._metrics,
            seed=self._seed,
            device=self._device,
            remaining=self.remaining,
            groups=self.step.groups,
        )

    @property
    def remaining(self) -> Remaining:
        """What has not been decided yet."""
        return self.step.remaining

    @property
    def relaxation(self) -> Relaxation:
        """Logits to mixing weights, at present."""
        return self.step.relaxation

    def follow(self, plan: EpochPlan) -> None:
        """An epoch begins, or goes on, with this plan."""
        self.plan = plan
        self.step.relaxation = plan.relaxation
        self.step.groups = EdgeGroups.of(self._domain) if plan.search_edges else None

    def preview(self) -> Architecture:
        """What would be selected now."""
        scene = self.scene.concluded
        return self._method.selection.preview(scene.domain, scene.logits, scene.relaxation)

    def settle(self, remaining: Remaining) -> None:
        """See `stages.base.Course`."""
        self.step.remaining = remaining

    def restart(self) -> None:
        """See `stages.base.Course`."""
        assert self._first is not None
        self._supernet.load_state_dict(self._first)
        self.good = _snapshot(self._supernet)
        self.step.begin_weights(self._method.weight_optimizer)
        self.step.begin_logits()

    def begin_tuning(self, optimizer: OptimizerSettings) -> None:
        """The search is over and its selection decides, step by step, while the weights go on with a new optimizer."""
        self.tuning = True
        self.step.begin_weights(optimizer)

    @property
    def position(self) -> Position:
        """See `Resumable`."""
        return Position(self.epoch, self.done, self.over)

    def state(self) -> dict[str, Any]:
        """See `Resumable`. Between two epochs the supernet is itself the last good one."""
        return {
            "epoch": self.epoch,
            "step": self.done,
            "steps": self.steps,
            "seconds": self._deadline.elapsed,
            "supernet": self._supernet.state_dict(),
            "optimizers": self.step.state(),
            "remaining": self.remaining.to_plain(),
            "meter": self.meter.state(),
            "records": self.records,
            "good": self.good if self.done else None,
            "tuning": self.tuning,
            "stopped": self.stopped,
            "over": self.over,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Resumable`."""
        self._supernet.load_state_dict(state["supernet"])
        self.good = state["good"] or _snapshot(self._supernet)
        if state["tuning"]:
            assert self._method.selection.tuning is not None
            self.begin_tuning(self._method.selection.tuning.optimizer)
        self.step.restore(state["optimizers"])
        self.settle(Remaining.from_plain(state["remaining"]))
        self.meter.restore(state["meter"])
        self._deadline.carry(state["seconds"])
        self.epoch, self.done, self.steps = state["epoch"], state["step"], state["steps"]
        self.records, self.stopped, self.over = state["records"], state["stopped"], state["over"]

    def end_epoch(self, record: dict[str, Any]) -> None:
        """An epoch is done."""
        self.records.append(record)
        self.good = _snapshot(self._supernet)
        self.epoch, self.done = self.epoch + 1, 0
        self.meter.clear()

    def go_back(self) -> None:
        """The supernet is again that of the last epoch done."""
        self._supernet.load_state_dict(self.good)


def _snapshot(supernet: Supernet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in supernet.state_dict().items()}
