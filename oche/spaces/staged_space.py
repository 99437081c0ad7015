"""Spaces in the form of NAS-Bench-201 (Dong and Yang, ICLR 2020): one cell, every edge kept, stacked in stages.

Node 0 is the cell's input and the last node its output; each node adds its edges, and nothing is preprocessed or
concatenated. Cells come in stages of equal length (5 cells each in the benchmark) at C, 2C and 4C channels, with a
residual block of stride 2 between the stages. `none` may be selected: an edge with `none` is no edge.

The number of stages follows the resolution like the reductions of other spaces: three for 32x32 images, which is the
benchmark's network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import nn

from oche.architecture import Architecture
from oche.domain import Domain, Edge, Node
from oche.errors import InputError
from oche.nn.cell import FixedEdge, MixedEdge
from oche.nn.choice import Choice
from oche.nn.network import Stack
from oche.nn.operations import NETWORK, SUPERNET, NormForm, operation
from oche.nn.staged import StagedNetwork
from oche.nn.structure import PLAIN, Structure, bypass_of
from oche.nn.supernet import Supernet
from oche.spaces.cell_space import edge_key
from oche.spaces.space import Space
from oche.task import Task, image_task

KIND = "cell"


@dataclass(frozen=True, kw_only=True)
class StagedSpace(Space):
    """The cells of some nodes with the same candidates on every edge, at any width and depth.

    Attributes:
        name: what its architectures refer to.
        nodes: of a cell, its input among them; node j may read every node before it.
        candidates: of every edge.
        supernet_stack: cells in all stages together, and channels of the first; NAS-Bench-201's 15 and 16.
        network_stack: the same of the discrete network.
    """

    name: str
    nodes: int
    candidates: tuple[str, ...]
    supernet_stack: Stack = Stack(cells=15, channels=16)
    network_stack: Stack = Stack(cells=15, channels=16)

    has_auxiliary: ClassVar[bool] = False
    inputs: ClassVar[tuple[str, ...]] = ("node 0",)
    first_node: ClassVar[int] = 1

    @cached_property
    def domain(self) -> Domain:
        """See `Space`."""
        return Domain(
            self.name,
            tuple(Node(tuple(Edge(_key(j, i), self.candidates) for i in range(j))) for j in self._with_edges),
        )

    def kinds(self, stack: Stack, task: Task) -> list[str]:
        """All cells are of one kind; see `Space`."""
        stack.reduction_count(image_task(self.name, task))
        return [KIND] * stack.cells

    def supernet(self, task: Task, structure: Structure = PLAIN, *, auxiliary: bool = False) -> Supernet:
        """See `Space`."""
        task = image_task(self.name, task)
        self._check_auxiliary(auxiliary)

        def mixed(j: int, i: int, channels: int) -> nn.Module:
            key, bypass = _key(j, i), bypass_of(structure, channels, 1)
            inside = channels // structure.shares[0]
            candidates = {
                name: structure.candidate(name, inside, operation(name, inside, 1, BARE_SUPERNET))
                for name in self.candidates
            }
            return MixedEdge(Choice(candidates, key), key, bypass)

        return Supernet(StagedNetwork(task, self.supernet_stack, self._edges(mixed), structure))

    def network(
        self,
        architecture: Architecture,
        task: Task,
        stack: Stack | None = None,
        *,
        auxiliary: bool = False,
        form: NormForm = NETWORK,
    ) -> StagedNetwork:
        """See `Space`."""
        task = image_task(self.name, task)
        self._check_auxiliary(auxiliary)
        self.domain.check(architecture)

        def fixed(j: int, i: int, channels: int) -> nn.Module:
            return FixedEdge(operation(str(architecture.choices[_key(j, i)]), channels, 1, form))

        return StagedNetwork(task, stack or self.network_stack, self._edges(fixed))

    def cells(self, architecture: Architecture) -> dict[str, list[dict[int, str]]]:
        """See `Space`."""
        return {KIND: [{i: str(architecture.choices[_key(j, i)]) for i in range(j)} for j in self._with_edges]}

    def fitting(self, stack: Stack) -> Stack:
        """All cells are alike, so any depth fits; see `Space`."""
        return stack

    def _check_auxiliary(self, auxiliary: bool) -> None:
        if auxiliary:
            raise InputError(
                f"the networks of {self.name} have no place for an auxiliary head; give --train.auxiliary 0 (in "
                "Python: auxiliary=0)"
            )

    @property
    def _with_edges(self) -> range:
        """The nodes that have edges: all but the input."""
        return range(1, self.nodes)

    def _edges(self, edge: Callable[[int, int, int], nn.Module]) -> Callable[[int], list[dict[int, nn.Module]]]:
        return lambda channels: [{i: edge(j, i, channels) for i in range(j)} for j in self._with_edges]


BARE_SUPERNET = NormForm(affine=SUPERNET.affine, after_pooling=False)
"""In NAS-Bench-201's own searches average pooling has no batch normalization behind it (methods.md, "Exact form")."""


def _key(node: int, source: int) -> str:
    return edge_key(KIND, node, source)
