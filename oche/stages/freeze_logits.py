"""Warm-up in the sense of PC-DARTS, DrNAS and iDARTS: the logits stand still while the weights begin to learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from oche.domain import Domain
from oche.moment import Moment
from oche.schedule import Length
from oche.stages.base import Course, EpochPlan


@dataclass(frozen=True, kw_only=True)
class FreezeLogits:
    """No logit step in the first part of the search.

    Attributes:
        first: how long that part is.
    """

    first: Length

    restarts: ClassVar[bool] = False

    def logits(self, domain: Domain) -> Mapping[str, int]:
        """None."""
        return {}

    def plan(self, plan: EpochPlan, epoch: int, epochs: int) -> EpochPlan:
        """Freeze the logits in the first part."""
        return replace(plan, move_logits=plan.move_logits and epoch >= self.first.of(epochs))

    def act(self, course: Course, now: Moment) -> None:
        """Nothing."""
