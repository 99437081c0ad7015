"""What every search space of networks made of cells can do."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import replace as dataclass_replace
from functools import lru_cache
from random import Random
from typing import Any, ClassVar, TypeAlias, cast

import torch
from typing_extensions import Self

from oche.architecture import Architecture
from oche.domain import Domain
from oche.errors import InputError
from oche.medium import IMAGES, Medium
from oche.needs import CELLS, KEPT_INPUTS, SHARED_LOGITS, TWO_INPUTS, WIDENABLE, Feature
from oche.nn.network import ImageNetwork, Stack
from oche.nn.operations import NETWORK, OPERATIONS, SUPERNET, Builder, NormForm
from oche.nn.recurrent.language_model import LanguageModel
from oche.nn.structure import PLAIN, Structure
from oche.nn.supernet import Supernet
from oche.nn.widening import can_widen
from oche.task import Task, image_task

Network: TypeAlias = ImageNetwork | LanguageModel
"""What an architecture becomes."""


class Space(ABC):
    """A search space: a frozen dataclass that JSON can hold, and that builds supernets and discrete networks.

    Attributes:
        name: what architectures of this space refer to.
        supernet_stack: depth and width of the supernet.
        network_stack: depth and width of the discrete network in the paper's evaluation.
        has_auxiliary: whether its networks have a place for an auxiliary head, or another auxiliary loss.
        medium: what its networks read.
        inputs: what the first states of a cell are, for drawings.
        first_node: the number that the paper gives to the node after those.
    """

    name: str
    supernet_stack: Stack
    network_stack: Stack
    has_auxiliary: ClassVar[bool]
    medium: ClassVar[Medium] = IMAGES
    inputs: ClassVar[tuple[str, ...]]
    first_node: ClassVar[int]

    @property
    @abstractmethod
    def domain(self) -> Domain:
        """All architectures of this space."""

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """The space of the values that `to_json` writes: here, two stacks, perhaps candidates, and plain numbers.

        Raises:
            KeyError, TypeError: they are something else.
        """
        read: dict[str, Any] = {name: Stack(**values[name]) for name in ("supernet_stack", "network_stack")}
        if "candidates" in values:
            read["candidates"] = tuple(values["candidates"])
        return cls(**values | read)

    @abstractmethod
    def kinds(self, stack: Stack, task: Task) -> list[str]:
        """The kind of each cell of a network, in order.

        Raises:
            InputError: the images are too small for the reductions explicitly asked for.
        """

    @abstractmethod
    def supernet(self, task: Task, structure: Structure = PLAIN, *, auxiliary: bool = False) -> Supernet:
        """A supernet with every candidate on every edge, of the size `supernet_stack`, with what a structure adds.

        Raises:
            InputError: the images are too small for the reductions explicitly asked for, the channels do not fit the
                structure, or there is no place for an auxiliary head.
        """

    @abstractmethod
    def network(
        self,
        architecture: Architecture,
        task: Task,
        stack: Stack | None = None,
        *,
        auxiliary: bool = False,
        form: NormForm = NETWORK,
    ) -> Network:
        """The discrete network of an architecture, of the size `stack` (default: `network_stack`).

        Raises:
            InputError: the architecture is not of this space, the images are too small, or there is no place for an
                auxiliary head.
        """

    @abstractmethod
    def cells(self, architecture: Architecture) -> dict[str, list[dict[int, str]]]:
        """The architecture's cell of each kind, or each of its cells: per node, input state to candidate."""

    @abstractmethod
    def fitting(self, stack: Stack) -> Stack:
        """The stack itself, or with the cells that the architectures of this space decide one by one."""

    def check_fit(self, stack: Stack, task: Task) -> None:
        """Refuse a network that has other cells than the architectures of this space decide one by one.

        Raises:
            InputError: it has others.
        """
        fitting = self.fitting(stack)
        if self.kinds(stack, task) != self.kinds(fitting, task):
            reductions = stack.reduction_count(image_task(self.name, task))
            raise InputError(
                f"each cell of space {self.name!r} has decisions of its own, so the network needs the "
                f"{fitting.cells} cells with {fitting.reductions} reductions of the supernet, but would have "
                f"{stack.cells} with {reductions}; give --train.cells {fitting.cells} "
                f"--train.reductions {fitting.reductions} (in Python: stack=space.fitting(stack)), or search with "
                f"--space.cells {stack.cells}"
            )

    @property
    def shared(self) -> bool:
        """Whether the cells of a kind share their logits."""
        return True

    @property
    def offers(self) -> frozenset[Feature]:
        """What it has that parts may need."""
        names = {str(name) for edge in self.domain.edges.values() for name in edge.candidates}
        channels = self.supernet_stack.channels
        has = {
            CELLS: self.medium is IMAGES,
            KEPT_INPUTS: any(node.keep is not None for node in self.domain.nodes),
            TWO_INPUTS: all(node.keep == 2 for node in self.domain.nodes),
            SHARED_LOGITS: self.shared,
            WIDENABLE: all(name in OPERATIONS and _widens(OPERATIONS[name], channels) for name in names),
        }
        return frozenset(feature for feature, there in has.items() if there)

    def check_kinds(self, stack: Stack, task: Task) -> None:
        """Refuse a network with a kind of cell that the supernet lacks, before a search spends time.

        Raises:
            InputError: it has one, or other cells than the supernet where each cell decides for itself.
        """
        self.check_fit(stack, task)
        for kind in self.kinds(stack, task):
            if kind not in self.kinds(self.supernet_stack, task):
                raise InputError(
                    f"the network has {kind} cells, but the supernet of {self.supernet_stack.cells} cells has none, so "
                    "none would be searched; give --train.reductions 0, or more --space.cells or --space.reductions"
                )

    def replace(self, **changes: Any) -> Self:
        """A copy with other values."""
        return cast(Self, dataclass_replace(cast(Any, self), **changes))

    def to_json(self) -> str:
        """JSON text that `oche.spaces.registry.space_from_json` reads back to an equal value."""
        return json.dumps({"type": type(self).__name__, **asdict(cast(Any, self))}, indent=1)

    # -- sampling and neighbourhoods: the domain's, for convenience --------------------------------------------------

    @property
    def size(self) -> int:
        """The number of architectures."""
        return self.domain.size

    def sample(self, rng: Random) -> Architecture:
        """An architecture drawn uniformly."""
        return self.domain.sample(rng)

    def mutate(self, architecture: Architecture, rng: Random) -> Architecture:
        """A uniformly drawn neighbour."""
        return self.domain.mutate(architecture, rng)

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """All architectures that differ in one kept edge or candidate."""
        return self.domain.neighbours(architecture)

    def enumerate(self) -> Iterator[Architecture]:
        """All architectures."""
        return self.domain.enumerate()


@lru_cache(maxsize=256)
def _widens(builder: Builder, channels: int) -> bool:
    """Whether a candidate can be widened; it is built without weights."""
    with torch.device("meta"):
        return can_widen(builder(channels, 1, SUPERNET))
