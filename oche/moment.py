"""Where a search stands: what everything that changes over a search depends on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A step of a search.

    Attributes:
        epoch: from 0.
        epochs: planned.
    """

    epoch: int
    epochs: int

    @property
    def fraction(self) -> float:
        """The finished share of the epochs."""
        return self.epoch / self.epochs
