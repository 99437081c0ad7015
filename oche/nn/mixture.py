"""The mixture: the mixing weights of every choice, drawn once a step and passed along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from torch import Tensor

Mixture: TypeAlias = Mapping[str, Tensor]
"""Mixing weights by key, one per candidate."""

Live: TypeAlias = Mapping[str, tuple[int, ...]]
"""By key, the places of the candidates that run, in their order; none: the edge does not. Every candidate of a key that
is absent runs."""


class SparseMixture(dict[str, Tensor]):
    """A mixture of which the host knows where it is zero, so that engines leave those candidates out.

    What is left out has a gradient of zero, and its running statistics do not move. Whoever does not look at `live`
    computes the same output with more work.

    Attributes:
        live: where the weights may differ from zero; at every node of a cell at least one edge runs.
    """

    def __init__(self, rows: Mixture, live: Live) -> None:
        super().__init__(rows)
        self.live = live


def live_in(mixture: Mixture) -> Live:
    """Which candidates run; empty: all."""
    return mixture.live if isinstance(mixture, SparseMixture) else {}


def each(mixture: Mixture, change: Callable[[Tensor], Tensor]) -> Mixture:
    """The mixture with every row changed, where the same candidates run."""
    rows = {key: change(a) for key, a in mixture.items()}
    return SparseMixture(rows, mixture.live) if isinstance(mixture, SparseMixture) else rows
