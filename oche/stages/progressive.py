"""Progressive shrinking and widening (the progressive learning of DrNAS: Chen et al., ICLR 2021).

A search at the final size fits the memory because at first few channels go through the candidates, and later few
candidates are left:

1. the first part with all candidates and the first of the structure's shares of channels;
2. on every edge, keep the `keep` candidates of largest mean mixing weight and prune the others;
3. widen what goes through the candidates to the structure's next share (`oche.nn.widening`), and go on.

Rates run on over both parts, and the logits stand still at the beginning of each.

What is pruned is no more: the mixture is drawn from the logits that remain. For a Dirichlet mixture that is the old one
masked and renormalized, exactly: if `a ~ Dirichlet(beta)` and `S` is a set of candidates, then
`(a_o / sum_{s in S} a_s)_{o in S} ~ Dirichlet((beta_o)_{o in S})`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from oche.domain import Domain, Edge
from oche.errors import InputError
from oche.moment import Moment
from oche.needs import NEXT_SHARE, WIDENING, Feature
from oche.remaining import Remaining
from oche.schedule import Length
from oche.select.scene import Scene
from oche.stages.base import Course, EpochPlan


@dataclass(frozen=True, kw_only=True)
class Progressive:
    """Prune the candidates once, and widen those that are left.

    Candidates that cannot be selected go first, whatever their weight (`none` in the DARTS spaces): otherwise one of
    them might take the place of one that can. An edge with no more than `keep` candidates keeps them. A search of one
    epoch is all first part, and so it is neither pruned nor widened.

    Attributes:
        first: the first part.
        keep: candidates that remain on each edge.
        frozen: at the start of each part, how much of it passes before the logits move; of a part of one epoch nothing.

    Raises:
        InputError: no candidate would remain.
    """

    first: Length
    keep: int
    frozen: Length

    CITES: ClassVar[tuple[str, ...]] = ("drnas", "net2net")

    NEEDS: ClassVar[tuple[Feature, ...]] = (NEXT_SHARE,)
    OFFERS: ClassVar[tuple[Feature, ...]] = (WIDENING,)

    restarts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise InputError(f"every edge keeps a candidate, so keep >= 1 must hold, but got keep={self.keep}")

    def logits(self, domain: Domain) -> Mapping[str, int]:
        """None."""
        return {}

    def plan(self, plan: EpochPlan, epoch: int, epochs: int) -> EpochPlan:
        """Freeze the logits at the start of either part."""
        first = min(self.first.of(epochs), epochs)
        begin, length = (0, first) if epoch < first else (first, epochs - first)
        frozen = min(self.frozen.of(length), length - 1)
        return replace(plan, move_logits=plan.move_logits and epoch - begin >= frozen)

    def act(self, course: Course, now: Moment) -> None:
        """Before the second part: prune, and widen."""
        if now.epoch == self.first.of(now.epochs):
            course.settle(_pruned(course.scene, self.keep))
            course.widen()


def _pruned(scene: Scene, keep: int) -> Remaining:
    """What remains with so many candidates on each edge."""
    remaining, strength = scene.remaining, scene.relaxation.log_strength(scene.logits)
    for key, edge in scene.domain.edges.items():
        places = remaining.of(key, len(scene.whole.edges[key].candidates))
        kept = _strongest(edge, strength[key].tolist(), keep)
        remaining = remaining.prune(key, (places[i] for i in kept))
    return remaining


def _strongest(edge: Edge, strength: Sequence[float], keep: int) -> list[int]:
    """The candidates that stay, by their places; ties to the lower one."""
    return sorted(range(len(strength)), key=lambda i: (edge.candidates[i] in edge.excluded, -strength[i], i))[:keep]
