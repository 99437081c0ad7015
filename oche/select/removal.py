"""The strength of a candidate, or of an edge: what the supernet loses without it (Wang-2021, Sec. 3.1.1).

1. The mixing weight of a candidate `o` is set to 0 and the others stay as they are: the row sums to `1 - a_o`.
   Of an edge, all weights are.
2. The supernet is measured on the validation half, under batch statistics and without gradients. All removals that are
   compared see the same batches and the same random draws.
3. What is worst to lose is strongest. Ties go to the lower index.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch

from oche.domain import Node
from oche.metrics import Metric
from oche.nn.mixture import Mixture
from oche.select.scene import Scene


class Criterion(Protocol):
    """How good a supernet is."""

    def quality(self, measured: Mapping[str, float], metrics: Mapping[str, Metric]) -> float:
        """A number that is higher for a better one.

        Args:
            measured: loss and metrics by name.
            metrics: what they are.
        """
        ...


@dataclass(frozen=True)
class FirstMetric:
    """The metric that counts, as the validation accuracy of the paper; the loss where there is none."""

    def quality(self, measured: Mapping[str, float], metrics: Mapping[str, Metric]) -> float:
        """Of the first metric."""
        if not metrics:
            return -measured["loss"]
        name, metric = next(iter(metrics.items()))
        return measured[name] if metric.higher_is_better else -measured[name]


@dataclass(frozen=True)
class ValidationLoss:
    """The loss, which has no ties."""

    def quality(self, measured: Mapping[str, float], metrics: Mapping[str, Metric]) -> float:
        """Of the loss."""
        return -measured["loss"]


@dataclass(frozen=True, kw_only=True)
class Removal:
    """The removal test.

    Attributes:
        criterion: what is lost.
    """

    CITES: ClassVar[tuple[str, ...]] = ("darts-pt", "wang-2021")

    criterion: Criterion = FirstMetric()

    def candidate(self, scene: Scene, key: str) -> int:
        """The strongest candidate of those that may be selected, by its place among all of its edge.

        It takes as many evaluations as there are such candidates, and none if there is but one.
        """
        edge = scene.domain.edges[key]
        places = [i for i, name in enumerate(edge.candidates) if name in edge.selectable]
        if len(places) > 1:
            qualities = self._qualities(scene, [without(scene, key, i) for i in places])
            places = [places[min(range(len(places)), key=qualities.__getitem__)]]
        return scene.remaining.of(key, len(scene.whole.edges[key].candidates))[places[0]]

    def dropped(self, scene: Scene, node: Node) -> list[str]:
        """The edges that a node loses: all that remain but the `node.keep` strongest, in one ranking.

        Each edge is removed by itself while the others are there. It takes as many evaluations as edges remain, and
        none if they are few enough.
        """
        keys = [edge.key for edge in node.edges if edge.key in scene.domain.edges]
        if node.keep is None or len(keys) <= node.keep:
            return []
        qualities = self._qualities(scene, [without(scene, key) for key in keys])
        order = sorted(range(len(keys)), key=qualities.__getitem__)  # stable: ties to the lower index
        return [keys[i] for i in sorted(order[node.keep :])]

    def _qualities(self, scene: Scene, mixtures: list[Mixture]) -> list[float]:
        return [self.criterion.quality(measured, scene.metrics) for measured in scene.measure_each(mixtures)]


def without(scene: Scene, key: str, place: int | None = None) -> Mixture:
    """The mean mixture without a candidate, or without an edge; the other weights are what they were.

    Args:
        scene: the supernet.
        key: of the edge.
        place: of the candidate among those that remain; None: all of them.
    """
    rows = dict(scene.rows)
    rows[key] = rows[key].clone()
    rows[key][slice(None) if place is None else place] = torch.zeros(())
    return scene.widened(rows)
