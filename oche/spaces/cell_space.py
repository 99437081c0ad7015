"""A DARTS-like cell space as a value: which candidates compete on which edge, and how cells are stacked.

`supernet` and `network` build from the same cell code (`oche.nn.cell`); the operations' batch normalization has
another form in each (`oche.nn.operations`), which `network(..., form=SUPERNET)` lets a test undo.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from torch import nn

from oche.architecture import Architecture
from oche.domain import Domain, Edge, Node
from oche.errors import InputError, unknown
from oche.nn.cell import CELL_INPUTS, FixedEdge, MixedEdge
from oche.nn.choice import KEY_SEPARATOR, Choice, kind_of
from oche.nn.network import CellNetwork, Stack
from oche.nn.operations import NETWORK, OPERATIONS, SUPERNET, NormForm, operation
from oche.nn.structure import PLAIN, Structure, bypass_of
from oche.nn.supernet import Supernet
from oche.spaces.space import Space
from oche.task import ImageTask

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
        supernet_stack: depth and width of the supernet.
        network_stack: depth and width of the discrete network in the paper's evaluation.
    """

    name: str
    normal: EdgeCandidates
    reduction: EdgeCandidates
    nodes: int = 4
    keep: int | None = 2
    select_none: bool = False
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
    def domain(self) -> Domain:
        """All architectures of this space."""
        excluded = frozenset() if self.select_none else frozenset({"none"})
        nodes = []
        for kind, per_edge in self.cell_kinds().items():
            remaining = iter(per_edge)
            for node in self._node_states:
                edges = [Edge(edge_key(kind, node, i), next(remaining), excluded) for i in range(node)]
                nodes.append(Node(tuple(edges), self.keep))
        return Domain(self.name, tuple(nodes))

    def kinds(self, stack: Stack, task: ImageTask) -> list[str]:
        """`normal` or `reduction` for each cell; see `Space`."""
        return stack.kinds(task)

    def supernet(self, task: ImageTask, structure: Structure = PLAIN) -> Supernet:
        """See `Space`."""

        def edges(index: int, kind: str, channels: int) -> list[dict[int, nn.Module]]:
            def mixed(key: str, stride: int) -> nn.Module:
                candidates, bypass = {}, bypass_of(structure, channels, stride)
                inside = channels // structure.shares[0]
                for name in map(str, self.domain.edges[key].candidates):
                    bare = operation(name, inside, stride, SUPERNET)
                    candidates[name] = structure.candidate(name, inside, bare)
                return MixedEdge(Choice(candidates, key), key, bypass)

            return [
                {i: mixed(edge_key(kind, node, i), _stride(kind, i)) for i in range(node)} for node in self._node_states
            ]

        return Supernet(CellNetwork(task, self.supernet_stack, edges, SUPERNET, structure=structure))

    def network(
        self,
        architecture: Architecture,
        task: ImageTask,
        stack: Stack | None = None,
        *,
        auxiliary: bool = False,
        form: NormForm = NETWORK,
    ) -> CellNetwork:
        """See `Space`."""
        stack = stack or self.network_stack
        kinds, chosen = set(stack.kinds(task)), self.cells(architecture)
        self.domain.check(architecture, {key for key in self.domain.edges if kind_of(key) in kinds})

        def edges(index: int, kind: str, channels: int) -> list[dict[int, nn.Module]]:
            return [
                {i: FixedEdge(operation(name, channels, _stride(kind, i), form)) for i, name in node.items()}
                for node in chosen[kind]
            ]

        return CellNetwork(task, stack, edges, form, auxiliary=auxiliary)

    def cells(self, architecture: Architecture) -> dict[str, list[dict[int, str]]]:
        """See `Space`."""
        return {
            kind: [
                {
                    i: str(architecture.choices[edge_key(kind, node, i)])
                    for i in range(node)
                    if edge_key(kind, node, i) in architecture.choices
                }
                for node in self._node_states
            ]
            for kind in self.cell_kinds()
        }

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> CellSpace:
        """The space of the values that `to_json` writes.

        Raises:
            KeyError, TypeError: they are something else.
        """
        per_kind = {kind: tuple(map(tuple, values[kind])) for kind in ("normal", "reduction")}
        stacks = {name: Stack(**values[name]) for name in ("supernet_stack", "network_stack")}
        return cls(**values | per_kind | stacks)

    @property
    def _node_states(self) -> range:
        """The indices of the intermediate nodes among a cell's states; node j may read every state before j."""
        return range(CELL_INPUTS, CELL_INPUTS + self.nodes)


def edge_count(nodes: int) -> int:
    """Edges of a cell: node j sees the cell's inputs and all earlier nodes."""
    return sum(range(CELL_INPUTS, CELL_INPUTS + nodes))


def edge_key(kind: str, node: int, source: int) -> str:
    """The key of an edge's logits: `normal/3<-0` runs from state 0 to state 3 of the normal cells."""
    return f"{kind}{KEY_SEPARATOR}{node}<-{source}"


def _stride(kind: str, source: int) -> int:
    """In a reduction cell the edges from the cell's two inputs halve the resolution."""
    return 2 if kind == "reduction" and source < CELL_INPUTS else 1
