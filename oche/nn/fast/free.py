"""The candidates for which there is nothing to compute: the identity and `none`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from oche.nn.fast.normalization import Norms
from oche.nn.fast.part import Member, Part, Pulled, Saved, Wanted, Weights
from oche.nn.fast.source import Arriving, Source, Sums


class Skip(Part):
    """The identity: `a x`, of which nothing is kept.

    Args:
        form: nothing; all identities are alike.
        members: the candidates.
    """

    def __init__(self, form: object, members: Sequence[Member]) -> None:
        super().__init__(members)

    @property
    def norms(self) -> Sequence[Norms]:
        """None."""
        return ()

    def run(self, source: Source, mixing: Sequence[Tensor], weights: Weights, sums: Sums) -> Saved:
        """See `Part`."""
        for member, a in zip(self.members, mixing, strict=True):
            sums.add(member.edge, a, source.x)
        return ()

    def pull(
        self,
        source: Source,
        mixing: Sequence[Tensor],
        weights: Weights,
        arriving: Arriving,
        saved: Saved,
        wanted: Wanted,
    ) -> Pulled:
        """See `Part`."""
        gradients = [arriving.of[member.edge] for member in self.members]
        if wanted.source:
            for a, g in zip(mixing, gradients, strict=True):
                source.add_direct(a * g)
        return Pulled([torch.sum(g * source.x) for g in gradients])


class Nothing(Part):
    """`none`: no output, and no gradient either.

    Args:
        stride: decides the shape where an edge has nothing else.
        members: the candidates.
    """

    def __init__(self, stride: int, members: Sequence[Member]) -> None:
        super().__init__(members)
        self._stride = stride

    @property
    def norms(self) -> Sequence[Norms]:
        """None."""
        return ()

    def run(self, source: Source, mixing: Sequence[Tensor], weights: Weights, sums: Sums) -> Saved:
        """See `Part`; runs after all others."""
        for member in self.members:
            sums.add_zeros(member.edge, source.x[..., :: self._stride, :: self._stride])
        return ()

    def pull(
        self,
        source: Source,
        mixing: Sequence[Tensor],
        weights: Weights,
        arriving: Arriving,
        saved: Saved,
        wanted: Wanted,
    ) -> Pulled:
        """See `Part`."""
        return Pulled([a.new_zeros(()) for a in mixing])
