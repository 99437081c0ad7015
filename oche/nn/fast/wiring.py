"""The nodes of a cell by the states they read, instead of edge by edge.

State `i` is complete when all states before it have been spread over the edges that leave them; then its own fan is
evaluated and added to the nodes it leads to. Each node adds its edges in the order of the reference engine.

What the engine does not know (a user's module, `noise`, an edge that is no mixture) is called as the module it is, and
mixes with what it knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from oche.nn.cell import Edges, Finish, MixedEdge, Mixture, one_by_one
from oche.nn.choice import Choice
from oche.nn.fast.part import Member
from oche.nn.fast.planning import Evaluated, plan


class FromState:
    """The edges that leave one state.

    In an evaluation (no gradient, running statistics at rest) candidates of weight zero are not computed, which is
    exact: they would add zeros. Elsewhere they are, because they have a gradient or statistics that move; and on a GPU,
    where the host would have to wait for the weights.

    Args:
        edges: with the node each leads to.
    """

    def __init__(self, edges: Sequence[tuple[int, nn.Module]]) -> None:
        self._whole = [(node, edge) for node, edge in edges if not _is_mixture(edge)]
        self._keys: list[str] = []
        self._members: list[Member] = []
        for node, edge in edges:
            if isinstance(edge, MixedEdge) and _is_mixture(edge):
                self._keys.append(edge.key)
                candidates = edge.choice.candidates.values()
                self._members += [Member(node, i, c) for i, c in enumerate(candidates, start=len(self._members))]
        self._plans: dict[tuple[str, torch.dtype], tuple[Evaluated | None, list[Member]]] = {}
        self._last: tuple[object, tuple[Evaluated | None, list[Member]]] = (None, (None, []))

    def __call__(self, x: Tensor, mixture: Mixture) -> list[tuple[int, Tensor]]:
        """What the edges add, with the node each term belongs to."""
        terms = [(node, edge(x, mixture)) for node, edge in self._whole]
        if self._members:
            fan, rest = self._plan(x)
            mixing = torch.cat([mixture[key] for key in self._keys]).to(x.dtype)
            if fan is not None and not fan.uniform:
                fan, rest = None, self._members
            elif fan is not None and fan.at_rest and not torch.is_grad_enabled() and x.device.type == "cpu":
                fan, rest = self._plan(x, frozenset(place for place, a in enumerate(mixing.tolist()) if a == 0))
            if fan is not None:
                terms += zip(fan.edges, fan(x, mixing), strict=True)
            terms += [(member.edge, mixing[member.place] * member.module(x)) for member in rest]
        return terms

    def _plan(self, x: Tensor, idle: frozenset[int] = frozenset()) -> tuple[Evaluated | None, list[Member]]:
        setting = (x.device.type, x.dtype)
        if not idle:
            if setting not in self._plans:
                self._plans[setting] = plan(self._members, x)
            return self._plans[setting]
        if (setting, idle) != self._last[0]:  # one is enough: a mixture is evaluated batch after batch
            self._last = (setting, idle), plan(self._members, x, idle)
        return self._last[1]


class ByState:
    """A `Wiring` that evaluates a cell state by state. The plan is made at the first call in each setting."""

    def __init__(self) -> None:
        self._leaving: list[FromState] | None = None

    def __reduce__(self) -> tuple[type[ByState], tuple[()]]:
        """Copies begin without a plan, which refers to the modules of this cell."""
        return ByState, ()

    def __call__(self, nodes: Edges, inputs: Sequence[Tensor], mixture: Mixture, finish: Finish) -> list[Tensor]:
        """See `Wiring`."""
        if torch.is_autocast_enabled(inputs[0].device.type):  # gradients written by hand know one precision at a time
            return one_by_one(nodes, inputs, mixture, finish)
        if self._leaving is None:
            self._leaving = _by_state(nodes, len(inputs))
        states: list[Tensor] = [*inputs]
        sums: dict[int, Tensor] = {}
        for place, leaving in enumerate(self._leaving):
            if place >= len(inputs):
                states.append(finish(place - len(inputs), sums.pop(place)))
            for node, term in leaving(states[place], mixture):
                sums[node] = sums[node] + term if node in sums else term
        return [*states, finish(len(nodes) - 1, sums.pop(len(states)))]


def _by_state(nodes: Edges, inputs: int) -> list[FromState]:
    leaving: list[list[tuple[int, nn.Module]]] = [[] for _ in range(inputs + len(nodes) - 1)]
    for node, edges in enumerate(nodes, start=inputs):
        for source, edge in edges.items():
            leaving[int(source)].append((node, edge))
    return list(map(FromState, leaving))


def _is_mixture(edge: nn.Module) -> bool:
    return type(edge) is MixedEdge and type(edge.choice) is Choice
