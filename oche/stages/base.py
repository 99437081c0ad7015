"""The interface of what happens when: stages plan each epoch, and act on the search before it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from oche.domain import Domain
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
        search_edges: whether sets of edges compete as well, under logits of their own.
        begin: the epoch with which all schedules begin.
        end: the epoch before which they end.
    """

    relaxation: Relaxation
    end: int
    begin: int = 0
    move_logits: bool = True
    more: int = 0
    search_edges: bool = False

    def moment(self, epoch: int) -> Moment:
        """Where an epoch of the search stands in its schedules."""
        return Moment(epoch=min(epoch, self.end - 1) - self.begin, epochs=self.end - self.begin)


class Course(Protocol):
    """A running search, as stages see it."""

    @property
    def records(self) -> Sequence[Mapping[str, Any]]:
        """Of the epochs so far, with the logits (all of them, by key) and what remained after each."""
        ...

    @property
    def plan(self) -> EpochPlan:
        """Of the epoch that begins."""
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

    def logits(self, domain: Domain) -> Mapping[str, int]:
        """Further logits that it decides by: their number by key.

        Raises:
            InputError: it does not work with the decisions of this space.
        """
        ...

    def plan(self, plan: EpochPlan, epoch: int, epochs: int) -> EpochPlan:
        """The plan of an epoch, given what earlier stages planned.

        Args:
            plan: so far.
            epoch: from the beginning of that plan's schedules.
            epochs: in its schedules.
        """
        ...

    def act(self, course: Course, now: Moment) -> None:
        """Before the first step of an epoch: a function of the course alone, since a search may be resumed here."""
        ...
