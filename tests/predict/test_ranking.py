"""Comparable pairs by definition, losses in closed form, and rankings that are learned."""

import math
import time

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from oche.bench.encoding import index
from oche.bench.table import Table
from oche.bench.truth import Truth
from oche.errors import InputError
from oche.predict.graph import graph_form
from oche.predict.quality import kendall_tau, precision_at, spearman
from oche.predict.ranking import Hinge, Logistic, RankingSettings, comparisons, label_rows, train_ranker
from oche.spaces.registry import space

NAN = math.nan
BENCH201 = space("nasbench201")


def test_pairs_are_compared_at_the_highest_level_of_both() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 4, rng.integers(0, 4)).astype(float).tolist() for _ in range(40)]
    order = comparisons(label_rows(rows, 3))
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            common = min(len(a), len(b))
            wanted = (a[common - 1] > b[common - 1]) - (a[common - 1] < b[common - 1]) if common else 0
            assert order[i, j] == wanted, (a, b)
    assert {-1, 0, 1} == set(order.ravel().tolist())


def test_a_later_level_overrules_an_earlier_one() -> None:
    labels = label_rows([[0.9, 0.5], [0.1, 0.6], [0.5]], 2)
    assert comparisons(labels).tolist() == [[0, -1, 1], [1, 0, -1], [-1, 1, 0]]


def test_a_level_that_only_some_have_compares_only_those() -> None:
    """Level 0, a proxy, may be missing for one that was trained."""
    labels = np.array([[0.9, NAN], [NAN, 0.3], [0.1, 0.2]])
    assert comparisons(labels).tolist() == [[0, 0, 1], [0, 0, 1], [-1, -1, 0]]


def test_losses() -> None:
    lead = torch.tensor([-2.0, 0.0, 0.05, 3.0], dtype=torch.double)
    torch.testing.assert_close(Hinge(0.1)(lead), torch.tensor([2.1, 0.1, 0.05, 0.0]).double())
    wanted = [math.log(1 + math.exp(-x)) for x in lead.tolist()]
    torch.testing.assert_close(Logistic()(lead), torch.tensor(wanted).double())


@pytest.mark.parametrize("loss", [Hinge(), Logistic()])
def test_a_rule_is_learned_from_pairs(loss: Hinge | Logistic) -> None:
    """The number of 3x3 convolutions, known of 60 architectures at two levels; others are ranked by it."""
    rng = np.random.default_rng(0)
    everything = list(BENCH201.enumerate())
    drawn = [everything[i] for i in rng.permutation(len(everything))[:260]]
    truth = np.array([sum(c == "nor_conv_3x3" for _, c in a.items) for a in drawn], float)
    labels = label_rows([[t - 10, t][: 1 + i % 2] for i, t in enumerate(truth[:60])], 2)
    graphs = graph_form(BENCH201).encode(drawn)
    settings = RankingSettings(members=2, steps=100, loss=loss)
    ranker = train_ranker(graph_form(BENCH201), graphs[:60], comparisons(labels), seed=0, settings=settings)
    assert spearman(ranker.scores(graphs[60:]).mean(0).numpy(), truth[60:]) > 0.8


def test_a_fact_that_tells_everything_is_used_in_any_units() -> None:
    rng = np.random.default_rng(1)
    everything = list(BENCH201.enumerate())
    graphs = graph_form(BENCH201).encode([everything[i] for i in rng.permutation(len(everything))[:300]])
    truth = rng.normal(size=300)
    order = comparisons(truth[:100, None])

    def found(facts: NDArray[np.float64]) -> torch.Tensor:
        given = torch.from_numpy(facts)[:, None]
        settings = RankingSettings(members=2, steps=100)
        ranker = train_ranker(graph_form(BENCH201), graphs[:100], order, seed=0, facts=given[:100], settings=settings)
        return ranker.scores(graphs, given).mean(0)

    scores = found(truth)
    assert spearman(scores.numpy()[100:], truth[100:]) > 0.95
    torch.testing.assert_close(found(1e6 * truth + 3e7), scores, rtol=1e-3, atol=1e-3)


def test_the_same_seed_gives_the_same_scores_and_another_gives_others() -> None:
    graphs = graph_form(BENCH201).encode(list(BENCH201.enumerate())[:40])
    order = comparisons(np.random.default_rng(0).normal(size=(40, 1)))
    settings = RankingSettings(members=2, steps=5, batch=16)
    found = [
        train_ranker(graph_form(BENCH201), graphs, order, seed=seed, settings=settings).scores(graphs)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0][0], found[0][1]), "members differ"
    torch.testing.assert_close(found[0].mean(dim=1), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[0].var(dim=1, correction=0), torch.ones(2))


def test_it_beats_the_obvious_on_nasbench201() -> None:
    """300 validation labels against parameter counts; with 12-epoch accuracies against those alone."""
    everything = list(BENCH201.enumerate())
    at = np.array([index(a) for a in everything])
    table, truth = Table.embedded(), Truth.embedded()
    labels = table.accuracies("cifar10")[at]
    early = table.accuracies("cifar10", epochs=12)[at]
    test = np.array([truth.accuracy(int(i), "cifar10") for i in at])
    parameters = np.array([table.parameters(int(i)) for i in at], float)
    some = np.random.default_rng(0).permutation(len(at))[:300]
    rest = np.setdiff1d(np.arange(len(at)), some)
    form = graph_form(BENCH201)
    graphs = form.encode(everything)
    order = comparisons(labels[some, None])
    ranker = train_ranker(form, graphs[some], order, seed=0)
    began = time.monotonic()
    scores = ranker.scores(form.encode(everything)).mean(0).numpy()
    assert time.monotonic() - began < 2
    assert spearman(scores[rest], test[rest]) > spearman(parameters[rest], test[rest]) + 0.1
    assert kendall_tau(scores[rest], test[rest]) > kendall_tau(parameters[rest], test[rest])
    assert precision_at(500, scores, test) > precision_at(500, parameters, test)
    facts = torch.from_numpy(early)[:, None]
    ranker = train_ranker(form, graphs[some], order, seed=0, facts=facts[some])
    scores = ranker.scores(graphs, facts).mean(0).numpy()
    assert spearman(scores[rest], test[rest]) > spearman(early[rest], test[rest]) + 0.1


def test_nothing_to_compare_is_refused() -> None:
    graphs = graph_form(BENCH201).encode(list(BENCH201.enumerate())[:3])
    with pytest.raises(InputError, match=r"no two of the 3 architectures"):
        train_ranker(graph_form(BENCH201), graphs, comparisons(np.ones((3, 1))), seed=0)
    with pytest.raises(InputError, match=r"members >= 1, but got members=0"):
        RankingSettings(members=0)
    with pytest.raises(InputError, match=r"margin > 0"):
        Hinge(0.0)


def test_quality() -> None:
    scores, truth = np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 3.0, 4.0, 2.0])
    right = sum((scores[i] - scores[j]) * (truth[i] - truth[j]) > 0 for i in range(4) for j in range(i))
    assert kendall_tau(scores, truth) == pytest.approx((right - (6 - right)) / 6)
    ranks = np.array([1, 3, 4, 2])
    assert spearman(scores, truth) == pytest.approx(1 - 6 * sum((np.array([4, 3, 2, 1]) - ranks) ** 2) / (4 * 15))
    assert precision_at(2, scores, truth) == 0.5
    assert precision_at(4, scores, truth) == 1
    with pytest.raises(InputError, match="k=5 of 4"):
        precision_at(5, scores, truth)
    with pytest.raises(InputError, match="two different values"):
        spearman(np.ones(4), truth)
