"""What a selection may look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from oche.data.batches import Batches
from oche.domain import Domain
from oche.evaluation import by_batch, evaluate
from oche.metrics import Loss, Metric
from oche.mixture.base import Relaxation
from oche.mixture.groups import EdgeGroups
from oche.nn.mixture import Mixture
from oche.nn.supernet import Supernet, logits
from oche.randomness import derive, frozen
from oche.remaining import Remaining


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A trained supernet and the images it was searched with.

    Attributes:
        whole: the decisions, exactly those of the supernet's logits.
        supernet: trained; looking at it leaves it as it is.
        relaxation: logits to mixing weights.
        images: the half of the images that moved the logits, without augmentation.
        loss: of a batch.
        metrics: further numbers by name; what is measured first is what counts.
        seed: fixes what an evaluation draws.
        device: where the supernet lives.
        remaining: what has not been decided yet.
        groups: the sets of edges, where they compete.
    """

    whole: Domain
    supernet: Supernet
    relaxation: Relaxation
    images: Batches
    loss: Loss
    metrics: Mapping[str, Metric]
    seed: int
    device: torch.device
    remaining: Remaining = field(default_factory=Remaining)
    groups: EdgeGroups | None = None

    @property
    def domain(self) -> Domain:
        """The decisions that remain."""
        return self.remaining.domain(self.whole)

    @property
    def logits(self) -> dict[str, Tensor]:
        """The logits that remain, by key, without gradient."""
        return self.remaining.narrow({key: value.detach() for key, value in logits(self.supernet).items()})

    @property
    def rows(self) -> dict[str, Tensor]:
        """The mean mixing weights of what remains."""
        return self.relaxation.mean(self.logits)

    @property
    def mixture(self) -> Mixture:
        """The mean mixture of the whole supernet."""
        return self.widened(self.rows)

    def widened(self, rows: Mixture) -> Mixture:
        """The mixture of the whole supernet with these weights of what remains."""
        weighted = rows if self.groups is None else self.groups.apply(rows)
        return self.remaining.widen(weighted, {key: len(value) for key, value in logits(self.supernet).items()})

    @property
    def concluded(self) -> Scene:
        """The same, with the edges decided if they compete."""
        if self.groups is None:
            return self
        strengths = self.relaxation.log_strength(self.logits)
        return replace(self, remaining=self.groups.decide(self.remaining, strengths), groups=None)

    def measure(self, mixture: Mixture) -> dict[str, float]:
        """Loss and metrics of the supernet on the images, under batch statistics; running statistics do not move."""
        forward = partial(self.supernet, mixture=mixture)
        with frozen(derive(self.seed, "measure"), self.device):
            return evaluate(self.supernet, forward, self.images.epoch(0), self.loss, self.metrics, mode=by_batch)
