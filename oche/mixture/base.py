"""The interface of everything that turns logits into mixing weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from oche.moment import Moment
from oche.nn.mixture import Mixture


class Relaxation(Protocol):
    """Logits `A` to mixing weights `a`, key by key."""

    @property
    def scale(self) -> float:
        """How far apart logits must be for a decision: 1 for a softmax, its temperature with one.

        A search that is shorter than the paper's may raise the rate of its logits, but not so far that single steps
        decide.
        """
        ...

    def draw(self, logits: Mapping[str, Tensor], now: Moment) -> Mixture:
        """One differentiable draw from the current random state; the loop fixes that state within a step.

        The weight of a single logit is 1: such an edge has been decided.
        """
        ...

    def mean(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean mixing weights, without randomness: what probes and evaluations use."""
        ...

    def views(self, logits: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Further mixtures, by name, under which an evaluation of the supernet tells something; often none."""
        ...

    def log_strength(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logarithms of the mean weights in float64, by which selections compare candidates and edges."""
        ...
