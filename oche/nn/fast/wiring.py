"""The nodes of a cell by the states they read, instead of edge by edge.

State `i` is complete when all states before it have been spread over the edges that leave them; then its own fan is
evaluated and added to the nodes it leads to. Each node adds its edges in the order of the reference engine.

What the engine does not know (a user's module, `noise`, an edge that is no mixture) is called as the module it is, and
mixes with what it knows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from oche.nn.cell import Edges, MixedEdge, Mixture, Wiring, one_by_one
from oche.nn.choice import Choice
from oche.nn.fast.fan import Fan, grouped
from oche.nn.fast.part import Member

LOG = logging.getLogger(__name__)


class FromState:
    """The edges that leave one state.

    Args:
        edges: by the node each leads to.
        apart: see `grouped`.

    Attributes:
        unknown: modules that are called one by one.
    """

    def __init__(self, edges: Sequence[tuple[int, nn.Module]], *, apart: bool) -> None:
        self._whole = [(node, edge) for node, edge in edges if not _is_mixture(edge)]
        self._keys: list[str] = []
        members: list[Member] = []
        for node, edge in edges:
            if isinstance(edge, MixedEdge) and _is_mixture(edge):
                self._keys.append(edge.key)
                members += [
                    Member(node, place, candidate)
                    for place, candidate in enumerate(edge.choice.candidates.values(), start=len(members))
                ]
        parts, self._rest = grouped(members, apart=apart)
        self._fan = Fan(parts) if parts else None
        self.unknown = [member.module for member in self._rest]

    def __call__(self, x: Tensor, mixture: Mixture) -> list[tuple[int, Tensor]]:
        """What the edges add, with the node each term belongs to."""
        terms = [(node, edge(x, mixture)) for node, edge in self._whole]
        if self._keys:
            mixing = torch.cat([mixture[key] for key in self._keys])
            if self._fan is not None:
                terms += zip(self._fan.edges, self._fan(x, mixing), strict=True)
            terms += [(member.edge, mixing[member.place] * member.module(x)) for member in self._rest]
        return terms


class ByState:
    """A `Wiring` that evaluates a cell fan by fan. The plan is made at the first call on each kind of device."""

    def __init__(self) -> None:
        self._plans: dict[str, list[FromState]] = {}

    def __call__(self, nodes: Edges, inputs: Sequence[Tensor], mixture: Mixture) -> list[Tensor]:
        """See `Wiring`."""
        device = inputs[0].device.type
        if torch.is_autocast_enabled(device):  # the backward passes written by hand know one precision at a time
            return one_by_one(nodes, inputs, mixture)
        if device not in self._plans:
            self._plans[device] = self._plan(nodes, len(inputs), device)
        states: list[Tensor] = [*inputs]
        sums: dict[int, Tensor] = {}
        for place, fan in enumerate(self._plans[device]):
            if place >= len(inputs):
                states.append(sums.pop(place))
            for node, term in fan(states[place], mixture):
                sums[node] = sums[node] + term if node in sums else term
        return [*states, sums.pop(len(states))]

    def _plan(self, nodes: Edges, inputs: int, device: str) -> list[FromState]:
        leaving: list[list[tuple[int, nn.Module]]] = [[] for _ in range(inputs + len(nodes) - 1)]
        for node, edges in enumerate(nodes, start=inputs):
            for source, edge in edges.items():
                leaving[int(source)].append((node, edge))
        return [FromState(edges, apart=device == "cpu") for edges in leaving]


def _is_mixture(edge: nn.Module) -> bool:
    return type(edge) is MixedEdge and type(edge.choice) is Choice
