"""The two halves of a search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from oche.data.batches import Batch, Batches


@dataclass(frozen=True, kw_only=True)
class SearchData:
    """The two halves of a search.

    Attributes:
        train: batches for the weights.
        valid: batches for the logits.
        evaluation: batches of the validation half as it is evaluated, without augmentation.
        batch: images per step; None: a user's own loaders decide.
        at_batch: the same halves in batches of another size, at most that of a half; None: a user's own loaders decide.
    """

    train: Batches
    valid: Batches
    evaluation: Batches
    batch: int | None = None
    at_batch: Callable[[int], SearchData] | None = None

    def larger(self, more: int) -> SearchData:
        """With so many images more in each batch, where the data allow it."""
        if not more or self.at_batch is None or self.batch is None:
            return self
        return self.at_batch(self.batch + more)

    def pairs(self, epoch: int, start: int = 0) -> Iterator[tuple[Batch, Batch]]:
        """A training and a validation batch per step; a shorter validation half begins anew."""
        if start == len(self.train):
            return iter(())
        rounds = -(-len(self.train) // len(self.valid))
        first, skipped = divmod(start, len(self.valid))
        valid = (
            batch
            for r in range(first, rounds)
            for batch in self.valid.epoch(epoch * rounds + r, skipped if r == first else 0)
        )
        return zip(self.train.epoch(epoch, start), valid, strict=False)
