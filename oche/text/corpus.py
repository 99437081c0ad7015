"""A corpus: three texts of numbered words, and their vocabulary."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from oche.errors import InputError
from oche.medium import TEXT, Medium
from oche.task import TextTask

END = "<eos>"
"""The word at the end of each line."""

UNKNOWN = "<unk>"
"""The word that stands for all that are not in the vocabulary."""


PARTS = ("training", "validation", "test")
"""What the three texts are called."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text to train on, one to choose by and one to test with.

    Attributes:
        name: for reports.
        train: N words by number, int64, on the CPU: what trains the weights.
        valid: the same of the text that moves the logits of a search and chooses the best epoch of a training.
        test: the same of the text that scores the result, and nothing else.
        vocabulary: the words in the order of their numbers.
        notes: sentences a report should repeat, such as how a missing test part was made.

    Raises:
        InputError: a part is empty, of another type, or has a number without a word; fewer than two words; a word
            twice.
    """

    name: str
    train: Tensor
    valid: Tensor
    test: Tensor
    vocabulary: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        words = len(self.vocabulary)
        if words < 2:
            raise InputError(f"a text needs at least 2 different words, but got {words}; give a longer one")
        if len(set(self.vocabulary)) < words:
            twice = next(word for word in self.vocabulary if self.vocabulary.count(word) > 1)
            raise InputError(f"each word has one number, but {twice!r} is in the vocabulary twice; leave one out")
        for which, tokens in self.parts.items():
            if tokens.ndim != 1 or tokens.dtype != torch.int64:
                raise InputError(
                    f"a text is a row of int64 numbers of words, but the {which} text is {tuple(tokens.shape)} of "
                    f"{tokens.dtype}; convert it"
                )
            if len(tokens) == 0:
                raise InputError(f"the {which} text is empty; give one with words")
            low, high = int(tokens.min()), int(tokens.max())
            if low < 0 or high >= words:
                raise InputError(
                    f"{words} words have the numbers 0..{words - 1}, but those of the {which} text run from {low} to "
                    f"{high}; number the words from 0"
                )

    @property
    def parts(self) -> dict[str, Tensor]:
        """The three texts by what a person calls them."""
        return dict(zip(PARTS, (self.train, self.valid, self.test), strict=True))

    @property
    def medium(self) -> Medium:
        """Text."""
        return TEXT

    @cached_property
    def task(self) -> TextTask:
        """What a network for this text has to predict."""
        return TextTask(vocabulary=len(self.vocabulary))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal: the same exactly if the vocabulary and the three texts are the same."""
        digest = hashlib.sha256(repr(self.vocabulary).encode())
        for tokens in self.parts.values():
            digest.update(str(len(tokens)).encode())
            digest.update(tokens.numpy().tobytes())
        return digest.hexdigest()

    def decode(self, tokens: Tensor) -> str:
        """The words with these numbers, separated by spaces; `END` is a line break."""
        return spaced(self.vocabulary[number] for number in tokens.tolist())


def spaced(words: Iterable[str]) -> str:
    """Words with spaces between them; `END` is a line break."""
    return re.sub(" ?\n ?", "\n", " ".join("\n" if word == END else word for word in words))
