"""Edges first, then operations, as in Amended-DARTS: no edge is pruned after the operations have been searched.

Either the edges are searched in a first part of the search (`EdgeSearch`, Sec. 3.1.2 and Appendix B.2): sets of edges
compete while all operations are mixed on them, the strongest set of each node is kept, and the search of the operations
starts from scratch on these. Or they are fixed beforehand (`FixedEdges`): node `i` reads node `i - 1` and the first
input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from oche.domain import Domain
from oche.errors import InputError
from oche.mixture.groups import EdgeGroups
from oche.moment import Moment
from oche.needs import ALL_CHANNELS_MIXED, KEPT_INPUTS, TWO_INPUTS, Feature
from oche.schedule import Length, Share
from oche.stages.base import Course, EpochPlan


@dataclass(frozen=True, kw_only=True)
class EdgeSearch:
    """A first search for the edges, then one for the operations on them, each with all schedules of a search.

    Attributes:
        first: the part in which edges are searched; the paper searches both equally long.
    """

    CITES: ClassVar[tuple[str, ...]] = ("amended",)

    NEEDS: ClassVar[tuple[Feature, ...]] = (ALL_CHANNELS_MIXED,)

    NEEDS_OF_SPACE: ClassVar[tuple[Feature, ...]] = (KEPT_INPUTS,)

    first: Length = Share(1 / 2)

    restarts: ClassVar[bool] = True

    def logits(self, domain: Domain) -> Mapping[str, int]:
        """One per set of edges."""
        return {key: len(sets) for key, sets in EdgeGroups.of(domain).sets.items()}

    def plan(self, plan: EpochPlan, epoch: int, epochs: int) -> EpochPlan:
        """Two searches, one after the other.

        Raises:
            InputError: one of them would have no epoch.
        """
        first = self.first.of(epochs)
        if not 0 < first < epochs:
            raise InputError(
                f"an edge search needs epochs for the edges and for the operations, but {first} of {epochs} are for "
                "the edges; search longer"
            )
        if epoch < first:
            return replace(plan, search_edges=True, end=plan.begin + first)
        return replace(plan, begin=plan.begin + first)

    def act(self, course: Course, now: Moment) -> None:
        """After the first part, keep the strongest edges and begin anew."""
        scene = course.scene
        keys = self.logits(scene.whole)
        if not course.plan.search_edges and not all(scene.remaining.decided(key) for key in keys):
            competing = replace(scene, groups=EdgeGroups.of(scene.whole))
            course.settle(competing.concluded.remaining)
            course.restart()


@dataclass(frozen=True, kw_only=True)
class FixedEdges:
    """Every node reads the first input and the node before it, from the beginning (Sec. 3.1.2)."""

    CITES: ClassVar[tuple[str, ...]] = ("amended",)

    NEEDS_OF_SPACE: ClassVar[tuple[Feature, ...]] = (TWO_INPUTS,)

    restarts: ClassVar[bool] = False

    def logits(self, domain: Domain) -> Mapping[str, int]:
        """None."""
        return {}

    def plan(self, plan: EpochPlan, epoch: int, epochs: int) -> EpochPlan:
        """The plan."""
        return plan

    def act(self, course: Course, now: Moment) -> None:
        """Drop the other edges."""
        remaining, whole = course.scene.remaining, course.scene.whole
        others = {edge.key for node in whole.nodes for edge in node.edges[1:-1]}
        if not all(remaining.decided(key) for key in others):
            course.settle(remaining.drop(others))
