"""Architectures as graphs in one tensor: which operation stands on which edge.

A cell is a graph whose vertices are states and whose edges carry operations. All architectures of a space share the
same possible edges, so an architecture is one row of numbers: per possible edge the number of its operation, or 0
where there is none. `none` (NAS-Bench-201) is no edge: its output is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from oche.architecture import Architecture, Candidate
from oche.errors import InputError
from oche.nn.choice import KEY_SEPARATOR
from oche.spaces.cell_space import CellSpace, edge_key
from oche.spaces.space import Space
from oche.spaces.staged_space import StagedSpace

ABSENT = 0
"""The number of no edge."""


@dataclass(frozen=True, kw_only=True)
class CellGraph:
    """The possible edges of one kind of cell.

    Attributes:
        kind: its name.
        inputs: states that the cell is given, numbered from 0; nodes follow.
        nodes: that compute something.
        edges: `(target, source, key of the decision)`, by target and then by source.
        outputs: states whose values leave the cell.
    """

    kind: str
    inputs: int
    nodes: int
    edges: tuple[tuple[int, int, str], ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class GraphForm:
    """What the graphs of a space have in common.

    Attributes:
        cells: one per kind.
        operations: that edges may carry; the number of an operation is its place from 1.
    """

    cells: tuple[CellGraph, ...]
    operations: tuple[str, ...]

    @cached_property
    def edges(self) -> int:
        """Columns of an encoding: the possible edges of all cells, one cell after the other."""
        return sum(len(cell.edges) for cell in self.cells)

    def encode(self, architectures: Sequence[Architecture]) -> Tensor:
        """Architectures of the space as whole numbers, `N x edges`."""
        number: dict[Candidate | None, int] = {name: i for i, name in enumerate(self.operations, 1)}
        number |= {"none": ABSENT, None: ABSENT}
        keys = [key for cell in self.cells for _, _, key in cell.edges]
        known = set(keys)
        assert all(a.choices.keys() <= known for a in architectures), "architectures are of the space of this form"
        rows = [[number[choices.get(key)] for key in keys] for choices in (a.choices for a in architectures)]
        return torch.tensor(rows, dtype=torch.long).reshape(len(rows), len(keys))


def graph_form(space: Space) -> GraphForm:
    """The form of a space's graphs.

    Raises:
        InputError: there is no encoding for this type of space.
    """
    make = _MAKERS.get(type(space))
    if make is None:
        known = ", ".join(sorted(kind.__name__ for kind in _MAKERS))
        raise InputError(
            f"space {getattr(space, 'name', '?')!r} ({type(space).__name__}) has no graph encoding, which a ranking "
            f"network needs; types of spaces that have one: {known}; or search with proposals=Uniform()"
        )
    names = {str(c) for edge in space.domain.edges.values() for c in edge.selectable} - {"none"}
    return GraphForm(cells=make(space), operations=tuple(sorted(names)))


def _of_cells(space: CellSpace) -> tuple[CellGraph, ...]:
    """All nodes of a DARTS cell are concatenated to its output; every cell with decisions of its own is a graph."""
    cells = dict.fromkeys(key.rpartition(KEY_SEPARATOR)[0] for key in space.domain.edges)
    first, states = len(space.inputs), len(space.inputs) + space.nodes
    return tuple(
        CellGraph(
            kind=kind,
            inputs=first,
            nodes=space.nodes,
            edges=tuple((j, i, edge_key(kind, j, i)) for j in range(first, states) for i in range(j)),
            outputs=tuple(range(first, states)),
        )
        for kind in cells
    )


def _of_stages(space: StagedSpace) -> tuple[CellGraph, ...]:
    """The last node of a cell is its output."""
    keys = iter(space.domain.edges)  # by node and then by source
    return (
        CellGraph(
            kind="cell",
            inputs=1,
            nodes=space.nodes - 1,
            edges=tuple((j, i, next(keys)) for j in range(1, space.nodes) for i in range(j)),
            outputs=(space.nodes - 1,),
        ),
    )


_MAKERS: dict[type, Callable[[Any], tuple[CellGraph, ...]]] = {CellSpace: _of_cells, StagedSpace: _of_stages}
