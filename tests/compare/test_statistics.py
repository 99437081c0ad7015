"""Means, intervals, collapse and random search with equal budgets, against direct computations on made-up results."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import oche
from oche.architecture import Architecture
from oche.bench.encoding import from_index
from oche.bench.ranking import Ranking
from oche.bench.table import Table
from oche.campaign.data import CampaignData
from oche.campaign.ledger import Ledger, key_of
from oche.compare.judge import Judge, judge
from oche.compare.plan import Arena, Comparison
from oche.compare.statistics import Sample, anytime, interval, rows
from oche.compare.tasks import Setting
from oche.config.options import NamedData
from oche.errors import InputError
from oche.methods import method
from oche.randomness import derive

SPACE = oche.space("nasbench201")


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    """The embedded table, for results that nobody has computed."""
    setting = Setting(
        space=SPACE,
        data=CampaignData(NamedData(name="cifar10"), "0" * 64),
        truth="cifar10",
        epochs=2,
        batch=None,
        logit_lr=None,
        validation=0.0,
        protocol=None,
        random_epochs=2,
        device="cpu",
        threads=1,
        engine="fast",
        work=tmp_path,
    )
    known = judge(SPACE, "cifar10", "0" * 64, None)
    assert known is not None
    return Arena(setting, known)


def search(name: str, seed: int, index: int, seconds: float = 400.0) -> dict[str, Any]:
    """A finished search that has found the architecture with this index."""
    return {
        "cell": {"method": name, "space": "nasbench201", "data": "cifar10", "seed": seed},
        "status": "done",
        "architecture": dict(from_index(index).items),
        "seconds": seconds,
        "steps": 100,
        "paper_steps": 19_500,
        "logit_rate": 3e-2,
        "entropy": [9.0, 5.0 + seed],
        "travel": 0.5,
    }


def found(arena: Arena, entries: list[dict[str, Any]], baseline: str = "darts") -> dict[str, Any]:
    methods = tuple(dict.fromkeys(entry["cell"]["method"] for entry in entries))
    comparison = Comparison(methods, (0, 1, 2), (arena,), 8)
    ledger = Ledger(Path("results"), {}, {key_of(entry["cell"]): entry for entry in entries})
    return {row.method: row for row in rows(comparison, arena, ledger, baseline)}


def truth(arena: Arena, index: int) -> float:
    assert arena.judge.table is not None
    return arena.judge.table(from_index(index))


def test_means_and_spreads_are_over_all_seeds(arena: Arena) -> None:
    indices = (3, 1835, 9930)
    row = found(arena, [search("darts", seed, i) for seed, i in enumerate(indices)])["darts"]
    accuracies = [truth(arena, i) for i in indices]
    assert list(row.score.by_seed.values()) == accuracies
    assert row.score.mean == pytest.approx(np.mean(accuracies))
    assert row.score.spread == pytest.approx(np.std(accuracies, ddof=1))
    assert Sample({0: 90.0}).spread is None
    assert row.ratio == 195
    assert row.entropy == (5.0, 6.0, 7.0)


def test_collapse_is_below_the_lower_quartile_of_the_space(arena: Arena) -> None:
    assert arena.judge.everything is not None
    everything = arena.judge.everything.accuracies
    order = everything.argsort()
    below, above = int(order[len(order) // 4 - 5]), int(order[len(order) // 4 + 5])
    row = found(arena, [search("darts", 0, below), search("darts", 1, above), search("darts", 2, 1835)])["darts"]
    assert row.collapsed == sum(truth(arena, i) < np.quantile(everything, 0.25) for i in (below, above, 1835)) == 2


def test_a_few_references_are_no_quartile() -> None:
    known = Judge(label="trained")
    entries = [{"cell": {}, "trained": {"test": float(i)}} for i in range(5)]
    assert known.ranking(entries[:3]) is None
    ranking = known.ranking(entries)
    assert isinstance(ranking, Ranking)
    assert ranking.quartiles.lower == 1.0
    assert ranking.collapsed(0.9)
    assert not ranking.collapsed(1.0)


def test_the_interval_is_that_of_all_resamples_of_the_paired_differences() -> None:
    ours, theirs = Sample({0: 91.0, 1: 85.5, 2: 93.0, 7: 50.0}), Sample({0: 90.0, 1: 88.0, 2: 89.5, 5: 1.0})
    difference = interval(ours, theirs)
    assert difference is not None
    pairs = np.array([1.0, -2.5, 3.5])
    resampled = [np.mean(chosen) for chosen in product(pairs, repeat=3)]
    assert difference.pairs == 3
    assert difference.difference == pytest.approx(pairs.mean())
    # Of 27 resamples one is three times the smallest pair: with 1/27 > 2.5 % it is the end, as is the largest.
    low, high = np.quantile(resampled, (0.025, 0.975), method="inverted_cdf")
    assert (difference.low, difference.high) == pytest.approx((low, high)) == (-2.5, 3.5)
    assert difference.low < difference.difference < difference.high
    assert interval(ours, Sample({0: 90.0})) is None, "one pair has no spread"


def test_random_search_is_read_off_at_the_seconds_of_each_search(arena: Arena) -> None:
    course = [
        {"architecture": dict(from_index(i).items), "valid_accuracy": accuracy, "seconds": seconds}
        for i, accuracy, seconds in ((10, 40.0, 100.0), (20, 60.0, 250.0), (30, 50.0, 290.0), (40, 70.0, 900.0))
    ]
    random = search("random", 0, 40) | {"course": course, "budget": 900.0}
    fast, slow, hasty = search("darts", 0, 1, 300.0), search("darts-2nd", 0, 2, 900.0), search("darts", 1, 3, 300.0)
    found_rows = found(arena, [fast, slow, random, hasty])
    assert found_rows["darts"].same_time.by_seed == {0: truth(arena, 20)}, "seed 1 has no random search"
    assert found_rows["darts"].same_time_count == 3
    assert found_rows["darts-2nd"].same_time.by_seed == {0: truth(arena, 40)}
    assert found_rows["random"].same_time is None
    longer = found(arena, [search("darts", 0, 1, 901.0), random])["darts"]
    assert longer.same_time is None, "random search was not given as many seconds"
    short = found(arena, [search("darts", 0, 1, 50.0), random])["darts"]
    assert short.same_time.by_seed == {0: truth(arena, 10)}, "the first counts even where it took longer"


def test_random_search_in_the_table_pays_the_tables_seconds(arena: Arena) -> None:
    row = found(arena, [search("darts", seed, 1, 1_000.0) for seed in (0, 1)])["darts"]
    table = Table.embedded()
    for seed in (0, 1):
        rng, spent, seen = Random(derive(seed, "table", "random")), 0.0, []
        while True:
            architecture = SPACE.sample(rng)
            spent += table.seconds(architecture)
            if spent > 1_000.0:
                break
            seen.append(architecture)
        best = max(seen, key=lambda a: table.accuracy(a, "cifar10", epochs=12))
        assert arena.judge.table is not None
        assert row.same_cost.by_seed[seed] == arena.judge.table(best)
    assert row.same_cost_count >= 2


def test_anytime_curves_come_from_the_recorded_logits(arena: Arena) -> None:
    rng = np.random.default_rng(0)
    keys = list(SPACE.domain.edges)
    tables = [{key: rng.normal(size=5).tolist() for key in keys} for _ in range(4)]
    curve = anytime(SPACE, arena.judge, search("darts", 0, 1) | {"logits": tables})
    names = [SPACE.domain.edges[keys[0]].candidates[i] for i in range(5)]
    for table, accuracy in zip(tables, curve, strict=True):
        strongest = {key: names[int(np.argmax(row))] for key, row in table.items()}  # every edge is kept
        assert arena.judge.table is not None
        assert accuracy == arena.judge.table(Architecture.of("nasbench201", strongest))
    assert anytime(SPACE, Judge(label="trained"), search("darts", 0, 1) | {"logits": tables}) == []


def test_failures_are_counted_beside_the_rest(arena: Arena) -> None:
    failed = {"cell": search("darts", 1, 1)["cell"], "status": "failed", "error": "the loss became nan"}
    row = found(arena, [search("darts", 0, 1), failed])["darts"]
    assert (row.failed, len(row.score.by_seed)) == (1, 1)


def test_the_ratio_of_steps_raises_the_rate_of_the_logits_alike() -> None:
    """What a comparison calls comparable travel: rate times steps is the paper's, as long as the cap is not reached."""
    data = oche.load("digits", oche.DataOptions(limit=400))
    space = SPACE.replace(supernet_stack=oche.Stack(cells=1, channels=2))
    result = oche.search(space, data=data, epochs=13, batch=8, validation=0, device="cpu", time_limit=2)
    paper = method("darts")
    planned = 13 * (200 // 8)
    rate = result.method.logit_optimizer.lr.at(0)
    assert math.isclose(rate * planned, paper.logit_optimizer.lr.at(0) * paper.steps)


def test_a_table_of_another_space_or_data_is_refused() -> None:
    with pytest.raises(InputError, match="--truth cifar10"):
        judge(SPACE, "digits", "", None)
    assert judge(oche.space("darts"), "digits", "", None) is None
