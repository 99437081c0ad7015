"""What an accuracy is worth among others, and whether seeds agree, against direct computations."""

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata

from oche.bench.commands import agreement
from oche.bench.ranking import Ranking


def test_ranks_are_those_of_scipy() -> None:
    accuracies = np.random.default_rng(0).integers(0, 20, 60).astype(np.float64)
    ranking = Ranking(accuracies)
    expected = rankdata(-accuracies, method="min")
    assert [ranking.rank(a) for a in accuracies] == expected.tolist()
    assert ranking.rank(accuracies.max() + 1) == 1
    assert ranking.rank(accuracies.min() - 1) == 61


def test_collapsed_is_below_a_quarter_of_all() -> None:
    accuracies = np.random.default_rng(1).permutation(101).astype(np.float64)
    ranking = Ranking(accuracies)
    assert ranking.quartiles == (25, 50, 75)
    assert [a for a in range(101) if ranking.collapsed(a)] == list(range(25))


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_agreement_leaves_each_seed_out_of_its_own_reference(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    accuracies = rng.normal(size=(40, 1)) + rng.normal(size=(40, seeds)) * np.linspace(0.1, 2, seeds)
    accuracies = accuracies.round(1)  # with ties
    expected = [
        kendalltau(accuracies[:, k], np.delete(accuracies, k, axis=1).mean(axis=1)).statistic for k in range(seeds)
    ]
    assert agreement(accuracies) == pytest.approx(expected, abs=1e-12)


def test_agreement_at_its_ends() -> None:
    same = np.arange(10.0)[:, None].repeat(3, axis=1)
    assert agreement(same) == pytest.approx([1, 1, 1])
    assert agreement(np.stack([np.arange(10.0), -np.arange(10.0)], axis=1)) == pytest.approx([-1, -1])
    assert agreement(same[:, :1]) == []
