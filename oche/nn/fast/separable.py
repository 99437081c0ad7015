"""Separable and dilated convolutions: rounds of ReLU, depthwise and pointwise convolution, and BN.

All members of a part have the same kernel and read the same state, so each round is one depthwise convolution on
their channels side by side, one grouped pointwise convolution and one batch normalization.

Kept for the backward pass is the output `y` of each round's pointwise convolution, with its statistics: `z`, its ReLU
and the depthwise output `h` follow from it with less time than reading them would take. `h` is needed for the
gradient of the pointwise weight alone, so the logit step, which wants none, does not compute it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.nn.fast.depthwise import Geometry, convolution_gradients, depthwise, input_gradient, weight_gradient
from oche.nn.fast.normalization import Norms, Statistics, centered_product, is_plain, linear, normalized
from oche.nn.fast.part import Member, Part, Pulled, Saved, Wanted, Weights, joined, normalized_pull
from oche.nn.fast.source import Arriving, Source, Sums

ROUND = 4
"""Modules of a round: ReLU, depthwise, pointwise, BN."""

POINTWISE = Geometry(kernel=1, stride=1, padding=0, dilation=1)


class Separable(Part):
    """`(ReLU, depthwise, pointwise, BN)` once or more, on every edge of a fan.

    Args:
        geometries: of the depthwise convolution of each round.
        members: the candidates.
    """

    def __init__(self, geometries: Sequence[Geometry], members: Sequence[Member]) -> None:
        super().__init__(members)
        self._geometries = tuple(geometries)
        self._rounds = len(self._geometries)
        self._norms = norms_of(members, self._rounds)

    @property
    def norms(self) -> Sequence[Norms]:
        """One of each round."""
        return self._norms

    def run(self, source: Source, mixing: Sequence[Tensor], weights: Weights, sums: Sums) -> Saved:
        """See `Part`. Keeps `y`, mean and rate of every round."""
        k, saved = len(self.members), []
        u = self._first(source)
        for geometry, norms, (dw, pw) in zip(self._geometries, self._norms, self._joined(weights), strict=True):
            y = F.conv2d(depthwise(u, dw, geometry), pw, groups=k)
            z, statistics = norms.normalize(y)
            saved += [y, *statistics]
            if norms is not self._norms[-1]:
                u = z.relu_()
        for member, a, block in zip(self.members, mixing, z.chunk(k, 1), strict=True):
            sums.add(member.edge, a, block)
        return tuple(saved)

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
        k = len(self.members)
        kept = [(saved[i], Statistics(*saved[i + 1 : i + 3])) for i in range(0, len(saved), 3)]
        y, statistics = kept[-1]
        by_batch = self._norms[-1].by_batch
        of_mixing, pieces = normalized_pull(self, y, statistics, mixing, arriving, by_batch)
        if not (wanted.source or wanted.weights):
            return Pulled(of_mixing)
        blocks = y.chunk(k, 1)
        dy = joined(
            [
                piece.of(arriving.of[member.edge], block)
                for member, piece, block in zip(self.members, pieces, blocks, strict=True)
            ]
        )
        of_weights: list[list[Tensor]] = [[] for _ in self.members]
        joined_weights = self._joined(weights)
        for r in reversed(range(self._rounds)):
            geometry, (dw, pw) = self._geometries[r], joined_weights[r]
            u = self._first(source) if r == 0 else normalized(*kept[r - 1]).relu_()
            h = depthwise(u, dw, geometry) if wanted.weights else dy  # only its shape is read without weights
            dh, dpw, _ = convolution_gradients(dy, h, pw, POINTWISE, k, [True, wanted.weights, False])
            if wanted.weights:
                ddw = weight_gradient(dh, u, dw, geometry)
                for gradients, *both in zip(of_weights, ddw.chunk(k), dpw.chunk(k), strict=True):
                    gradients[:0] = both
            if r == 0 and not wanted.source:
                break
            du = input_gradient(dh, u, dw, geometry)
            if r == 0:
                source.add_rectified(du if k == 1 else torch.stack(du.chunk(k, 1)).sum(0))
            else:
                y, statistics = kept[r - 1]
                dz = torch.where(u > 0, du, 0)
                product = centered_product(dz, y, statistics.mean)
                by_batch = self._norms[r - 1].by_batch
                dy = linear(None, statistics, dz.sum(dim=(0, 2, 3)), product, y.numel() // y.shape[1], by_batch).of(
                    dz, y
                )
        return Pulled(of_mixing, of_weights if wanted.weights else ())

    def _first(self, source: Source) -> Tensor:
        """The input of the first round: one copy of the state's ReLU per member."""
        k = len(self.members)
        return source.positive if k == 1 else source.positive.repeat(1, k, 1, 1)

    def _joined(self, weights: Weights) -> list[tuple[Tensor, Tensor]]:
        """The members' depthwise and pointwise weights of each round side by side; they are small."""
        sides = [side[0] if len(side) == 1 else torch.cat(list(side)) for side in zip(*weights, strict=True)]
        return list(zip(sides[::2], sides[1::2], strict=True))


def rounds_of(module: nn.Module) -> tuple[Geometry, ...] | None:
    """The geometry of each round's depthwise convolution; None: the module has another form."""
    if type(module) is not nn.Sequential or not len(module) or len(module) % ROUND:
        return None
    children = list(module)
    rounds = [_round(children[i : i + ROUND]) for i in range(0, len(children), ROUND)]
    known = tuple(geometry for geometry in rounds if geometry is not None)
    return known if len(known) == len(rounds) else None


def norms_of(members: Sequence[Member], rounds: int) -> list[Norms]:
    """The batch normalizations of each round."""
    modules = [list(cast(nn.Sequential, member.module)) for member in members]
    return [Norms([cast(nn.BatchNorm2d, m[ROUND * r + ROUND - 1]) for m in modules]) for r in range(rounds)]


def _round(modules: Sequence[nn.Module]) -> Geometry | None:
    relu, dw, pw, norm = modules
    geometry, unit = Geometry.of(dw), Geometry.of(pw)
    if type(relu) is not nn.ReLU or geometry is None or unit != POINTWISE or not is_plain(norm):
        return None
    assert isinstance(dw, nn.Conv2d)
    assert isinstance(pw, nn.Conv2d)
    same = dw.in_channels == dw.out_channels == dw.groups == pw.in_channels == pw.out_channels
    return geometry if same and pw.groups == 1 else None
