"""iDARTS: decorrelation discretization (Alg. 1, Eq. 6).

Mixing weights do not say what an operation contributes where outputs are correlated (Eq. 5). So operations are chosen
one after the other by what they add to what has been chosen:

1. In evaluation mode, take for every node its raw sum `y` (before any node normalization) and the output `o` of every
   candidate on its edges, unweighted, over some thousand images.
2. `K` rounds, where a node keeps `K` edges. In each round every node chooses, among the edges that it has not chosen
   yet, the candidate whose output has the largest cosine with the node's residual, averaged over the cells of its
   type; it joins `S`. `none` can never be chosen: its output is zero.
3. After a round the residuals of *all* nodes of a cell are `y` less its projection on the span of `S` (Eq. 6), so that
   no node chooses what another one has chosen already.

Alg. 1 prints a loop over `N x K`; read literally, every step would add one operation for each of the `N` nodes, N times
too many. Here it is `K` rounds of one operation per node. It also says "orthogonalize by all selected operators", one
after the other, which leaves a residual that is orthogonal to the last of them only, unless they are orthogonal to each
other. `literal=True` does that.

All of this depends on inner products alone. Every node sum is a combination of candidate outputs, so per cell one Gram
matrix of all candidates is added up over the images, and memory does not grow with their number.

Where channels go around the candidates (`oche.nn.bypass`), a node's sum is that of the channels that go through them:
they lie at the same places of all edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from oche.architecture import Architecture, Candidate
from oche.domain import Domain, Node
from oche.errors import InputError
from oche.evaluation import evaluating
from oche.mixture.base import Relaxation
from oche.needs import CELLS, Feature
from oche.nn.recording import GramRecorder, Member, graphs, rewired
from oche.select.magnitude import Magnitude
from oche.select.scene import Scene

AT_ONCE = 16
"""Images whose candidate outputs lie in memory together: 98 candidates of 16 channels at 32x32 take 100 MB in float32.
In evaluation mode images do not see each other, so the number changes nothing."""


@dataclass(frozen=True, kw_only=True)
class Decorrelation:
    """Choose operations by what they add to those chosen before.

    Attributes:
        images: how many are looked at, at most (5,000 on CIFAR, 10,000 on ImageNet).
        literal: project by one selected operation after the other, as Alg. 1 is printed, not on their span.
    """

    images: int = 5000
    literal: bool = False

    CITES: ClassVar[tuple[str, ...]] = ("idarts",)

    NEEDS_OF_SPACE: ClassVar[tuple[Feature, ...]] = (CELLS,)

    needs_supernet: ClassVar[bool] = True
    tuning: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.images < 1:
            raise InputError(f"decorrelation needs images >= 1, but got {self.images}")

    def preview(self, domain: Domain, logits: Mapping[str, Tensor], relaxation: Relaxation) -> Architecture:
        """By magnitude: outputs are looked at once, at the end."""
        return Magnitude().preview(domain, logits, relaxation)

    def select(self, scene: Scene) -> Architecture:
        """One pass over the images, then `K` rounds on Gram matrices.

        Raises:
            InputError: the supernet has no cells, as that of a user's module.
        """
        weights = scene.weights
        nodes_of = {edge.key: node for node in scene.domain.nodes for edge in node.edges}
        decided = {key: edge.candidates[0] for key, edge in scene.domain.edges.items() if scene.remaining.decided(key)}
        chosen: list[Member] = list(decided.items())
        for members, grams in _cells(scene, self.images).items():
            nodes = list(dict.fromkeys(nodes_of[key] for key, _ in members))
            sums = [_sum_of(node, members, weights) for node in nodes]
            chosen += [members[i] for i in self.choose(members, nodes, sums, grams, decided)]
        return Architecture.of(scene.domain.space, dict(chosen))

    def choose(
        self,
        members: Sequence[Member],
        nodes: Sequence[Node],
        sums: Sequence[Tensor],
        grams: Sequence[Tensor],
        decided: Mapping[str, Candidate] = {},
    ) -> list[int]:
        """The operations of one type of cell, by their places among its members, in the order of selection.

        Args:
            members: its candidates, in the order of the Gram matrices.
            nodes: of the cell.
            sums: of each node, as a combination of the members (`members`, float64).
            grams: of each cell of this type (`members x members`, float64).
            decided: edges that a stage has decided, with their candidates: these have been chosen before.
        """
        selected = [i for i, (key, _) in enumerate(members) if key in decided]
        for turn in range(max(map(_kept, nodes), default=0)):
            used = {members[i][0] for i in selected} | decided.keys()
            picks = []
            for node, total_ in zip(nodes, sums, strict=True):
                mine = {edge.key: edge.selectable for edge in node.edges if edge.key not in used}
                free = [i for i, (key, name) in enumerate(members) if name in mine.get(key, ())]
                if turn < _kept(node) - sum(edge.key in decided for edge in node.edges):
                    cosines = torch.stack([self._cosines(total_, selected, gram) for gram in grams]).mean(dim=0)
                    picks.append(free[int(cosines[free].argmax())])
            selected += picks  # all nodes choose before anything is projected away
        return [i for i in selected if members[i][0] not in decided]

    def _cosines(self, total: Tensor, selected: Sequence[int], gram: Tensor) -> Tensor:
        """Cosine of each candidate with the residual of a node; 0 where one of them is zero.

        Args:
            total: the node's sum as coefficients of the candidates.
            selected: what its residual is orthogonal to, as indices of candidates.
            gram: inner products of the candidates.
        """
        residual = total.clone()
        if self.literal:
            for i in selected:
                residual[i] -= (residual @ gram[:, i]) / gram[i, i] if gram[i, i] > 0 else 0.0
        elif selected:  # Eq. 6, with the projection on the span
            s = list(selected)
            residual[s] -= torch.linalg.pinv(gram[s][:, s], hermitian=True) @ (gram[s] @ residual)
        along = gram @ residual
        lengths = gram.diagonal().clamp_min(0).sqrt() * (residual @ along).clamp_min(0).sqrt()
        return torch.where(lengths > 0, along / lengths, torch.zeros_like(along))


def _kept(node: Node) -> int:
    return len(node.edges) if node.keep is None else node.keep


def _sum_of(node: Node, members: Sequence[Member], weights: Mapping[Member, float]) -> Tensor:
    """The sum of a node as a combination of all candidates of its cell; `none` adds nothing to it."""
    keys = {edge.key for edge in node.edges}
    return torch.tensor([weights[m] if m[0] in keys else 0.0 for m in members], dtype=torch.float64)


def _cells(scene: Scene, images: int) -> dict[tuple[Member, ...], list[Tensor]]:
    """The Gram matrix of each cell (`members x members`, float64, on the CPU), by the candidates of its type.

    Raises:
        InputError: the supernet has no cells.
    """
    found = graphs(scene.supernet)
    if not found:
        raise InputError(
            "decorrelation looks at the nodes of cells, but this supernet has none; select by magnitude instead"
        )
    recorders = [GramRecorder() for _ in found]
    mixture, left = scene.mixture, images
    with torch.no_grad(), evaluating(scene.supernet), rewired(found, recorders):
        for x, _ in scene.images.epoch(0):
            for part in torch.split(x[:left], AT_ONCE):
                scene.supernet(part, mixture)
            left -= len(x)
            if left <= 0:
                break
    cells: dict[tuple[Member, ...], list[Tensor]] = {}
    for recorder in recorders:
        cells.setdefault(recorder.members, []).append(recorder.gram)
    return cells
