"""A search without a supernet: levels, proposals and a backend, put together; and the named ones.

| search | levels | proposals |
|---|---|---|
| `rank-nosh` | a pyramid, round by round | `Ranked` |
| `rank-full` | every architecture trained to the end | `Ranked`: a predictor without NOSH |
| `nosh` | a pyramid, round by round | `Uniform`: NOSH without a predictor |
| `successive-halving` | a pyramid of one round as wide as the budget | `Uniform` |
| `proxy-search` | every architecture trained to the end | `Scored` |
| `random-search` | every architecture trained to the end | `Uniform` |
| `evolution` | the same, one by one | `Evolution` |
| `local-search` | the same, one by one | `LocalSearch` |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from oche.architecture import Architecture
from oche.campaign.task import Workplace
from oche.data.batches import Batch
from oche.errors import InputError, named
from oche.nosh.backend import Backend
from oche.nosh.proposals import Evolution, Known, LocalSearch, Proposals, Ranked, Scored, Uniform, drawn
from oche.nosh.schedule import Candidate, Levels, Nosh
from oche.predict.proxies import Proxy, Scorer, SynFlow
from oche.randomness import derive
from oche.spaces.space import Space
from oche.task import ImageTask

FULL_TRAININGS = 25
"""Of whose epochs a budget consists that nobody gave."""

NARROWEST = 8
"""Candidates that a round adds at least if nobody says otherwise; fewer would mean a new ranking for each few."""

STEPS = 3
"""Levels of a pyramid for which no epochs are given, where trainings can be resumed: the last, its half, ..."""


class Shape(ABC):
    """How levels follow from what a backend can measure and from the budget."""

    @abstractmethod
    def levels(self, backend: Backend, budget: int) -> Levels:
        """The levels.

        Raises:
            InputError: the budget is too small, or the backend has no such epochs.
        """


@dataclass(frozen=True, kw_only=True)
class Rounds(Shape):
    """A pyramid that grows round by round.

    Attributes:
        width: candidates that a round adds; None: as many as it takes for one to reach the highest level where all
            levels cost the same, but no fewer than `NARROWEST`.
        ratio: one in so many goes up from each level; None: as their epochs, so that all levels cost about the same.
        epochs: of the levels; None: all that the backend has where it has few, or halves of the last.
    """

    CITES: ClassVar[tuple[str, ...]] = ("rank-nosh", "wang-2021")

    width: int | None = None
    ratio: float | None = None
    epochs: tuple[int, ...] | None = None

    def levels(self, backend: Backend, budget: int) -> Levels:
        """See `Shape`."""
        epochs = self.epochs or usual_epochs(backend)
        width = max(-(-epochs[-1] // max(epochs[0], 1)), NARROWEST) if self.width is None else self.width
        return Levels.pyramid(epochs, width=width, ratio=self.ratio, resumed=backend.resumed)


@dataclass(frozen=True, kw_only=True)
class OneRound(Shape):
    """Successive halving (Jamieson & Talwalkar, AISTATS 2016): one round, as wide as the budget allows.

    Attributes:
        ratio: one in so many goes up from each level; None: as their epochs, so that all levels cost about the same.
        epochs: as of `Rounds`.
    """

    CITES: ClassVar[tuple[str, ...]] = ("halving",)

    ratio: float | None = None
    epochs: tuple[int, ...] | None = None

    def levels(self, backend: Backend, budget: int) -> Levels:
        """See `Shape`."""
        epochs = self.epochs or usual_epochs(backend)

        def of(width: int) -> Levels:
            return Levels.pyramid(epochs, width=width, ratio=self.ratio, resumed=backend.resumed, rounds=1)

        width = 1
        while width < backend.space.size and of(width + 1).round_cost() <= budget:
            width += 1
        return of(width)


@dataclass(frozen=True, kw_only=True)
class Whole(Shape):
    """Every architecture is trained to the end.

    Attributes:
        width: candidates that a round adds.
    """

    width: int = 1

    def levels(self, backend: Backend, budget: int) -> Levels:
        """See `Shape`."""
        return Levels(epochs=backend.epochs[-1:], width=self.width, resumed=backend.resumed)


@dataclass(frozen=True, kw_only=True)
class QuerySearch:
    """A search that queries architectures one by one, as a value.

    Attributes:
        name: the registry name.
        summary: when to use it, in one sentence.
        reference: the paper.
        shape: of its levels.
        proposals: what it adds.
        proxy: labels untrained architectures, level 0; None: nothing does.
        untrained: how many.

    Raises:
        InputError: the proposals need a proxy and there is none, or have no use for one.
    """

    name: str
    summary: str
    reference: str
    shape: Shape
    proposals: Proposals
    proxy: Proxy | None = None
    untrained: int = 200

    def __post_init__(self) -> None:
        if self.proxy is not None and not isinstance(self.proposals, Ranked | Scored):
            raise InputError(
                f"a zero-cost proxy is of no use to {self.name}, which ranks nothing; leave it out, or give --method "
                "rank-nosh or proxy-search"
            )
        if self.proxy is None and isinstance(self.proposals, Scored):
            raise InputError(f"{self.name} goes by a zero-cost proxy, but there is none; give one such as synflow")

    def scorer(self, space: Space, task: ImageTask, batch: Batch | None, seed: int) -> Scorer | None:
        """What scores untrained architectures; None without a proxy.

        Args:
            space: of the architectures, with the size of the networks that are scored.
            task: shapes of images and outputs.
            batch: images and labels; None: there are none.
            seed: of the choice and of initial weights.

        Raises:
            InputError: the proxy needs images and there are none.
        """
        if self.proxy is None:
            return None
        return Scorer(proxy=self.proxy, space=space, task=task, stack=space.supernet_stack, batch=batch, seed=seed)

    def level_zero(self, scorer: Scorer | None) -> Mapping[Architecture, float]:
        """The scores of `untrained` random architectures; none without a scorer."""
        if scorer is None:
            return {}
        return scorer.scores(drawn(scorer.space, set(), self.untrained, Random(derive(scorer.seed, "untrained"))))


WANG = "Wang: Towards Efficient, Effective, and Robust NAS Methods, Ch. 4; Wang et al.: RANK-NOSH. ICCV 2021."

RANK_NOSH = QuerySearch(
    name="rank-nosh",
    summary="No supernet: a ranking network proposes, and only the promising are trained to the end.",
    reference=WANG,
    shape=Rounds(),
    proposals=Ranked(),
)

RANK_FULL = QuerySearch(
    name="rank-full",
    summary="The predictor of rank-nosh with every proposed architecture trained to the end: what NOSH saves against.",
    reference=WANG,
    shape=Whole(width=4),
    proposals=Ranked(),
)

NOSH = QuerySearch(
    name="nosh",
    summary="The schedule of rank-nosh with random architectures: what the predictor gains against.",
    reference=WANG,
    shape=Rounds(),
    proposals=Uniform(),
)

HALVING = QuerySearch(
    name="successive-halving",
    summary="Random architectures, half of which are trained on at each level.",
    reference="Jamieson, Talwalkar: Non-stochastic Best Arm Identification. AISTATS 2016.",
    shape=OneRound(),
    proposals=Uniform(),
)

PROXY = QuerySearch(
    name="proxy-search",
    summary="Goes by a zero-cost proxy alone: the best of some random architectures are trained to the end.",
    reference="Abdelfattah, Mehrotra, Dudziak, Lane: Zero-Cost Proxies for Lightweight NAS. ICLR 2021.",
    shape=Whole(),
    proposals=Scored(),
    proxy=SynFlow(),
)

RANDOM = QuerySearch(
    name="random-search",
    summary="Random architectures, each trained to the end; the best by validation.",
    reference="Li, Talwalkar: Random Search and Reproducibility for Neural Architecture Search. UAI 2019.",
    shape=Whole(),
    proposals=Uniform(),
)

EVOLUTION = QuerySearch(
    name="evolution",
    summary="Regularized evolution: mutants of the best among the young.",
    reference="Real et al.: Regularized Evolution for Image Classifier Architecture Search. AAAI 2019.",
    shape=Whole(),
    proposals=Evolution(),
)

LOCAL = QuerySearch(
    name="local-search",
    summary="Goes to the first better neighbour, and starts again where there is none.",
    reference="White, Nolen, Savani: Exploring the Loss Landscape in Neural Architecture Search. UAI 2021.",
    shape=Whole(),
    proposals=LocalSearch(),
)

SEARCHES: dict[str, QuerySearch] = {
    s.name: s for s in (RANK_NOSH, RANK_FULL, NOSH, HALVING, PROXY, RANDOM, EVOLUTION, LOCAL)
}


def query_search(name: str) -> QuerySearch:
    """A search by name.

    Raises:
        InputError: the name is unknown.
    """
    return named("search", name, SEARCHES)


def usual_epochs(backend: Backend) -> tuple[int, ...]:
    """Levels for which nobody gave epochs: the backend's own schedules, or the last epoch, its half, and so on."""
    if not backend.resumed:
        return backend.epochs
    last = backend.epochs[-1]
    return tuple(sorted({max(last >> k, 1) for k in range(STEPS)}))


