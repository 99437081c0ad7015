"""Which architectures a search adds next: a function of what it knows, and of nothing else.

| proposals | what is added | source |
|---|---|---|
| `Uniform` | random ones | |
| `Ranked` | what the ranking network puts first | Wang-2021, Sec. 4.1.2 |
| `Scored` | the best by a zero-cost proxy | Abdelfattah et al., ICLR 2021 |
| `Evolution` | mutants of the best of a random few of the youngest | Real et al., AAAI 2019 (regularized evolution) |
| `LocalSearch` | neighbours of the best so far, until none is better | White et al., UAI 2021 |

Nothing is proposed twice. All draws follow from the seed and the number of candidates, so that a search that was cut
off proposes the same again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from random import Random
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from oche.architecture import Architecture
from oche.errors import InputError
from oche.nosh.schedule import Candidate, Levels
from oche.predict.graph import graph_form
from oche.predict.ranking import Ranker, RankingSettings, comparisons, label_rows, train_ranker
from oche.randomness import derive
from oche.spaces.space import Space

LARGEST = 50_000
"""Architectures of a space up to which all of them are ranked: some seconds of scoring."""

PATIENCE = 1000
"""Draws of known architectures in a row after which a large space counts as exhausted."""


@dataclass(frozen=True, eq=False)
class Known:
    """What a search knows.

    Attributes:
        space: that is searched.
        levels: of the search.
        candidates: what was added so far, with their labels.
        seed: of the search.
        untrained: scores of architectures that were not trained, level 0 of the pyramid; higher is better.
    """

    space: Space
    levels: Levels
    candidates: Sequence[Candidate]
    seed: int
    untrained: Mapping[Architecture, float] = field(default_factory=dict)

    @cached_property
    def seen(self) -> set[Architecture]:
        """What may not be proposed again."""
        return {candidate.architecture for candidate in self.candidates}

    @property
    def random(self) -> Random:
        """Draws for this moment of the search."""
        return Random(derive(self.seed, "propose", len(self.candidates)))


class Proposals(ABC):
    """A way to choose what to add."""

    @abstractmethod
    def propose(self, known: Known, count: int) -> list[Architecture]:
        """Architectures that are not known yet: `count`, or fewer if there are no more."""

    def check(self, space: Space, levels: Levels) -> None:
        """Refuse a search that this cannot serve.

        Raises:
            InputError: it cannot.
        """
        if space.size < levels.width:
            raise InputError(
                f"a round adds {levels.width} architectures, but space {space.name!r} has {space.size}; "
                "make the rounds narrower"
            )


@dataclass(frozen=True)
class Uniform(Proposals):
    """Architectures drawn uniformly from those that are not known yet."""

    CITES: ClassVar[tuple[str, ...]] = ("random-search",)

    def propose(self, known: Known, count: int) -> list[Architecture]:
        """See `Proposals`."""
        return drawn(known.space, known.seen, count, known.random)


@dataclass(frozen=True, kw_only=True)
class Ranked(Proposals):
    """What an ensemble of ranking networks puts first, trained anew on everything that is known.

    Where the space can be enumerated, all of it is ranked; elsewhere, the best are mutated and ranked, some
    generations long. The first candidates are drawn at random, and so is a share of every round: the network can only
    rank well what it has seen something like.

    Attributes:
        ranking: of network and training.
        start: candidates that are drawn at random before anything is ranked, unless level 0 has labels.
        explored: share of a round that is drawn at random.
        optimism: standard deviations of the ensemble that are added to its mean.
        parents: in large spaces, how many are mutated in a generation.
        children: of each parent.
        generations: one after the other.
    """

    CITES: ClassVar[tuple[str, ...]] = ("rank-nosh", "wang-2021", "gates")

    ranking: RankingSettings = RankingSettings()
    start: int = 8
    explored: float = 0.1
    optimism: float = 0.0
    parents: int = 50
    children: int = 10
    generations: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.explored <= 1:
            raise InputError(f"0 <= explored <= 1 must hold, but got explored={self.explored}")

    def check(self, space: Space, levels: Levels) -> None:
        """Also refuses a space without a graph encoding; see `Proposals`."""
        super().check(space, levels)
        graph_form(space)

    def propose(self, known: Known, count: int) -> list[Architecture]:
        """See `Proposals`."""
        ranker, rng = self.ranker(known), known.random
        if ranker is None:
            return drawn(known.space, known.seen, count, rng)
        chosen = drawn(known.space, known.seen, round(self.explored * count), rng)
        closed = known.seen | set(chosen)
        for architecture in self._best_first(known, ranker, rng):
            if len(chosen) == count:
                break
            if architecture not in closed:
                chosen.append(architecture)
        return chosen

    def ranker(self, known: Known) -> Ranker | None:
        """The ensemble; None: too little can be compared yet."""
        trained = [c for c in known.candidates if c.labels]
        if len(trained) < self.start and not known.untrained:
            return None
        rows = [(c.architecture, [known.untrained.get(c.architecture, np.nan), *c.labels]) for c in trained]
        there = {architecture for architecture, _ in rows}
        rows += [(a, [score]) for a, score in known.untrained.items() if a not in there]
        order = comparisons(label_rows([labels for _, labels in rows], known.levels.top + 1))
        if not order.any():
            return None
        form = graph_form(known.space)
        graphs = form.encode([architecture for architecture, _ in rows])
        seed = derive(known.seed, "ranker", len(known.candidates))
        return train_ranker(form, graphs, order, seed=seed, settings=self.ranking)

    def _best_first(self, known: Known, ranker: Ranker, rng: Random) -> Iterator[Architecture]:
        if known.space.size <= LARGEST:
            everything, graphs = enumerated(known.space)
            return (everything[i] for i in self._order(ranker, graphs))
        pool = list(dict.fromkeys([*known.seen, *drawn(known.space, known.seen, self.parents * self.children, rng)]))
        pool.sort(key=lambda a: a.items)  # a set has no order of its own
        form = graph_form(known.space)
        for _ in range(self.generations):
            best = [pool[i] for i in self._order(ranker, form.encode(pool))[: self.parents]]
            around = (list(known.space.neighbours(parent)) for parent in best)
            mutants = [a for near in around for a in rng.sample(near, min(self.children, len(near)))]
            pool = list(dict.fromkeys([*pool, *mutants]))
        return (pool[i] for i in self._order(ranker, form.encode(pool)))

    def _order(self, ranker: Ranker, graphs: Tensor) -> list[int]:
        scores = ranker.scores(graphs)
        hopes = scores.mean(dim=0) + self.optimism * scores.std(dim=0, correction=0)
        found: list[int] = torch.argsort(hopes, descending=True, stable=True).tolist()
        return found


@dataclass(frozen=True)
class Scored(Proposals):
    """The untrained architectures with the highest scores, one after the other."""

    CITES: ClassVar[tuple[str, ...]] = ("zero-cost",)

    def propose(self, known: Known, count: int) -> list[Architecture]:
        """See `Proposals`."""
        left = [a for a in known.untrained if a not in known.seen]
        return sorted(left, key=lambda a: (-known.untrained[a], a.to_json()))[:count]


@dataclass(frozen=True, kw_only=True)
class Evolution(Proposals):
    """Regularized evolution: the best of a random sample of the youngest `population` has a child.

    Its levels are one, and rounds add one at a time: the youngest are then those added last, and adding one is the
    death of the oldest.

    Attributes:
        population: how many live.
        sample: how many compete to be the parent.
    """

    CITES: ClassVar[tuple[str, ...]] = ("evolution",)

    population: int = 10
    sample: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.sample <= self.population:
            raise InputError(
                f"1 <= sample <= population must hold, but got sample={self.sample}, population={self.population}"
            )

    def propose(self, known: Known, count: int) -> list[Architecture]:
        """See `Proposals`."""
        rng = known.random
        chosen: list[Architecture] = []
        alive = [c for c in known.candidates if c.labels][-self.population :]
        while len(chosen) < count:
            closed = known.seen | set(chosen)
            child = None
            if len(known.candidates) >= self.population and alive:
                rivals = rng.sample(alive, min(self.sample, len(alive)))
                child = _fresh_mutant(known.space, max(rivals, key=lambda c: c.labels[-1]).architecture, closed, rng)
            found = [child] if child is not None else drawn(known.space, closed, 1, rng)
            if not found:
                break
            chosen += found
        return chosen


@dataclass(frozen=True)
class LocalSearch(Proposals):
    """Go to the first neighbour that is better; where none is, begin again at a random architecture.

    White, Nolen, Savani ("Exploring the Loss Landscape in Neural Architecture Search") call it local search with
    "query until lower". The course is read off the candidates: every one is a start, or a neighbour that was tried.
    """

    CITES: ClassVar[tuple[str, ...]] = ("local-search",)

    def propose(self, known: Known, count: int) -> list[Architecture]:
        """See `Proposals`."""
        if count != 1:
            raise InputError(f"local search goes step by step, so a round adds 1 architecture, but got width={count}")
        place: Candidate | None = None
        untried: list[Architecture] = []
        seen: set[Architecture] = set()
        for candidate in known.candidates:
            seen.add(candidate.architecture)
            value = candidate.labels[-1] if candidate.labels else -np.inf
            if place is None or not place.labels or value > place.labels[-1]:
                place, untried = candidate, self._neighbours(known, candidate)
            untried = [a for a in untried if a not in seen]
            if not untried:
                place = None
        return untried[:1] if place is not None else drawn(known.space, seen, 1, known.random)

    @staticmethod
    def _neighbours(known: Known, candidate: Candidate) -> list[Architecture]:
        around = list(known.space.neighbours(candidate.architecture))
        Random(derive(known.seed, "neighbours", candidate.architecture.to_json())).shuffle(around)
        return around


@lru_cache(maxsize=4)
def enumerated(space: Space) -> tuple[tuple[Architecture, ...], Tensor]:
    """All architectures of a space, and their graphs."""
    everything = tuple(space.enumerate())
    return everything, graph_form(space).encode(everything)


def drawn(space: Space, closed: set[Architecture], count: int, rng: Random) -> list[Architecture]:
    """Architectures drawn uniformly without repetition from those outside `closed`: `count`, or all that there are."""
    if space.size <= LARGEST and 2 * (len(closed) + count) > space.size:
        left = [a for a in space.enumerate() if a not in closed]
        return rng.sample(left, min(count, len(left)))
    found: dict[Architecture, None] = {}
    misses = 0
    while len(found) < count and misses < PATIENCE:
        architecture = space.sample(rng)
        if architecture in closed or architecture in found:
            misses += 1
        else:
            found[architecture], misses = None, 0
    return list(found)


def _fresh_mutant(space: Space, parent: Architecture, closed: set[Architecture], rng: Random) -> Architecture | None:
    """A neighbour that is not known yet, drawn uniformly; None if all are known."""
    fresh = [a for a in space.neighbours(parent) if a not in closed]
    return rng.choice(fresh) if fresh else None
