"""SGAS: decide one edge after the other during the search (Li et al. 2020), as methods.md settles it.

1. After some epochs without decisions, one edge of every kind of cell is decided at each of some moments, equally far
   apart: in the paper after 9 of 50 epochs and then every 5, eight times (9, 14, ..., 44).
2. The edge is the one with the largest score among the undecided. With `a` its mixing weights and
   `p_o = a_o / sum(a without none)`:
   importance `1 - a_none`; certainty `1 - H(p) / log(number of candidates without none)`;
   stability `mean over the last epochs of sum_o min(p_o, p_o of that epoch)`, a histogram intersection.
   Criterion 1 is importance x certainty, criterion 2 is criterion 1 x stability; every factor is first normalized to
   `(x - min) / (max - min)` over all edges of the kind, decided ones among them.
3. Its candidate is the strongest one, or in SGAS+PT (Wang-2021) the one that the removal test finds. From then on the
   edge runs that candidate alone, with weight 1.
4. Where a node keeps some of its inputs, it drops the others as soon as so many are decided.
5. The batch grows by 8 with each decision, for which the decided edges have made room.

Where the text is silent: a factor that is the same on all edges is 1, since it tells nothing (the public code would
divide by zero); so is stability before there is an earlier epoch. A single candidate besides none is certain. Where
fewer moments are left than decisions (short searches, large modules), several edges are decided at one moment, by the
same scores, so that everything is decided in the end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from oche.domain import Domain, Edge, Node
from oche.errors import InputError
from oche.mixture.base import Relaxation
from oche.moment import Moment
from oche.nn.operations import NONE
from oche.remaining import Remaining
from oche.schedule import Length, Share
from oche.select.groups import groups
from oche.select.scene import Scene
from oche.stages.base import Course, EpochPlan

ROUNDING = 1e-12
"""By which numbers that are equal may differ; stretched over 0 to 1 it would decide."""


class CandidateRule(Protocol):
    """Chooses the candidate of an edge."""

    def candidate(self, scene: Scene, key: str) -> int:
        """A candidate that may be selected, by its place among all of its edge."""
        ...


@dataclass(frozen=True)
class Strongest:
    """The candidate with the largest mixing weight; ties to the lower index."""

    def candidate(self, scene: Scene, key: str) -> int:
        """See `CandidateRule`."""
        edge, strengths = scene.domain.edges[key], scene.relaxation.log_strength(scene.logits)[key].tolist()
        places = [i for i, name in enumerate(edge.candidates) if name in edge.selectable]
        best = max(places, key=strengths.__getitem__)
        return scene.remaining.of(key, len(scene.whole.edges[key].candidates))[best]


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """Decide edges one after the other.

    Attributes:
        first: epochs before the first decision.
        last: epochs before the last one.
        decisions: in every kind of cell, as they are planned from `first` to `last`.
        history: epochs that stability looks back; 0: criterion 1.
        growth: images by which the batch grows with each decision.
        rule: what chooses the candidate.

    Raises:
        InputError: a number is out of its range.
    """

    CITES: ClassVar[tuple[str, ...]] = ("sgas",)

    first: Length = Share(9 / 50)
    last: Length = Share(44 / 50)
    decisions: int = 8
    history: int = 4
    growth: int = 8
    rule: CandidateRule = Strongest()

    restarts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name, least in (("decisions", 1), ("history", 0), ("growth", 0)):
            if getattr(self, name) < least:
                raise InputError(f"greedy decisions need {name} >= {least}, but got {getattr(self, name)}")

    def moments(self, epochs: int) -> list[int]:
        """The epochs before which the planned decisions are made, in their order.

        Raises:
            InputError: there is no epoch before the first decision, or none after it.
        """
        first = self.first.of(epochs)
        if not 0 < first < epochs:
            raise InputError(
                f"greedy decisions need an epoch before and after the first of them, but it comes after {first} of "
                f"{epochs} epochs; search longer"
            )
        last = min(max(self.last.of(epochs), first), epochs - 1)
        gaps = max(self.decisions - 1, 1)
        return [first + (2 * (last - first) * i + gaps) // (2 * gaps) for i in range(self.decisions)]  # rounded

    def logits(self, domain: Domain) -> Mapping[str, int]:
        """None."""
        return {}

    def plan(self, plan: EpochPlan, epoch: int, epochs: int) -> EpochPlan:
        """A larger batch after each planned decision; none is made while edges are searched."""
        if plan.search_edges:
            return plan
        made = sum(moment <= epoch for moment in self.moments(epochs))
        return replace(plan, more=plan.more + self.growth * made)

    def act(self, course: Course, now: Moment) -> None:
        """Make the decisions of this moment."""
        moments = self.moments(now.epochs)
        here, later = moments.count(now.epoch), sum(moment > now.epoch for moment in moments)
        if not here or course.plan.search_edges:
            return
        whole = course.scene.whole
        for nodes in groups(whole).values():
            scores = self.scores(
                [edge for node in nodes for edge in node.edges],
                [record["logits"] for record in course.records[-min(1 + self.history, now.epoch) :]],
                course.scene.relaxation,
            )
            # All that is left, spread over the moments that are left.
            for _ in range(-(-_missing(nodes, course.scene.remaining) * here // (here + later))):
                open_ = [key for key in scores if not course.scene.remaining.decided(key)]
                key = max(open_, key=scores.__getitem__)
                course.settle(course.scene.remaining.decide(key, self.rule.candidate(course.scene, key)))
                course.settle(_with_full_nodes(nodes, course.scene.remaining))

    def scores(
        self, edges: Sequence[Edge], tables: Sequence[Mapping[str, Sequence[float]]], relaxation: Relaxation
    ) -> dict[str, float]:
        """Criterion 1 or 2 of every edge of a kind of cell.

        Args:
            edges: of the kind.
            tables: logits by key after some epochs; the last one counts, the others are its history.
            relaxation: from logits to mixing weights.
        """
        rows = [relaxation.log_strength({e.key: torch.tensor(table[e.key]) for e in edges}) for table in tables]
        shown = [[_without_none(edge, row[edge.key]) for edge in edges] for row in rows]
        factors = [
            [_importance(edge, rows[-1][edge.key]) for edge in edges],
            [_certainty(torch.softmax(log_a, 0)) for log_a in shown[-1]],
        ]
        if len(shown) > 1:
            factors.append([_stability(now, before) for now, *before in zip(*reversed(shown), strict=True)])
        return {
            edge.key: math.prod(values)
            for edge, *values in zip(edges, *(_normalized(factor) for factor in factors), strict=True)
        }


def _without_none(edge: Edge, log_a: Tensor) -> Tensor:
    return log_a[[i for i, name in enumerate(edge.candidates) if name != NONE]]


def _importance(edge: Edge, log_a: Tensor) -> float:
    """`1 - a_none`; exactly 1 where there is no none."""
    return 1 - float(log_a[edge.candidates.index(NONE)].exp()) if NONE in edge.candidates else 1.0


def _certainty(p: Tensor) -> float:
    """`1 - H(p) / log(candidates)` with 0 log 0 = 0."""
    if len(p) == 1:
        return 1.0
    return 1 + float(torch.special.xlogy(p, p).sum()) / math.log(len(p))


def _stability(now: Tensor, before: Sequence[Tensor]) -> float:
    """The mean histogram intersection with earlier epochs, from logarithms of weights."""
    p = torch.softmax(now, 0)
    return sum(float(torch.minimum(p, torch.softmax(q, 0)).sum()) for q in before) / len(before)


def _normalized(values: Sequence[float]) -> list[float]:
    """`(x - min) / (max - min)`; all 1 where they are equal."""
    least, largest = min(values), max(values)
    if largest - least < ROUNDING:
        return [1.0] * len(values)
    return [(value - least) / (largest - least) for value in values]


def _missing(nodes: Sequence[Node], remaining: Remaining) -> int:
    """How many decisions these nodes still need."""
    missing = 0
    for node in nodes:
        kept = _kept(node, remaining)
        wanted = len(kept) if node.keep is None else min(node.keep, len(kept))
        missing += wanted - sum(remaining.decided(key) for key in kept)
    return missing


def _kept(node: Node, remaining: Remaining) -> list[str]:
    """The edges of a node that have not been dropped."""
    return [edge.key for edge in node.edges if remaining.kept.get(edge.key) != ()]


def _with_full_nodes(nodes: Sequence[Node], remaining: Remaining) -> Remaining:
    """Where a node has decided as many edges as it keeps, the others are dropped."""
    for node in nodes:
        kept = _kept(node, remaining)
        undecided = [key for key in kept if not remaining.decided(key)]
        if node.keep is not None and len(kept) - len(undecided) >= node.keep:
            remaining = remaining.drop(undecided)
    return remaining
