"""ReLU, an ordinary convolution and BN, as on the edges of NAS-Bench-201.

All members have the same kernel and read the same state, so they are one convolution with the members' output
channels side by side, whose backward pass adds their gradients of the state by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.nn.fast.depthwise import Geometry, convolution_gradients
from oche.nn.fast.normalization import Norms, Statistics, is_plain
from oche.nn.fast.part import Member, Part, Pulled, Saved, Wanted, Weights, joined, normalized_pull
from oche.nn.fast.source import Arriving, Source, Sums


class Convolution(Part):
    """`(ReLU, convolution, BN)` on every edge of a fan.

    Args:
        geometry: of the convolution.
        members: the candidates.
    """

    def __init__(self, geometry: Geometry, members: Sequence[Member]) -> None:
        super().__init__(members)
        self._geometry = geometry
        self._norms = norms_of(members)

    @property
    def norms(self) -> Sequence[Norms]:
        """One."""
        return (self._norms,)

    def run(self, source: Source, mixing: Sequence[Tensor], weights: Weights, sums: Sums) -> Saved:
        """See `Part`. Keeps the convolution's output, mean and rate."""
        y = convolve(source.positive, torch.cat([w for (w,) in weights]), self._geometry)
        z, statistics = self._norms.normalize(y)
        for member, a, block in zip(self.members, mixing, z.chunk(len(self.members), 1), strict=True):
            sums.add(member.edge, a, block)
        return (y, *statistics)

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
        y, k = saved[0], len(self.members)
        by_batch = self._norms.by_batch
        of_mixing, pieces = normalized_pull(self, y, Statistics(*saved[1:]), mixing, arriving, by_batch)
        if not (wanted.source or wanted.weights):
            return Pulled(of_mixing)
        dy = joined(
            [
                piece.of(arriving.of[member.edge], block)
                for member, piece, block in zip(self.members, pieces, y.chunk(k, 1), strict=True)
            ]
        )
        masks = [wanted.source, wanted.weights, False]
        du, dw, _ = convolution_gradients(
            dy, source.positive, torch.cat([w for (w,) in weights]), self._geometry, 1, masks
        )
        if wanted.source:
            source.add_rectified(du)
        return Pulled(of_mixing, [[w] for w in dw.chunk(k)] if wanted.weights else ())


def convolve(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The convolution itself."""
    return F.conv2d(x, weight, None, geometry.stride, geometry.padding, geometry.dilation)


def norms_of(members: Sequence[Member]) -> Norms:
    """The batch normalizations behind the convolutions."""
    return Norms([cast(nn.BatchNorm2d, cast(nn.Sequential, member.module)[2]) for member in members])


def geometry_of(module: nn.Module) -> Geometry | None:
    """The geometry of the convolution, which has no groups; None: the module has another form."""
    if type(module) is not nn.Sequential or len(module) != 3:
        return None
    relu, conv, norm = module
    geometry = Geometry.of(conv)
    if type(relu) is not nn.ReLU or geometry is None or not is_plain(norm):
        return None
    assert isinstance(conv, nn.Conv2d)
    return geometry if conv.groups == 1 and conv.in_channels == conv.out_channels else None
