"""The n-gram model against the formulas written with dictionaries."""

import math
from collections import Counter, defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from oche.data.options import DataOptions
from oche.errors import InputError
from oche.text.load import load_text
from oche.text.ngram import FALLBACK, NGram

PTB = Path(__file__).parents[3] / "shared" / "data" / "ptb"


class Naive:
    """Modified Kneser-Ney (Chen & Goodman 1999), word by word."""

    def __init__(self, words: list[int], vocabulary: int, order: int) -> None:
        self.vocabulary, self.order = vocabulary, order
        grams = {n: [tuple(words[i : i + n]) for i in range(len(words) - n + 1)] for n in range(1, order + 1)}
        self.counts: dict[int, Counter[tuple[int, ...]]] = {order: Counter(grams[order])}
        for n in range(1, order):
            before = defaultdict(set)
            for gram in grams[n + 1]:
                before[gram[1:]].add(gram[0])
            self.counts[n] = Counter({gram: len(others) for gram, others in before.items()})
        self.discounts = {n: self._discounts(counts) for n, counts in self.counts.items()}

    @staticmethod
    def _discounts(counts: Counter[tuple[int, ...]]) -> tuple[float, ...]:
        n = [0] + [sum(c == k for c in counts.values()) for k in (1, 2, 3, 4)]
        if not (n[1] and n[2] and n[3]):
            return FALLBACK
        y = n[1] / (n[1] + 2 * n[2])
        found = tuple(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
        return found if all(0 <= d <= k for k, d in enumerate(found, 1)) else FALLBACK

    def probability(self, word: int, history: tuple[int, ...]) -> float:
        history = history[len(history) - min(len(history), self.order - 1) :]
        n = len(history) + 1
        shorter = self.probability(word, history[1:]) if history else 1 / self.vocabulary
        following = {w: self.counts[n][(*history, w)] for w in range(self.vocabulary) if self.counts[n][(*history, w)]}
        if not following:
            return shorter
        total = sum(following.values())
        taken = {w: self.discounts[n][min(c, 3) - 1] for w, c in following.items()}
        kept = following[word] - taken[word] if word in following else 0.0
        return kept / total + sum(taken.values()) / total * shorter


def sample(words: int, vocabulary: int, seed: int = 0) -> list[int]:
    """A text with some structure: each word depends on the one before it."""
    draws = np.random.default_rng(seed)
    found = [0]
    for _ in range(words - 1):
        found.append(int(found[-1] * 2 + draws.geometric(0.5)) % vocabulary)
    return found


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize(("words", "vocabulary"), [(600, 7), (40, 5), (6, 3)])
def test_it_is_the_formula(order: int, words: int, vocabulary: int) -> None:
    train, test = sample(words, vocabulary), sample(60, vocabulary, 1)
    model, naive = NGram(torch.tensor(train), vocabulary, order), Naive(train, vocabulary, order)
    expected = [naive.probability(test[i], tuple(test[:i])) for i in range(1, len(test))]
    np.testing.assert_allclose(model.probabilities(torch.tensor(test)), expected, rtol=1e-12)
    perplexity = math.exp(-sum(map(math.log, expected)) / len(expected))
    assert model.perplexity(torch.tensor(test)) == pytest.approx(perplexity, rel=1e-12)


def test_estimated_discounts() -> None:
    """Of all orders; in the shorter texts some are the fallback."""
    train, test = sample(3000, 300), sample(40, 300, 1)
    naive = Naive(train, 300, 2)
    assert FALLBACK not in naive.discounts.values()
    expected = [naive.probability(test[i], tuple(test[:i])) for i in range(1, len(test))]
    np.testing.assert_allclose(NGram(torch.tensor(train), 300, 2).probabilities(torch.tensor(test)), expected)


def test_probabilities_after_any_history_sum_to_1() -> None:
    model = NGram(torch.tensor(sample(200, 4)), 5, 4)  # word 4 never occurs
    for length in range(5):
        for history in product(range(5), repeat=length):
            after = model.distribution(history)
            assert after.sum() == pytest.approx(1, abs=1e-12)
            assert after.min() > 0


def test_a_distribution_has_the_probabilities_of_a_text() -> None:
    words = sample(50, 7, 2)
    model = NGram(torch.tensor(sample(600, 7)), 7, 3)
    found = model.probabilities(torch.tensor(words))
    expected = [model.distribution(words[:i])[words[i]] for i in range(1, 50)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_longer_histories_help_on_a_real_text() -> None:
    corpus = load_text("python-help")
    found = [NGram(corpus.train, len(corpus.vocabulary), order).perplexity(corpus.valid) for order in (1, 2, 3, 5)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0] / 3


@pytest.mark.skipif(not PTB.exists(), reason="needs ../shared/data/ptb")
def test_on_penn_treebank_it_is_the_published_model() -> None:
    """141.2 on the test text: Mikolov et al. (2011), Empirical Evaluation and Combination of Advanced LM Techniques."""
    corpus = load_text("ptb", DataOptions(root=str(PTB)))
    assert NGram(corpus.train, 10_000).perplexity(corpus.test) == pytest.approx(141.2, abs=1)


@pytest.mark.parametrize("order", [0, 4])
def test_orders_that_the_text_has_no_words_for(order: int) -> None:
    with pytest.raises(InputError, match=f"between 1 and 3 words, as many as the text, but got order={order}; give 3"):
        NGram(torch.tensor([0, 1, 0]), 2, order)