class Course:
    """One search under way: the pyramid, and what is proposed for it.

    Args:
        search: what is done.
        backend: that measures.
        budget: epochs.
        seed: of everything random.
        seconds: as of `Nosh`.
        untrained: level 0; see `Known`.

    Attributes:
        nosh: the pyramid.

    Raises:
        InputError: the parts do not fit together; nothing was measured then.
    """

    def __init__(
        self,
        search: QuerySearch,
        backend: Backend,
        budget: int,
        seed: int,
        *,
        seconds: float | None = None,
        untrained: Mapping[Architecture, float] | None = None,
    ) -> None:
        self.search, self.backend, self._seed = search, backend, seed
        levels = search.shape.levels(backend, budget)
        backend.check(levels)
        search.proposals.check(backend.space, levels)
        self.nosh = Nosh(levels, budget, seconds)
        self._untrained = untrained or {}

    @property
    def known(self) -> Known:
        """What the search knows."""
        return Known(self.backend.space, self.nosh.levels, self.nosh.candidates, self._seed, self._untrained)

    def propose(self) -> list[Architecture]:
        """What the next round adds."""
        return self.search.proposals.propose(self.known, self.nosh.wants)

    def epochs(self, level: int) -> int:
        """That a level stands for; 0 for level 0."""
        return self.nosh.levels.epochs[level - 1] if level else 0

    @property
    def found(self) -> Candidate:
        """The best by the highest level that was reached.

        Raises:
            InputError: all trainings have failed.
        """
        best = self.nosh.best
        if best is None:
            raise InputError(
                f"all {len(self.nosh.candidates)} trainings have failed, so there is nothing to choose from; "
                "see why with --retry-failed, or use a smaller learning rate"
            )
        return self.nosh.candidates[best]


def run_here(course: Course, place: Workplace) -> Candidate:
    """Do a whole search in this process, for a backend that measures at once.

    Returns:
        The best candidate.

    Raises:
        InputError: all measurements have failed.
    """
    nosh = course.nosh
    while not nosh.over:
        if nosh.wants:
            nosh.add(course.propose())
        for job in nosh.jobs:
            candidate = nosh.candidates[job.number]
            before, until = course.epochs(job.level - 1), course.epochs(job.level)
            measured = course.backend.measure(candidate.architecture, job.number, before, until, place)
            nosh.tell(job, measured.accuracy, measured.seconds)
    return course.found
