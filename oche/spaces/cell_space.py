"""A DARTS-like cell space as a value: which candidates compete on which edge, and how cells are stacked.

Cells of a kind share their logits, as in DARTS, or every cell has its own, as in space S2 of Amended-DARTS (Sec.
3.1.2). A cell's decisions have keys that begin with its kind, `normal/3<-0`, or with its kind and its place in the
network, `normal/7/3<-0`.

`supernet` and `network` build from the same cell code (`oche.nn.cell`); the operations' batch normalization has
another form in each (`oche.nn.operations`), which `network(..., form=SUPERNET)` lets a test undo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from torch import nn

from oche.architecture import Architecture
from oche.domain import Domain, Edge, Node
from oche.errors import InputError, unknown
from oche.nn.cell import CELL_INPUTS, FixedEdge, MixedEdge
from oche.nn.choice import KEY_SEPARATOR, Choice
from oche.nn.network import CellNetwork, Stack
from oche.nn.operations import NETWORK, OPERATIONS, SUPERNET, NormForm, operation
from oche.nn.structure import PLAIN, Structure, bypass_of
from oche.nn.supernet import Supernet
from oche.spaces.space import Space
from oche.task import Task, image_task

EdgeCandidates = tuple[tuple[str, ...], ...]
"""Candidates per edge of a cell, in the usual order: node by node, input by input."""


@dataclass(frozen=True, kw_only=True)
class CellSpace(Space):
    """A space of normal and reduction cells, each of which sees the two cells before it.

    Attributes:
        name: what architectures of this space refer to.
        normal: candidates of each edge of the normal cell.
        reduction: the same of the reduction cell.
        nodes: intermediate nodes of a cell.
        keep: edges that a node keeps in an architecture (None: all).
        select_none: whether `none` may be selected; it competes in the mixture in any case.
        shared: whether the cells of a kind share their logits. If not, networks have exactly the cells of the
            supernet, and the architectures depend on its depth and its number of reductions, which must be given.
        supernet_stack: depth and width of the supernet.
        network_stack: depth and width of the discrete network in the paper's evaluation.
    """

    name: str
    normal: EdgeCandidates
    reduction: EdgeCandidates
    nodes: int = 4
    keep: int | None = 2
    select_none: bool = False
    shared: bool = True
    supernet_stack: Stack = Stack(cells=8, channels=16)
    network_stack: Stack = Stack(cells=20, channels=36)

    has_auxiliary: ClassVar[bool] = True
    inputs: ClassVar[tuple[str, ...]] = ("cell k-2", "cell k-1")
    first_node: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise InputError(f"a cell needs nodes >= 1, but got nodes={self.nodes}")
        if self.keep is not None and not 1 <= self.keep <= CELL_INPUTS:
            raise InputError(f"1 <= keep <= {CELL_INPUTS} (inputs of the first node) must hold, but got {self.keep}")
        if not self.shared and self.supernet_stack.reductions is None:
            raise InputError(
                "where each cell has decisions of its own, the number of reduction cells must be known; give "
                f"supernet_stack=Stack(cells={self.supernet_stack.cells}, channels={self.supernet_stack.channels}, "
                "reductions=2)"
            )
        for kind, per_edge in self.cell_kinds().items():
            if len(per_edge) != edge_count(self.nodes):
                raise InputError(
                    f"a cell of {self.nodes} nodes has {edge_count(self.nodes)} edges, "
                    f"but {kind} lists candidates for {len(per_edge)}"
                )
            for candidates in per_edge:
                for name in candidates:
                    if name not in OPERATIONS:
                        raise unknown("candidate operation", name, OPERATIONS)
                if len(set(candidates)) < len(candidates):
                    raise InputError(f"the candidates of an edge must differ, but one has {candidates}")
        for edge in self.domain.edges.values():
            if not edge.selectable:
                raise InputError(f"every edge needs a candidate that may be selected, but one has {edge.candidates}")

    def cell_kinds(self) -> dict[str, EdgeCandidates]:
        """The candidates of each kind of cell."""
        return {"normal": self.normal, "reduction": self.reduction}

    @cached_property
    def deciding(self) -> Mapping[str, EdgeCandidates]:
        """The candidates of each cell with decisions of its own, by what its keys begin with, in order."""
        per_kind = self.cell_kinds()
        if self.shared:
            return per_kind
        assert self.supernet_stack.reductions is not None
        kinds = self.supernet_stack.spread(self.supernet_stack.reductions)
        return {self._cell(kind, index): per_kind[kind] for index, kind in enumerate(kinds)}

    @cached_property
    def domain(self) -> Domain:
        """All architectures of this space."""
        excluded = frozenset() if self.select_none else frozenset({"none"})
        nodes = []
        for cell, per_edge in self.deciding.items():
            remaining = iter(per_edge)
            for node in self._node_states:
                edges = [Edge(edge_key(cell, node, i), next(remaining), excluded) for i in range(node)]
                nodes.append(Node(tuple(edges), self.keep))
        return Domain(self.name, tuple(nodes))

    def kinds(self, stack: Stack, task: Task) -> list[str]:
        """`normal` or `reduction` for each cell; see `Space`."""
        return stack.kinds(image_task(self.name, task))

    def supernet(self, task: Task, structure: Structure = PLAIN, *, auxiliary: bool = False) -> Supernet:
        """See `Space`."""
        task = image_task(self.name, task)

        def edges(index: int, kind: str, channels: int) -> list[dict[int, nn.Module]]:
            def mixed(key: str, stride: int) -> nn.Module:
                candidates, bypass = {}, bypass_of(structure, channels, stride)
                inside = channels // structure.shares[0]
                for name in map(str, self.domain.edges[key].candidates):
                    bare = operation(name, inside, stride, SUPERNET)
                    candidates[name] = structure.candidate(name, inside, bare)
                return MixedEdge(Choice(candidates, key), key, bypass)

            cell = self._cell(kind, index)
            return [
                {i: mixed(edge_key(cell, node, i), _stride(kind, i)) for i in range(node)} for node in self._node_states
            ]

        stack = self.supernet_stack
        return Supernet(CellNetwork(task, stack, edges, SUPERNET, auxiliary=auxiliary, structure=structure))

    def network(
        self,
        architecture: Architecture,
        task: Task,
        stack: Stack | None = None,
        *,
        auxiliary: bool = False,
        form: NormForm = NETWORK,
    ) -> CellNetwork:
        """See `Space`."""
        task = image_task(self.name, task)
        stack = stack or self.fitting(self.network_stack)
        self.check_fit(stack, task)
        self._check_cells(architecture)
        built = {self._cell(kind, index) for index, kind in enumerate(stack.kinds(task))}
        self.domain.check(architecture, {key for key in self.domain.edges if _cell_of(key) in built})
        chosen = self.cells(architecture)

        def edges(index: int, kind: str, channels: int) -> list[dict[int, nn.Module]]:
            return [
                {i: FixedEdge(operation(name, channels, _stride(kind, i), form)) for i, name in node.items()}
                for node in chosen[self._cell(kind, index)]
            ]

        return CellNetwork(task, stack, edges, form, auxiliary=auxiliary)

    def cells(self, architecture: Architecture) -> dict[str, list[dict[int, str]]]:
        """See `Space`."""
        return {
            cell: [
                {
                    i: str(architecture.choices[edge_key(cell, node, i)])
                    for i in range(node)
                    if edge_key(cell, node, i) in architecture.choices
                }
                for node in self._node_states
            ]
            for cell in self.deciding
        }

    def fitting(self, stack: Stack) -> Stack:
        """Any depth, or that of the supernet where cells do not share; see `Space`."""
        own = self.supernet_stack
        return stack if self.shared else replace(stack, cells=own.cells, reductions=own.reductions)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> CellSpace:
        """The space of the values that `to_json` writes.

        Raises:
            KeyError, TypeError: they are something else.
        """
        per_kind = {kind: tuple(map(tuple, values[kind])) for kind in ("normal", "reduction")}
        return super().from_values(values | per_kind)

    def _cell(self, kind: str, index: int) -> str:
        """What the keys of a cell begin with."""
        return kind if self.shared else f"{kind}{KEY_SEPARATOR}{index}"

    def _check_cells(self, architecture: Architecture) -> None:
        """Refuse an architecture of another depth, whose keys would only look misspelled.

        Raises:
            InputError: cells decide for themselves, and it has others.
        """
        decided = {_cell_of(key) for key in architecture.choices}
        if not self.shared and architecture.space == self.name and decided != set(self.deciding):
            raise InputError(
                f"this architecture decides {len(decided)} cells one by one, but its space has {len(self.deciding)} "
                "here; the run that found it has its space beside it, so give the run directory (in Python: "
                "space.replace(supernet_stack=...))"
            )

    @property
    def _node_states(self) -> range:
        """The indices of the intermediate nodes among a cell's states; node j may read every state before j."""
        return range(CELL_INPUTS, CELL_INPUTS + self.nodes)


def edge_count(nodes: int) -> int:
    """Edges of a cell: node j sees the cell's inputs and all earlier nodes."""
    return sum(range(CELL_INPUTS, CELL_INPUTS + nodes))


def edge_key(cell: str, node: int, source: int) -> str:
    """The key of an edge's logits: `normal/3<-0` runs from state 0 to state 3 of the normal cells."""
    return f"{cell}{KEY_SEPARATOR}{node}<-{source}"


def _cell_of(key: str) -> str:
    """What `edge_key` was given."""
    return key.rpartition(KEY_SEPARATOR)[0]


def _stride(kind: str, source: int) -> int:
    """In a reduction cell the edges from the cell's two inputs halve the resolution."""
    return 2 if kind == "reduction" and source < CELL_INPUTS else 1
