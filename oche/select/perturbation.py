"""DARTS+PT: decide by what the supernet loses, and train in between (Wang-2021, Alg. 1).

1. Edges in random order: each is decided by the removal test (`oche.select.removal`), and the supernet is trained on
   for some epochs. In stacked spaces one edge of every kind of cell is decided at a time, the normal one first and the
   reduction one on what is then left, as the public code does.
2. Then nodes in random order: each keeps the edges whose removal hurts most, and training goes on. A space whose nodes
   keep all edges has no such phase, nor has a node that has no more edges than it keeps.

In a user's module every choice is decided by itself. The order is drawn from the search's seed.

*Cost*, in evaluations of the validation half: `sum_e |O_e| + sum_n |E_n|`, where `O_e` are the candidates of an edge
that may be selected (edges with one of them need none) and `E_n` the edges of a node that keeps fewer; and
`(D - 1) x interval` epochs of training, where `D` counts decisions. The last decision ends it: the paper tunes once
more after it, which changes no decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from oche.architecture import Architecture
from oche.domain import Domain, Node
from oche.errors import InputError
from oche.mixture.base import Relaxation
from oche.optim import SGD, OptimizerSettings
from oche.randomness import generator
from oche.remaining import Remaining
from oche.schedule import Cosine
from oche.select.base import Deciding
from oche.select.groups import groups
from oche.select.magnitude import Magnitude
from oche.select.removal import Removal
from oche.select.scene import Scene

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class PerturbationSelection:
    """Decide by removal, edge by edge and then node by node, and train in between.

    Attributes:
        removal: the test that decides.
        interval: epochs of training between two decisions; any fraction, but at least a step.
        move_logits: whether the logits of what is undecided keep moving (else "fixed alpha").
        optimizer: of the weights, begun anew; its schedule runs over all of the training in between.

    Raises:
        InputError: the interval is negative.
    """

    CITES: ClassVar[tuple[str, ...]] = ("darts-pt", "wang-2021")

    removal: Removal = Removal()
    interval: float = 5.0
    move_logits: bool = True
    optimizer: OptimizerSettings = field(default=SGD(lr=Cosine(0.0025, 0.001)))

    needs_supernet: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.interval >= 0:
            raise InputError(f"epochs between two decisions are 0 or more, but got interval={self.interval}")

    @property
    def tuning(self) -> PerturbationSelection:
        """Itself: it trains in between."""
        return self

    def preview(self, domain: Domain, logits: Mapping[str, Tensor], relaxation: Relaxation) -> Architecture:
        """By magnitude: what stands where no more decision can be made."""
        return Magnitude().preview(domain, logits, relaxation)

    def select(self, scene: Scene) -> Architecture:
        """The decisions that were made; where a search ended before them, by magnitude."""
        return self.preview(scene.domain, scene.logits, scene.relaxation)

    def steps(self, domain: Domain, epoch: int) -> int:
        """See `Tuning`: one interval less than decisions."""
        return (len(_decisions(domain, 0)) - 1) * self._gap(epoch)

    def evaluations(self, domain: Domain) -> int:
        """How often all decisions together evaluate the validation half; see the head of this file."""
        edges = [len(edge.selectable) for edge in domain.edges.values()]
        nodes = [len(node.edges) for node in domain.nodes if _is_pruned(node)]
        return sum(count for count in edges if count > 1) + sum(nodes)

    def act(self, search: Deciding, done: int, epoch: int) -> None:
        """See `Tuning`: the first decision before the first step, the last one after the last."""
        scene = search.scene
        for decision in _decisions(scene.whole, scene.seed)[: 1 + done // self._gap(epoch)]:
            for part in decision:
                if not part.made(search.scene.remaining):
                    search.settle(part.make(search.scene, self.removal))

    def left(self, scene: Scene) -> int:
        """See `Tuning`; the edges of several kinds of cells that are decided together count once."""
        made = [all(part.made(scene.remaining) for part in d) for d in _decisions(scene.whole, scene.seed)]
        return made.count(False)

    def _gap(self, epoch: int) -> int:
        """Steps between two decisions."""
        return max(round(self.interval * epoch), 1)


class _Part(Protocol):
    """A decision in one kind of cell."""

    def made(self, remaining: Remaining) -> bool: ...

    def make(self, scene: Scene, removal: Removal) -> Remaining: ...


@dataclass(frozen=True)
class _OnEdge:
    key: str

    def made(self, remaining: Remaining) -> bool:
        return remaining.decided(self.key)

    def make(self, scene: Scene, removal: Removal) -> Remaining:
        return scene.remaining.decide(self.key, removal.candidate(scene, self.key))


@dataclass(frozen=True)
class _OnNode:
    node: Node

    def made(self, remaining: Remaining) -> bool:
        assert self.node.keep is not None
        return sum(remaining.kept.get(edge.key) != () for edge in self.node.edges) <= self.node.keep

    def make(self, scene: Scene, removal: Removal) -> Remaining:
        return scene.remaining.drop(removal.dropped(scene, self.node))


def _decisions(domain: Domain, seed: int) -> list[list[_Part]]:
    """All of them in their order; each has at most one part in every kind of cell."""
    edges, nodes = [], []
    for kind, of_kind in groups(domain).items():
        keys = [edge.key for node in of_kind for edge in node.edges]
        edges.append([_OnEdge(key) for key in _shuffled(keys, seed, "edges", kind)])
        pruned = [node for node in of_kind if _is_pruned(node)]
        nodes.append([_OnNode(node) for node in _shuffled(pruned, seed, "nodes", kind)])
    return [[part for part in parts if part is not None] for parts in (*zip_longest(*edges), *zip_longest(*nodes))]


def _is_pruned(node: Node) -> bool:
    """Whether a node keeps fewer edges than it has."""
    return node.keep is not None and node.keep < len(node.edges)


def _shuffled(items: list[Item], seed: int, *purpose: str) -> Iterable[Item]:
    order = torch.randperm(len(items), generator=generator(seed, "perturbation", *purpose))
    return (items[i] for i in order.tolist())
