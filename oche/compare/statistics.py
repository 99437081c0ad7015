"""What the results of a comparison say: every seed, means and spreads, collapse, cost, and random search beside it.

Never "best of": a method is its mean over the seeds, with the spread and each single result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap

from oche.architecture import Architecture
from oche.bench.ranking import Ranking
from oche.campaign.ledger import Entry, Ledger
from oche.compare.judge import Judge
from oche.compare.plan import Arena, Comparison
from oche.compare.query import is_query
from oche.compare.tasks import RANDOM
from oche.methods import method
from oche.randomness import derive
from oche.select.recorded import select_recorded
from oche.spaces.space import Space

LEVEL = 0.95
"""Of the bootstrap intervals."""

RESAMPLES = 9999
"""Of the bootstrap; the interval's ends then move by about a hundredth of its length from draw to draw."""


@dataclass(frozen=True)
class Sample:
    """Accuracies by seed.

    Attributes:
        by_seed: test accuracy in percent.
    """

    by_seed: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return mean(self.by_seed.values())

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds (n - 1); None for one."""
        return stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


@dataclass(frozen=True)
class Interval:
    """A difference of means with its bootstrap interval.

    Attributes:
        difference: in percentage points.
        low: end of the interval.
        high: the other end.
        pairs: seeds that both have.
    """

    difference: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method in one arena.

    Attributes:
        method: its name.
        score: test accuracies.
        failed: cells that failed.
        collapsed: how many of the architectures lie below the lower quartile; None: nobody can tell.
        against: the difference to the baseline; None: it is the baseline, or fewer than two seeds are common.
        same_time: random search in the seconds that this method's search took.
        same_time_count: architectures that it trained, mean over the seeds.
        same_cost: random search in the table for as many of the table's seconds.
        same_cost_count: architectures that it afforded, mean over the seeds.
        seconds: of a search, mean.
        ratio: the paper's steps per step made here; None for searches without logits.
        logit_rate: at the start of the search, mean; None for searches without logits.
        entropy: IES at the end per seed, in nats.
        travel: mean distance that a logit moved, per seed.
    """

    method: str
    score: Sample
    failed: int
    collapsed: int | None
    against: Interval | None
    same_time: Sample | None
    same_time_count: float | None
    same_cost: Sample | None
    same_cost_count: float | None
    seconds: float
    ratio: float | None
    logit_rate: float | None
    entropy: tuple[float, ...]
    travel: tuple[float, ...]


def rows(comparison: Comparison, arena: Arena, ledger: Ledger, baseline: str) -> list[Row]:
    """One row per method with a result, in the order in which the methods were given."""
    mine = [entry for entry in ledger.select(arena.is_mine) if "method" in entry["cell"]]
    by_method = {name: _by_seed(mine, name) for name in comparison.methods}
    ranking = arena.judge.ranking(references(arena, ledger))
    scores = {
        name: Sample({seed: arena.judge.accuracy(entry) for seed, entry in entries.items()})
        for name, entries in by_method.items()
    }
    found = []
    for name, entries in by_method.items():
        if not entries:
            continue
        has_logits = name != RANDOM and not is_query(name)
        same_time = dict(_same_time(arena, entries, by_method.get(RANDOM, {}))) if name != RANDOM else {}
        same_cost = dict(_same_cost(arena, entries)) if name != RANDOM else {}
        found.append(
            Row(
                method=name,
                score=scores[name],
                failed=sum(_failed(entry, arena, name) for entry in ledger.entries.values()),
                collapsed=None if ranking is None else _collapsed(ranking, scores[name]),
                against=None if name == baseline else interval(scores[name], scores.get(baseline, Sample({}))),
                same_time=_sample(same_time),
                same_time_count=_count(same_time),
                same_cost=_sample(same_cost),
                same_cost_count=_count(same_cost),
                seconds=mean(entry["seconds"] for entry in entries.values()),
                ratio=mean(e["paper_steps"] / e["steps"] for e in entries.values()) if has_logits else None,
                logit_rate=mean(e["logit_rate"] for e in entries.values()) if has_logits else None,
                entropy=tuple(entry["entropy"][-1] for entry in entries.values() if "entropy" in entry),
                travel=tuple(entry["travel"] for entry in entries.values() if "travel" in entry),
            )
        )
    return found


def references(arena: Arena, ledger: Ledger) -> list[Entry]:
    """The random architectures that were trained to tell collapse."""
    return ledger.select(lambda entry: arena.is_mine(entry) and "reference" in entry["cell"])


