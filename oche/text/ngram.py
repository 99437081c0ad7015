"""An n-gram model: interpolated modified Kneser-Ney (Chen & Goodman, Computer Speech & Language 13, 1999, Sec. 3).

The yardstick below which a trained language model is none. With c(h w) how often the word w follows the history h of
n - 1 words, and h' the history without its first word,

    p(w | h) = (c(h w) - D(c(h w))) / c(h .) + gamma(h) p(w | h')                                             (1)
    D(c) = 0, D1, D2, D3+ for c = 0, 1, 2, 3 or more                                                          (2)
    gamma(h) = (D1 N1(h .) + D2 N2(h .) + D3+ N3+(h .)) / c(h .)                                              (3)
    Y = n1 / (n1 + 2 n2), D1 = 1 - 2 Y n2 / n1, D2 = 2 - 3 Y n3 / n2, D3+ = 3 - 4 Y n4 / n3                    (4)

where N1(h .) is the number of words that follow h exactly once, and n1 the number of n-grams seen exactly once. At all
orders but the highest, c is the number of different words before the n-gram. A history that never occurred gives the
word to the shorter one; below one word, each has 1 / V. Discounts are of each order.

The text is a stream, as it is to the networks: histories reach over ends of lines, and the first word is not
predicted. N-grams are numbered by sorting, so that all is done with whole arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from oche.errors import InputError

ORDER = 5
"""Words of the longest n-gram, of which the last is predicted."""

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where the text is too small to estimate one: those of KenLM (its option --discount_fallback)."""

Numbers: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_ABSENT = -1
"""The number of an n-gram that did not occur."""


@dataclass(frozen=True)
class _Table:
    """All n-grams of one length that occurred.

    Attributes:
        keys: sorted; the number of the first n - 1 words in the table before, times V, plus the last word.
        discounted: of each n-gram, its count less its discount.
        total: of each history, c(h .).
        left: of each history, what the discounts took: gamma(h) c(h .).
    """

    keys: Numbers
    discounted: Numbers
    total: Numbers
    left: Numbers

    def find(self, histories: Numbers, words: Numbers, vocabulary: int) -> Numbers:
        """The numbers of n-grams; `_ABSENT` for those that did not occur, and where history or word is `_ABSENT`."""
        wanted = histories * vocabulary + words
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        found = (self.keys[place] == wanted) & (histories != _ABSENT) & (words != _ABSENT)
        return np.where(found, place, _ABSENT)


class NGram:
    """The model of a training text.

    Args:
        tokens: N words, int64.
        vocabulary: how many different words there are: V.
        order: words of the longest n-gram.

    Raises:
        InputError: order < 1, or the text is shorter.
    """

    def __init__(self, tokens: Tensor, vocabulary: int, order: int = ORDER) -> None:
        if not 1 <= order <= len(tokens):
            raise InputError(
                f"an n-gram has between 1 and {len(tokens)} words, as many as the text, but got order={order}; "
                f"give {min(ORDER, len(tokens))} or a longer text"
            )
        self._vocabulary = vocabulary
        words = tokens.cpu().numpy()
        kinds, begins, firsts = [], [], []  # of each length: the keys; which begins at each place; where each is first
        number = np.zeros(len(words), dtype=np.int64)
        for n in range(1, order + 1):
            keys = number[: len(words) - n + 1] * vocabulary + words[n - 1 :]
            kind, first, number = np.unique(keys, return_index=True, return_inverse=True)
            kinds.append(kind)
            begins.append(number)
            firsts.append(first)
        self._tables = []
        for n in range(order):
            if n == order - 1:
                counts = np.bincount(begins[n])
            else:  # each different n-gram with one more word in front ends with one of these
                counts = np.bincount(begins[n][firsts[n + 1] + 1], minlength=len(kinds[n]))
            self._tables.append(_table(kinds[n], counts, vocabulary, len(kinds[n - 1]) if n else 1))

    def probabilities(self, tokens: Tensor) -> Numbers:
        """Of each word of a text but the first, given those before it: N - 1 numbers, float64."""
        padded = np.concatenate([np.full(len(self._tables) - 1, _ABSENT), tokens.cpu().numpy()])
        ngrams = np.lib.stride_tricks.sliding_window_view(padded, len(self._tables))[1:]
        return self._interpolated(ngrams[:, :-1], ngrams[:, -1])

    def distribution(self, history: Sequence[int]) -> Numbers:
        """Of each word of the vocabulary after these: V numbers, float64."""
        longest = len(self._tables) - 1
        words = [_ABSENT] * longest + list(history)
        last = np.array(words[len(words) - longest :], dtype=np.int64)
        return self._interpolated(
            np.broadcast_to(last, (self._vocabulary, longest)), np.arange(self._vocabulary, dtype=np.int64)
        )

    def perplexity(self, tokens: Tensor) -> float:
        """Per word of a text but the first."""
        return math.exp(-float(np.log(self.probabilities(tokens)).mean()))

    def _interpolated(self, histories: Numbers, words: Numbers) -> Numbers:
        """p(w | h) of M words; `histories`: M x (order - 1), the nearest word last, `_ABSENT` where there is none."""
        probability = np.full(len(words), 1 / self._vocabulary)
        for n, table in enumerate(self._tables):
            history = np.zeros(len(words), dtype=np.int64)
            for shorter, word in zip(self._tables, histories[:, histories.shape[1] - n :].T, strict=False):
                history = shorter.find(history, word, self._vocabulary)
            ngram = table.find(history, words, self._vocabulary)
            total = np.where(history == _ABSENT, 0, table.total[history])
            kept = np.where(ngram == _ABSENT, 0, table.discounted[ngram])
            there = total > 0
            mixed = (kept + table.left[history] * probability) / np.where(there, total, 1)  # eq. 1
            probability = np.where(there, mixed, probability)
        return probability


def _table(keys: Numbers, counts: Numbers, vocabulary: int, histories: int) -> _Table:
    discounts = np.array((0, *_discounts(counts)))[np.minimum(counts, 3)]  # eq. 2
    history = keys // vocabulary
    return _Table(
        keys=keys,
        discounted=counts - discounts,
        total=np.bincount(history, weights=counts, minlength=histories),
        left=np.bincount(history, weights=discounts, minlength=histories),  # eq. 3: each n-gram gave its discount
    )


def _discounts(counts: Numbers) -> tuple[float, ...]:
    """D1, D2 and D3+ of one order; `FALLBACK` where an estimate does not exist or is not in 0..c."""
    n1, n2, n3, n4 = (int((counts == c).sum()) for c in (1, 2, 3, 4))
    if n1 == 0 or n2 == 0 or n3 == 0:
        return FALLBACK
    y = n1 / (n1 + 2 * n2)  # eq. 4
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 <= d <= c for c, d in enumerate(found, 1)) else FALLBACK
