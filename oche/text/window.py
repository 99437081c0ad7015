"""A window of text: what a language model reads in one step of truncated back-propagation through time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from torch import Tensor


class Stream(Enum):
    """Who reads: each stream of windows carries a hidden state of its own from one window to the next."""

    WEIGHTS = "weights"
    """The half, or the training part, that trains the weights."""

    LOGITS = "logits"
    """The half that trains the logits."""

    EVALUATION = "evaluation"
    """A text that is read through once to be scored."""


@dataclass(frozen=True)
class Window:
    """The same stretch of several lanes of text that are read side by side.

    Attributes:
        tokens: `B x T` words by number, int64: B lanes, T words of each.
        place: its number in the stream's epoch; window 0 begins in silence (a hidden state of zeros), each other one
            with the state in which the one before it ended.
        stream: whose text it is.
        share: its length T relative to the usual one, with which its step of the weights is scaled.
    """

    tokens: Tensor
    place: int
    stream: Stream
    share: float = 1.0

    def __len__(self) -> int:
        """The number of lanes."""
        return len(self.tokens)

    def __getitem__(self, lanes: slice) -> Window:
        """The same of some lanes."""
        return replace(self, tokens=self.tokens[lanes])
