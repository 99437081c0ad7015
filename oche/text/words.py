"""From lines to words, and from words to numbers.

Every source goes the same way: lines are split into words, `END` closes each line, and the words are numbered in the
order in which they first occur in the training text, as in the public code of DARTS and AWD-LSTM. Words that are not
kept become `UNKNOWN`; which are kept is decided by the training text alone.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from oche.text.corpus import END, PARTS, UNKNOWN, Corpus

_END, _UNKNOWN = 0, 1
"""Their numbers until all words are known."""

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

MARKS = "".join(c for c in map(chr, range(0x300, 0x20000)) if unicodedata.category(c).startswith("M"))
"""Accents and vowel signs that follow their letter as characters of their own; `re` does not count them to words."""

WORD = re.compile(
    r"<unk>"
    rf"|\w[\w{MARKS}]*(?:['\u2019\u200c\u200d]\w[\w{MARKS}]*)*"  # straight or curly apostrophe, (non-)joiner
    rf"|(?P<run>(?P<one>[^\w\s][{MARKS}]*)(?P=one){{0,2}})(?P=one)*"
)
"""A word of plain text: `UNKNOWN` as it is written in texts that are prepared already; letters, digits and
underscores, with apostrophes inside (`don't`); or another character, alone or several times (`.`, `==`). More than
three of it (the line under a title) count as three, so that their number does not make another word."""

LEAST_OCCURRENCES = 2
"""Times that a word of plain text must occur in the training text to be kept. A word seen once is as good as unknown;
and as `UNKNOWN` these words show a model what it will meet in the other texts, where words are unknown too."""


@dataclass(frozen=True)
class Splitter:
    """How a text becomes words.

    Attributes:
        words: the words of a line, without `END`.
        blank: whether a line without words counts (as `END` alone).
        least: times a word must occur in the training text to be kept.
    """

    words: Callable[[str], Iterable[str]]
    blank: bool
    least: int


SPACED = Splitter(words=str.split, blank=True, least=1)
"""A text prepared as Penn Treebank is: words are what stands between spaces, each line counts, every word is kept."""

PLAIN = Splitter(
    words=lambda line: (match["run"] or match[0] for match in WORD.finditer(line)), blank=False, least=LEAST_OCCURRENCES
)
"""Any other text: `WORD`, without blank lines, since their `END` would be most of what there is to predict."""


def corpus(
    name: str,
    texts: tuple[str, str, str],
    splitter: Splitter,
    *,
    limit: int | None = None,
    vocabulary: int | None = None,
    notes: Sequence[str] = (),
) -> Corpus:
    """The corpus of a training, a validation and a test text.

    Args:
        name: for reports.
        texts: the three, in this order.
        splitter: how they become words.
        limit: keep this many words at the beginning of the training text; None: all.
        vocabulary: keep at most this many different words, `END` and `UNKNOWN` among them: the most frequent ones of
            the training text, of equally frequent ones those that come first; None: all that are frequent enough.
        notes: what a report should repeat.

    Raises:
        InputError: a text has no word, or all have only one.
    """
    numbers: defaultdict[str, int] = defaultdict(None, {END: _END, UNKNOWN: _UNKNOWN})
    numbers.default_factory = numbers.__len__  # a new word gets the next number
    whole, valid, test = (_numbered(text, splitter, numbers) for text in texts)
    train = whole[:limit]
    counts = np.bincount(train, minlength=len(numbers))
    kept = counts >= splitter.least
    if vocabulary is not None:
        counts[[_END, _UNKNOWN]] = len(train) + 1  # before all others
        kept[np.argsort(-counts, kind="stable")[vocabulary:]] = False
    kept[[_END, _UNKNOWN]] = True
    known = np.where(kept, np.arange(len(numbers)), _UNKNOWN)
    # Those of the training text in their order; then END and UNKNOWN, where only another text has them.
    used, first = np.unique(np.concatenate([known[part] for part in (train, valid, test)]), return_index=True)
    order = used[np.argsort(first)]
    final = np.zeros(len(numbers), dtype=np.int64)
    final[order] = np.arange(len(order))
    words = list(numbers)
    lost = [_share((part != _UNKNOWN) & (known[part] == _UNKNOWN)) for part in (train, valid, test)]
    numbered = [torch.from_numpy(final[known[part]]) for part in (train, valid, test)]
    return Corpus(
        name=name,
        train=numbered[0],
        valid=numbered[1],
        test=numbered[2],
        vocabulary=tuple(words[i] for i in order.tolist()),
        notes=(*notes, *_unknown_note(len(order), lost)),
    )


def _numbered(text: str, splitter: Splitter, numbers: defaultdict[str, int]) -> Numbers:
    """The words of a text by number; new words get new numbers."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()  # behind the last line break
    found = array("q")
    for line in lines:
        before = len(found)
        found.extend(map(numbers.__getitem__, splitter.words(line)))
        if splitter.blank or len(found) > before:
            found.append(_END)
    return np.frombuffer(found, dtype=np.int64) if found else np.zeros(0, dtype=np.int64)


def _share(holds: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    return float(holds.mean()) if len(holds) else 0.0


def _unknown_note(words: int, lost: Sequence[float]) -> tuple[str, ...]:
    """How much of each text is not in the vocabulary: a perplexity is comparable only where this is the same."""
    if not any(lost):
        return ()
    shares = ", ".join(f"{share:.1%} of the {which}" for share, which in zip(lost, PARTS, strict=True))
    return (f"the vocabulary has {words:,} words; what is not in it is read as {UNKNOWN}: {shares} words",)
