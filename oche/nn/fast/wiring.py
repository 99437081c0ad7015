"""The nodes of a cell by the states they read, instead of edge by edge.

State `i` is complete when all states before it have been spread over the edges that leave them; then its own fan is
evaluated and added to the nodes it leads to. Each node adds its edges in the order of the reference engine.

What the engine does not know (a user's module, `noise`, an edge that is no mixture) is called as the module it is, and
mixes with what it knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from oche.nn.cell import Edges, Finish, MixedEdge, one_by_one, runs
from oche.nn.choice import Choice
from oche.nn.drop_edges import factors_in
from oche.nn.fast.part import Member
from oche.nn.fast.planning import Evaluated, plan
from oche.nn.mixture import Mixture, live_in

PATTERNS = 16
"""Plans of a state that are kept, beside that with all candidates: where a mixture is sparse, other candidates run at
other steps."""


_Pattern: TypeAlias = tuple[str, torch.dtype, tuple[tuple[int, ...] | None, ...], frozenset[int]]
"""Device, precision, which candidates of each edge run, and which of those have the weight zero."""


class FromState:
    """The edges that leave one state.

    Candidates of which a mixture says that they do not run are not computed. In an evaluation (no gradient, running
    statistics at rest) candidates of weight zero are not computed either, which is exact: they would add zeros.
    Elsewhere they are, because they have a gradient or statistics that move; and on a GPU, where the host would have to
    wait for the weights.

    Args:
        edges: with the node each leads to.
    """

    def __init__(self, edges: Sequence[tuple[int, nn.Module]]) -> None:
        self._whole = [(node, edge) for node, edge in edges if not _is_mixture(edge)]
        self._keys: list[str] = []
        self._key_to: dict[int, str] = {}
        self._members: list[list[Member]] = []
        place = 0
        for node, edge in edges:
            if isinstance(edge, MixedEdge) and _is_mixture(edge):
                self._keys.append(edge.key)
                self._key_to[node] = edge.key
                candidates = edge.choice.candidates.values()
                self._members.append([Member(node, i, c) for i, c in enumerate(candidates, start=place)])
                place += len(candidates)
        self._plans: dict[_Pattern, tuple[Evaluated | None, list[Member]]] = {}

    def __call__(self, x: Tensor, mixture: Mixture) -> list[tuple[int, Tensor]]:
        """What the edges add, with the node each term belongs to."""
        live = live_in(mixture)
        terms = [(node, edge(x, mixture)) for node, edge in self._whole if runs(edge, live)]
        running = tuple(live.get(key) for key in self._keys)
        if any(places != () for places in running):
            fan, rest = self._plan(x, running)
            mixing = torch.cat([mixture[key] for key in self._keys]).to(x.dtype)
            if fan is not None and not fan.uniform:
                fan, rest = None, self._running(running)
            elif fan is not None and fan.at_rest and not torch.is_grad_enabled() and x.device.type == "cpu":
                idle = frozenset(place for place, a in enumerate(mixing.tolist()) if a == 0)
                fan, rest = self._plan(x, running, idle)
            mixed = [] if fan is None else list(zip(fan.edges, fan(x, mixing), strict=True))
            mixed += [(member.edge, mixing[member.place] * member.module(x)) for member in rest]
            factors = factors_in(mixture)
            terms += [(node, factors[self._key_to[node]] * term) for node, term in mixed] if factors else mixed
        return terms

    def _running(self, running: Sequence[tuple[int, ...] | None]) -> list[Member]:
        """The candidates that run, of those places on each edge (None: all)."""
        return [
            member
            for members, places in zip(self._members, running, strict=True)
            for member in (members if places is None else [members[i] for i in places])
        ]

    def _plan(
        self, x: Tensor, running: tuple[tuple[int, ...] | None, ...], idle: frozenset[int] = frozenset()
    ) -> tuple[Evaluated | None, list[Member]]:
        pattern = (x.device.type, x.dtype, running, idle)
        if pattern not in self._plans:
            if len(self._plans) > PATTERNS:
                # The oldest goes, but never the first one, with which most searches do all their steps.
                del self._plans[list(self._plans)[1]]
            self._plans[pattern] = plan(self._running(running), x, idle)
        return self._plans[pattern]


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
