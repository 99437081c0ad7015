"""The interface of what happens when: stages adjust the plan of each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """What an epoch of the search does.

    Attributes:
        move_logits: whether the logits are updated.
    """

    move_logits: bool = True


class Stage(Protocol):
    """A rule in time."""

    def plan(self, plan: EpochPlan, epoch: int, epochs: int) -> EpochPlan:
        """The plan of `epoch` (from 0) out of `epochs`, given what earlier stages planned."""
        ...
