"""What an accuracy is worth among those of other architectures of the same space.

Collapse is defined by the truth and not by a probe: an architecture has collapsed if its accuracy lies below the
lower quartile of random architectures of the same space.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Quartiles(NamedTuple):
    """Test accuracies, in percent, below which lie a quarter, a half and three quarters of the architectures."""

    lower: float
    median: float
    upper: float


@dataclass(frozen=True, eq=False)
class Ranking:
    """Test accuracies of all architectures of a space, or of random ones.

    Attributes:
        accuracies: in percent, in any order.
    """

    accuracies: NDArray[np.float64]

    @cached_property
    def quartiles(self) -> Quartiles:
        """The quartiles, linearly interpolated."""
        return Quartiles(*np.quantile(self.accuracies, (0.25, 0.5, 0.75)).tolist())

    def rank(self, accuracy: float) -> int:
        """1 for the best: one more than the number of strictly better ones."""
        return 1 + int(np.count_nonzero(self.accuracies > accuracy))

    def collapsed(self, accuracy: float) -> bool:
        """Whether an accuracy lies below the lower quartile."""
        return accuracy < self.quartiles.lower
