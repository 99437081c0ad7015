"""The recurrent space of DARTS (Liu, Simonyan and Yang, ICLR 2019, Sec. 3.1 and Appendix A.1.2), for language models.

One cell of eight nodes. Node `j` reads the state `s_0`, made of a word and the last state, or one of the nodes before
it, through `none` or one of four activations with a gate (`oche.nn.recurrent.cell`). An architecture keeps the one
strongest (edge, activation) of each node, `none` excluded. The cell's width is also that of the embedding.

Where other spaces have stacks of cells, this one has one cell, so a `Stack` is one cell with `channels` as its width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from oche.architecture import Architecture
from oche.domain import Domain, Edge, Node
from oche.errors import InputError, unknown
from oche.medium import TEXT, Medium
from oche.nn.network import Stack
from oche.nn.operations import NETWORK, NONE, SUPERNET, NormForm
from oche.nn.recurrent.cell import ACTIVATIONS, FixedActivation, MixedActivation, RecurrentCell
from oche.nn.recurrent.language_model import LanguageModel
from oche.nn.structure import PLAIN, Plain, Structure
from oche.nn.supernet import Supernet
from oche.spaces.cell_space import edge_key
from oche.spaces.space import Space
from oche.task import Task, text_task

KIND = "recurrent"

CANDIDATES = (NONE, *ACTIVATIONS)
"""In the order of the public code."""


@dataclass(frozen=True, kw_only=True)
class RecurrentSpace(Space):
    """Recurrent cells with the same candidates on every edge.

    Attributes:
        name: what its architectures refer to.
        nodes: of the cell, beside `s_0`.
        candidates: of every edge.
        supernet_stack: one cell, and its width in DARTS' search.
        network_stack: the same of its evaluation.

    Raises:
        InputError: there is no node or no candidate that may be selected, a candidate is unknown or there twice, or a
            stack is not one cell.
    """

    name: str
    nodes: int = 8
    candidates: tuple[str, ...] = CANDIDATES
    supernet_stack: Stack = Stack(cells=1, channels=300)
    network_stack: Stack = Stack(cells=1, channels=850)

    has_auxiliary: ClassVar[bool] = True  # the activation penalty has its place there
    medium: ClassVar[Medium] = TEXT
    inputs: ClassVar[tuple[str, ...]] = ("x, h",)
    first_node: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise InputError(f"a cell needs nodes >= 1, but got nodes={self.nodes}")
        for name in self.candidates:
            if name not in CANDIDATES:
                raise unknown("candidate of a recurrent cell", name, CANDIDATES)
        if len(set(self.candidates)) < len(self.candidates):
            raise InputError(f"the candidates of an edge must differ, but they are {self.candidates}")
        if not set(self.candidates) - {NONE}:
            raise InputError(f"every edge needs a candidate that may be selected, but there is {self.candidates}")
        for stack in (self.supernet_stack, self.network_stack):
            _width(stack)

    @cached_property
    def domain(self) -> Domain:
        """See `Space`."""
        return Domain(
            self.name,
            tuple(
                Node(tuple(Edge(_key(j, i), self.candidates, frozenset({NONE})) for i in range(j)), keep=1)
                for j in self._numbers
            ),
        )

    def kinds(self, stack: Stack, task: Task) -> list[str]:
        """One recurrent cell; see `Space`."""
        text_task(self.name, task)
        _width(stack)
        return [KIND]

    def supernet(self, task: Task, structure: Structure = PLAIN, *, auxiliary: bool = False) -> Supernet:
        """See `Space`. The penalty is set at the model, so that there is nothing to build for `auxiliary`.

        Raises:
            InputError: the task is not text, or the structure is one of image networks.
        """
        task = text_task(self.name, task)
        if not isinstance(structure, Plain):
            raise InputError(
                f"the supernet of space {self.name!r} is plain, but got {structure}; give --structure plain"
            )
        width = _width(self.supernet_stack)
        nodes = [{i: MixedActivation(self.candidates, _key(j, i)) for i in range(j)} for j in self._numbers]
        return Supernet(LanguageModel(task, width, RecurrentCell(width, nodes, normalized=True)))

    def network(
        self,
        architecture: Architecture,
        task: Task,
        stack: Stack | None = None,
        *,
        auxiliary: bool = False,
        form: NormForm = NETWORK,
    ) -> LanguageModel:
        """See `Space`. Only in the form of a supernet the cell has batch normalization."""
        task = text_task(self.name, task)
        self.domain.check(architecture)
        width = _width(stack or self.network_stack)
        [cell] = self.cells(architecture).values()
        nodes = [{i: FixedActivation(name) for i, name in node.items()} for node in cell]
        return LanguageModel(task, width, RecurrentCell(width, nodes, normalized=form == SUPERNET))

    def cells(self, architecture: Architecture) -> dict[str, list[dict[int, str]]]:
        """See `Space`."""
        chosen = architecture.choices
        return {KIND: [{i: str(chosen[_key(j, i)]) for i in range(j) if _key(j, i) in chosen} for j in self._numbers]}

    def fitting(self, stack: Stack) -> Stack:
        """Any width fits; see `Space`."""
        return stack

    @property
    def _numbers(self) -> range:
        """The numbers of the nodes."""
        return range(1, self.nodes + 1)


def recurrent(nodes: int = 8) -> RecurrentSpace:
    """The space of DARTS, with the sizes of its search and evaluation on Penn Treebank."""
    return RecurrentSpace(name="recurrent", nodes=nodes)


def _key(node: int, source: int) -> str:
    return edge_key(KIND, node, source)


def _width(stack: Stack) -> int:
    """The width of the one cell.

    Raises:
        InputError: the stack is something else.
    """
    if stack.cells != 1 or stack.reductions not in (None, 0):
        raise InputError(
            "a recurrent network is one cell without reductions, but got "
            f"cells={stack.cells}, reductions={stack.reductions}; give --space.cells 1 or --train.cells 1 (in Python: "
            f"Stack(cells=1, channels={stack.channels}))"
        )
    return stack.channels
