"""The interface of everything that turns logits into mixing weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor


class Relaxation(Protocol):
    """Logits `A` to mixing weights `a`, key by key."""

    def draw(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One differentiable draw from the current random state; the loop fixes that state within a step."""
        ...

    def mean(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean mixing weights, without randomness: what probes and evaluations use."""
        ...

    def log_strength(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logarithms of the mean weights in float64, by which selections compare candidates and edges."""
        ...
