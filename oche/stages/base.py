"""The interface of what happens when: stages plan each epoch, and act on the search before it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from oche.mixture.base import Relaxation
from oche.moment import Moment
from oche.remaining import Remaining
from oche.select.scene import Scene


@dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """What an epoch of the search does.

    Attributes:
        move_logits: whether the logits are updated.
        relaxation: how they become mixing weights.
        more: images by which each batch is larger than at the start, where the data allow it.
    """

    move_logits: bool = True
    relaxation: Relaxation
    more: int = 0


class Course(Protocol):
    """A running search, as stages see it."""

    @property
    def records(self) -> Sequence[Mapping[str, Any]]:
        """Of the epochs so far, with the logits (all of them, by key) and what remained after each."""
        ...

    @property
    def scene(self) -> Scene:
        """The supernet as it is now."""
        ...

    def settle(self, remaining: Remaining) -> None:
        """From here on only this remains."""
        ...

    def restart(self) -> None:
        """Weights and logits as at the beginning, with new optimizers."""
        ...


class Stage(Protocol):
    """A rule in time."""

    @property
    def restarts(self) -> bool:
        """Whether it begins the search anew somewhere, for which the first weights are kept."""
        ...

    def plan(self, plan: EpochPlan, epoch: int, epochs: int) -> EpochPlan:
        """The plan of `epoch` (from 0) out of `epochs`, given what earlier stages planned."""
        ...

    def act(self, course: Course, now: Moment) -> None:
        """Before the first step of an epoch: a function of the course alone, since a search may be resumed here."""
        ...
