"""The cell: a small directed graph, the same code in supernets and in discrete networks.

A cell sees the outputs of the two cells before it (`states` 0 and 1). Node `j` adds the outputs of its edges; the
cell's output is the concatenation of its nodes. Only what stands on an edge differs: a `MixedEdge` in a supernet, a
`FixedEdge` in a discrete network.

How the edges are evaluated is a `Wiring`, a function of its own: edge by edge here, which defines what is right, and
with less work in `oche.nn.fast`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias, cast

import torch
from torch import Tensor, nn

from oche.nn.choice import Choice, total
from oche.nn.drop_edges import DropEdges, factors_in
from oche.nn.mixture import Live, Mixture, live_in
from oche.nn.operations import FactorizedReduce, NormForm, relu_conv_norm

Edges: TypeAlias = Sequence[Mapping[str, nn.Module]]
"""Per node, its edges by the index of the state they read."""

CELL_INPUTS = 2
"""Every cell sees the two cells before it."""


class MixedEdge(nn.Module):
    """An edge on which candidates compete."""

    def __init__(self, choice: Choice, key: str) -> None:
        super().__init__()
        self.choice = choice
        self.key = key

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        """The outputs of the candidates that run, weighted by this edge's row of the mixture."""
        mixed = self.choice.mix(mixture[self.key], x, places=live_in(mixture).get(self.key))
        factor = factors_in(mixture).get(self.key)
        return mixed if factor is None else factor * mixed


def runs(edge: nn.Module, live: Live) -> bool:
    """Whether an edge runs: one on which candidates compete does not where none of them does."""
    return not isinstance(edge, MixedEdge) or live.get(edge.key) != ()


class DropPath(nn.Module):
    """Zero a sample's path with probability `p` in training and scale the others by `1 / (1 - p)`."""

    def __init__(self) -> None:
        super().__init__()
        self.p = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """`N x ...` to the same shape, with one draw per sample."""
        if not self.training or self.p == 0:
            return x
        keep = 1 - self.p
        return x * (x.new_empty([len(x)] + [1] * (x.dim() - 1)).bernoulli_(keep) / keep)


class FixedEdge(nn.Module):
    """An edge with its one chosen operation, and drop-path unless that is the identity."""

    def __init__(self, operation: nn.Module) -> None:
        super().__init__()
        self.operation = operation
        self.drop_path = nn.Identity() if isinstance(operation, nn.Identity) else DropPath()

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        """The operation's output; a discrete network has no mixture to look at."""
        return self.drop_path(self.operation(x))  # type: ignore[no-any-return]


Finish: TypeAlias = Callable[[int, Tensor], Tensor]
"""From the number of a node and the sum of its edges to the state that later edges read."""


class Wiring(Protocol):
    """Evaluates the edges of a cell."""

    def __call__(self, nodes: Edges, inputs: Sequence[Tensor], mixture: Mixture, finish: Finish) -> list[Tensor]:
        """All states of the cell: its inputs, then its nodes, each the finished sum of its edges."""
        ...


def one_by_one(nodes: Edges, inputs: Sequence[Tensor], mixture: Mixture, finish: Finish) -> list[Tensor]:
    """The reference: every edge that runs is called and every node adds its edges."""
    states, live = [*inputs], live_in(mixture)
    for number, node in enumerate(nodes):
        terms = (edge(states[int(i)], mixture) for i, edge in node.items() if runs(edge, live))
        states.append(finish(number, total(terms)))
    return states


class Graph(nn.Module):
    """What every kind of cell is: nodes, with edges from earlier states.

    Args:
        nodes: per node, the edges by the index of the state they read.
        norms: per node, what its sum goes through; empty: nothing.

    Attributes:
        wiring: how the edges are evaluated.
        drop_edges: drop-path on the edges on which candidates compete.
    """

    def __init__(self, nodes: Sequence[Mapping[int, nn.Module]], norms: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.nodes = nn.ModuleList(nn.ModuleDict({str(i): edge for i, edge in node.items()}) for node in nodes)
        self.norms = nn.ModuleList(norms)
        self.wiring: Wiring = one_by_one
        self.drop_edges = DropEdges([e.key for node in nodes for e in node.values() if isinstance(e, MixedEdge)])

    def states(self, inputs: Sequence[Tensor], mixture: Mixture) -> list[Tensor]:
        """The inputs and all nodes."""
        return self.wiring(cast(Edges, self.nodes), inputs, self.drop_edges(mixture, inputs[0]), self._finished)

    def _finished(self, node: int, total: Tensor) -> Tensor:
        return self.norms[node](total) if self.norms else total


class Cell(Graph):
    """Two preprocessed inputs, then nodes that each add the outputs of their edges.

    Args:
        channels_in: channels of the two inputs.
        channels: channels of every node; the output has `nodes * channels`.
        halve_first: the first input has twice the resolution of the second, as after a reduction.
        nodes: per intermediate node, the edges by the index of the state they read (0, 1: the inputs; 2...: nodes).
        form: batch normalization of the preprocessing.
        norms: per node, what its sum goes through; empty: nothing.
    """

    def __init__(
        self,
        channels_in: tuple[int, int],
        channels: int,
        *,
        halve_first: bool,
        nodes: Sequence[Mapping[int, nn.Module]],
        form: NormForm,
        norms: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__(nodes, norms)
        first = FactorizedReduce if halve_first else relu_conv_norm
        self.preprocess = nn.ModuleList(
            [first(channels_in[0], channels, form), relu_conv_norm(channels_in[1], channels, form)]
        )
        self.channels_out = channels * len(nodes)

    def forward(self, first: Tensor, second: Tensor, mixture: Mixture) -> Tensor:
        """`N x C_in x H x W` twice to `N x (nodes * C) x H' x W'`."""
        states = self.states([self.preprocess[0](first), self.preprocess[1](second)], mixture)
        return torch.cat(states[CELL_INPUTS:], dim=1)


def set_drop_path(network: nn.Module, probability: float) -> None:
    """Set the drop-path probability of every edge of a network."""
    for module in network.modules():
        if isinstance(module, DropPath | DropEdges):
            module.p = probability