def default_baseline(comparison: Comparison) -> str:
    """Random search, or the first method."""
    return RANDOM if RANDOM in comparison.methods else comparison.methods[0]


def interval(ours: Sample, theirs: Sample) -> Interval | None:
    """The mean difference over common seeds, with a percentile bootstrap interval over these pairs.

    Few seeds give a coarse interval: of three there are only ten different resamples.
    """
    common = sorted(ours.by_seed.keys() & theirs.by_seed.keys())
    if len(common) < 2:
        return None
    differences = np.array([ours.by_seed[seed] - theirs.by_seed[seed] for seed in common])
    return Interval(float(differences.mean()), *bootstrapped(differences), len(common))


def bootstrapped(values: ArrayLike) -> tuple[float, float]:
    """The ends of a percentile bootstrap interval of the mean of some numbers."""
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def anytime(space: Space, judge: Judge, entry: Entry) -> list[float]:
    """Test accuracy (percent) of what would have been selected at the start and after each epoch.

    It is computed from the logits that the search has left, by the method's own rule, after the fact. Where no table
    knows every architecture, it is empty.
    """
    if judge.table is None or "logits" not in entry:
        return []
    chosen = method(entry["cell"]["method"]).fitted(space.name, entry["cell"]["data"])
    left = [{}, *entry.get("remaining", [{}] * (len(entry["logits"]) - 1))]  # results of oche 0.1 have no decisions
    return [
        judge.table(select_recorded(space.domain, table, chosen.selection, chosen.relaxation, remaining))
        for table, remaining in zip(entry["logits"], left, strict=True)
    ]


def _by_seed(entries: Sequence[Entry], name: str) -> dict[int, Entry]:
    mine = {entry["cell"]["seed"]: entry for entry in entries if entry["cell"]["method"] == name}
    return dict(sorted(mine.items()))


def _same_time(
    arena: Arena, searches: Mapping[int, Entry], random: Mapping[int, Entry]
) -> Iterator[tuple[int, tuple[float, int]]]:
    """Per seed: accuracy of the best by validation of what random search had trained by then, and its number."""
    if arena.judge.table is None:
        return  # the intermediate winners were not tested
    for seed, entry in searches.items():
        # A method that was added later may have taken longer than random search was given.
        enough = seed in random and random[seed]["budget"] >= entry["seconds"]
        course = random[seed]["course"] if enough else []
        # The first architecture counts even where it took longer: without one there is no result.
        seen = [step for step in course if step["seconds"] <= entry["seconds"]] or course[:1]
        if seen:
            best = max(seen, key=lambda step: step["valid_accuracy"])
            yield seed, (arena.judge.table(_architecture(arena, best["architecture"])), len(seen))


def _same_cost(arena: Arena, searches: Mapping[int, Entry]) -> Iterator[tuple[int, tuple[float, int]]]:
    """Per seed: the same in the table, which pays the table's seconds and sees its validation accuracies."""
    costs, table = arena.judge.costs, arena.judge.table
    if costs is None or table is None:
        return
    for seed, entry in searches.items():
        # What a search by query has spent are the table's seconds, where it states any; not those of looking them up.
        budget = float(entry.get("training_seconds", entry["seconds"]))
        rng, left, seen = Random(derive(seed, "table", RANDOM)), budget, list[Architecture]()
        while left > 0:
            architecture = arena.setting.space.sample(rng)
            left -= costs.seconds(architecture)
            if left >= 0 or not seen:
                seen.append(architecture)
        yield seed, (table(max(seen, key=costs.validation)), len(seen))


def _architecture(arena: Arena, choices: Mapping[str, Any]) -> Architecture:
    return Architecture.of(arena.setting.space.name, choices)


def _sample(results: Mapping[int, tuple[float, int]]) -> Sample | None:
    return Sample({seed: accuracy for seed, (accuracy, _) in results.items()}) if results else None


def _count(results: Mapping[int, tuple[float, int]]) -> float | None:
    return mean(count for _, count in results.values()) if results else None


def _collapsed(ranking: Ranking, score: Sample) -> int:
    return sum(map(ranking.collapsed, score.by_seed.values()))


def _failed(entry: Entry, arena: Arena, name: str) -> bool:
    return entry["status"] == "failed" and arena.is_mine(entry) and entry["cell"].get("method") == name
