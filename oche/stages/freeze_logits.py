"""Warm-up in the sense of PC-DARTS, DrNAS and iDARTS: the logits stand still while the weights begin to learn."""

from __future__ import annotations

from dataclasses import dataclass, replace

from oche.errors import InputError
from oche.stages.base import EpochPlan


@dataclass(frozen=True, kw_only=True)
class FreezeLogits:
    """No logit step in the first part of the search.

    Attributes:
        epochs: how many epochs at the start.
    """

    epochs: int

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise InputError(f"warm-up needs epochs >= 0, but got {self.epochs}")

    def plan(self, plan: EpochPlan, epoch: int, epochs: int) -> EpochPlan:
        """Freeze the logits before epoch `self.epochs`."""
        return replace(plan, move_logits=plan.move_logits and epoch >= self.epochs)
