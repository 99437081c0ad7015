"""What a fan is made of: all candidates of one form on the edges that leave one state.

A part brings its own forward and backward pass. `run` adds `a_i z_i` to the sums of its edges and returns what the
backward pass needs; `pull` turns the arriving gradients into those of the mixing weights and of the parameters, and
adds the gradient of the state to its `Source`. Whatever no part recognizes is called as a module, one by one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from oche.nn.fast.normalization import Linear, Norms, Statistics, centered_product, linear
from oche.nn.fast.source import Arriving, Source, Sums


class Member:
    """A candidate on an edge of a fan.

    Attributes:
        edge: the edge it stands on, by the node that the edge leads to.
        place: position of its mixing weight among those of all edges of the fan.
        module: the candidate.
        names: of its parameters, in the order of `module.parameters()`.
    """

    def __init__(self, edge: int, place: int, module: nn.Module) -> None:
        self.edge, self.place, self.module = edge, place, module
        self.names = tuple(name for name, _ in module.named_parameters())
        self._owners = [(module.get_submodule(path), last) for path, _, last in (n.rpartition(".") for n in self.names)]

    def weights(self) -> list[Tensor]:
        """The parameters that the module has now, which may be others than at the last call."""
        return [getattr(owner, name) for owner, name in self._owners]


class Wanted(NamedTuple):
    """Which gradients a backward pass computes."""

    source: bool
    mixing: bool
    weights: bool


class Pulled(NamedTuple):
    """Gradients of the mixing weights (one scalar per member) and of each member's parameters (empty: not wanted)."""

    mixing: Sequence[Tensor]
    weights: Sequence[Sequence[Tensor]] = ()


Saved: TypeAlias = tuple[Tensor, ...]
Weights: TypeAlias = Sequence[Sequence[Tensor]]
"""Per member, its parameters in the order of `Member.names`."""


class Part(ABC):
    """All candidates of one form on the edges of a fan.

    Args:
        members: the candidates.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)

    @property
    @abstractmethod
    def norms(self) -> Sequence[Norms]:
        """Every batch normalization of the members."""

    @abstractmethod
    def run(self, source: Source, mixing: Sequence[Tensor], weights: Weights, sums: Sums) -> Saved:
        """The forward pass; `mixing` has one scalar per member, `weights` their parameters."""

    @abstractmethod
    def pull(
        self,
        source: Source,
        mixing: Sequence[Tensor],
        weights: Weights,
        arriving: Arriving,
        saved: Saved,
        wanted: Wanted,
    ) -> Pulled:
        """The backward pass."""


def normalized_pull(
    part: Part, y: Tensor, statistics: Statistics, mixing: Sequence[Tensor], arriving: Arriving, by_batch: bool
) -> tuple[list[Tensor], list[Linear]]:
    """From the arriving gradients to those of the mixing weights, and to `dy`, per member.

    Args:
        part: whose members read the blocks of `y` in their order.
        y: what was normalized, `N x (members * C) x H x W`.
        statistics: of `y`.
        mixing: one scalar per member.
        arriving: gradients of the edges.
        by_batch: whether the batch was normalized by its own statistics.
    """
    count = len(part.members)
    means, rates = statistics.mean.chunk(count), statistics.rate.chunk(count)
    values = y.numel() // y.shape[1]
    gradients, pieces = [], []
    for member, a, block, mean, rate in zip(part.members, mixing, y.chunk(count, 1), means, rates, strict=True):
        g = arriving.of[member.edge]
        product = centered_product(g, block, mean)
        gradients.append(torch.dot(rate, product))
        piece = linear(a, Statistics(mean, rate), arriving.sum(member.edge), product, values, by_batch)
        pieces.append(piece)
    return gradients, pieces


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Blocks of channels side by side."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), dim=1)
