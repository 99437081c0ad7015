"""Looking into the cells of a supernet: wirings that compute what the reference does and keep something of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from oche.architecture import Candidate
from oche.nn.cell import Edges, Finish, Graph, MixedEdge, Wiring, one_by_one, runs
from oche.nn.choice import total
from oche.nn.mixture import Mixture, live_in
from oche.nn.operations import NONE

Member = tuple[str, Candidate]
"""A candidate on an edge: the edge's key and the candidate's name."""


def graphs(network: nn.Module) -> list[Graph]:
    """The cells of a network, in their order; none in that of a user's module."""
    return [module for module in network.modules() if isinstance(module, Graph)]


@contextmanager
def rewired(cells: Sequence[Graph], wirings: Sequence[Wiring]) -> Iterator[None]:
    """Other wirings for the cells inside; afterwards each has its own again."""
    own = [cell.wiring for cell in cells]
    for cell, wiring in zip(cells, wirings, strict=True):
        cell.wiring = wiring
    try:
        yield
    finally:
        for cell, wiring in zip(cells, own, strict=True):
            cell.wiring = wiring


class GramRecorder:
    """A `Wiring` that adds up inner products of the outputs of a cell's candidates, so that memory does not grow.

    Attributes:
        members: every candidate that runs but `none`.
        gram: their inner products over all images so far (`members x members`, float64, on the CPU).
    """

    def __init__(self) -> None:
        self.members: tuple[Member, ...] = ()
        self.gram = torch.zeros((), dtype=torch.float64)

    def __call__(self, nodes: Edges, inputs: Sequence[Tensor], mixture: Mixture, finish: Finish) -> list[Tensor]:
        """See `Wiring`."""
        states, outputs, members = [*inputs], list[Tensor](), list[Member]()
        live = live_in(mixture)
        for number, node in enumerate(nodes):
            terms = []
            for source, edge in node.items():
                if not runs(edge, live):
                    continue
                assert isinstance(edge, MixedEdge)

                def mixed(inside: Tensor, edge: MixedEdge = edge) -> Tensor:
                    row, candidates = mixture[edge.key], tuple(edge.choice.candidates.items())
                    own = []
                    for place in live.get(edge.key, range(len(candidates))):
                        name, candidate = candidates[place]
                        output = candidate(inside)
                        own.append(row[place] * output)
                        if name != NONE:
                            members.append((edge.key, name))
                            outputs.append(output.flatten())
                    return total(own)

                terms.append(edge.through(states[int(source)], mixed))
            states.append(finish(number, total(terms)))
        # Where nothing but `none` runs there is no output to look at.
        stacked = torch.stack(outputs).double() if outputs else torch.zeros(0, 0, dtype=torch.float64)
        self.members, self.gram = tuple(members), self.gram + (stacked @ stacked.T).cpu()
        return states


class NormRecorder:
    """A `Wiring` that keeps how large the states of a cell are.

    Attributes:
        sizes: root mean squares of its inputs and nodes, in their order, at the last call.
    """

    def __init__(self) -> None:
        self.sizes: list[float] = []

    def __call__(self, nodes: Edges, inputs: Sequence[Tensor], mixture: Mixture, finish: Finish) -> list[Tensor]:
        """See `Wiring`."""
        states = one_by_one(nodes, inputs, mixture, finish)
        self.sizes = torch.stack([state.double().square().mean().sqrt() for state in states]).tolist()
        return states
