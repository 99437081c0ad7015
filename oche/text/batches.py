"""Windows of text: lanes that are read side by side, cut into stretches of some words.

N words make N - 1 pairs of a word and the one behind it, which is to be predicted. The pairs are cut into `lanes`
contiguous lanes of `length = (N - 1) // lanes` pairs, lane k from pair k * length on; the (N - 1) % lanes last pairs
are left out (`TextBatches.left_out`), and with one lane there are none. So no pair is used twice, and the perplexity
on one lane is that of every word but the first. The public code (DARTS, AWD-LSTM) cuts words into lanes, not pairs:
it loses the pair between two lanes too.

**Jitter.** The public code draws window after window, `base = bptt` with probability 0.95 and else `bptt / 2`, and
`max(5, int(normal(base, 5)))` but at most `bptt + 20` words, until the text is used up. So the number of windows
differs from epoch to epoch; schedules, progress and resuming need one that is known. Here it is the expected one,
`length / (0.975 bptt)` rounded; so many windows are drawn in this way and then scaled to fill the lane exactly
(`jittered`), which changes each by a few percent where there are many. A function of seed and epoch alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from oche.data.batches import Batch
from oche.errors import InputError
from oche.randomness import derive, generator
from oche.text.window import Stream, Window

WHOLE = 0.95
"""Share of the windows that are drawn around `bptt` words; the others around half of it."""

SPREAD = 5.0
"""Standard deviation of their lengths, in words."""

SHORTEST = 5
"""Words below which none is drawn."""

LONGER = 20
"""Words by which one is drawn longer than `bptt` at most, which limits the memory."""


class TextBatches:
    """The windows of one text on one device; a `Batches` of `Window`s and `B x T` words that come next.

    Args:
        tokens: N words, int64.
        lanes: how many are read side by side: the batch size.
        bptt: words of a window, over which gradients flow back.
        stream: whose text it is.
        jitter: whether the lengths of windows are random; otherwise all have `bptt` words, and the last one what is
            left.
        seed: decides the lengths.
        device: where the words go, all of them at once.

    Attributes:
        length: words of a lane.
        left_out: words at the end that nobody has to predict.

    Raises:
        InputError: a window is longer than the text or than a lane.
    """

    def __init__(
        self, tokens: Tensor, *, lanes: int, bptt: int, stream: Stream, jitter: bool, seed: int, device: torch.device
    ) -> None:
        self._tokens = tokens.to(device)
        self._bptt, self._stream, self._jitter, self._seed = bptt, stream, jitter, seed
        self._cut(lanes)

    def _cut(self, lanes: int) -> None:
        words, bptt = len(self._tokens), self._bptt
        if bptt < 1:
            raise InputError(f"sequences need at least 1 word, but got bptt={bptt}; 35 is usual")
        if words - 1 < bptt:
            raise InputError(
                f"sequences must not be longer than the text, but {bptt:,} words and the next one are more than the "
                f"{words:,} words of this text; give shorter sequences (--search.bptt, --train.bptt) or a longer text"
            )
        room = most_lanes(self._tokens, bptt)
        if not 1 <= lanes <= room:
            raise InputError(
                f"{words:,} words have room for 1 to {room:,} lanes that are read side by side in sequences of "
                f"{bptt:,} words, but got batch={lanes:,}; give --search.batch or --train.batch {min(room, 64)}, "
                "shorter sequences (--search.bptt, --train.bptt), or a longer text"
            )
        self.length, self.left_out = divmod(words - 1, lanes)
        used = lanes * self.length
        self._inputs = self._tokens[:used].view(lanes, self.length)
        self._targets = self._tokens[1 : used + 1].view(lanes, self.length)  # the same words, one further

    def __len__(self) -> int:
        if self._jitter:
            return min(self.length, max(1, round(self.length / (self._bptt * (WHOLE + (1 - WHOLE) / 2)))))
        return -(-self.length // self._bptt)

    def with_batch(self, batch: int) -> TextBatches:
        """The same text in another number of lanes."""
        other = copy.copy(self)
        other._cut(batch)
        return other

    def lengths(self, epoch: int) -> list[int]:
        """Words of each window in this epoch; they add up to `length`."""
        if self._jitter:
            return jittered(self.length, len(self), self._bptt, derive(self._seed, "lengths", epoch))
        whole, rest = divmod(self.length, self._bptt)
        return [self._bptt] * whole + [rest] * (rest > 0)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `Batches`."""
        lengths = self.lengths(epoch)
        begin = sum(lengths[:start])
        for place, length in enumerate(lengths[start:], start):
            part = slice(begin, begin + length)
            window = Window(self._inputs[:, part].contiguous(), place, self._stream, length / self._bptt)
            yield window, self._targets[:, part].contiguous()
            begin += length


def most_lanes(tokens: Tensor, bptt: int) -> int:
    """How many lanes this text has room for, each with a window of `bptt` words; at least 1."""
    return max(1, (len(tokens) - 1) // bptt)


def jittered(words: int, windows: int, bptt: int, seed: int) -> list[int]:
    """Random lengths, each at least 1, that add up to `words`: see the head of this file.

    Each is 1 and, of the other words, the share that was drawn for it; the ends of windows are rounded, not their
    lengths, so that nothing is left over.
    """
    draws = generator(seed)
    base = torch.where(torch.rand(windows, generator=draws) < WHOLE, float(bptt), bptt / 2)
    drawn = torch.normal(base, SPREAD, generator=draws).trunc().clamp(SHORTEST, bptt + LONGER).double()
    ends = (drawn.cumsum(0) / drawn.sum() * (words - windows)).round().long()
    return (ends.diff(prepend=ends.new_zeros(1)) + 1).tolist()
