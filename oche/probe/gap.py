"""The discretization gap: what the supernet loses when its mixture is replaced by the selected architecture.

Both are measured on the same validation images with batch statistics, at the same weights (SP-DARTS, Fig. 3b, shows
the second number along searches: that of DARTS stays at the random level). What the random level is depends on the
data and the metric, so it is measured too: the architecture's outputs scored against the targets of other images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from oche.architecture import Architecture
from oche.data.batches import Batch, Batches
from oche.probe.few import few
from oche.randomness import generator
from oche.remaining import Remaining
from oche.select.scene import Scene

IMAGES = 128
"""The standard error of an accuracy is then 4.4 points at most."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A metric of the supernet, mixed and decided.

    Attributes:
        metric: its name; the loss where there is no metric, or none that is a mean.
        higher_is_better: its direction.
        mixed: under the mean mixture.
        decided: with the weight 1 on what was selected and 0 elsewhere.
        chance: as `decided`, but with the targets of other images.
    """

    metric: str
    higher_is_better: bool
    mixed: float
    decided: float
    chance: float

    @property
    def lost(self) -> float:
        """How much worse the decided supernet is than the mixed one."""
        return self.mixed - self.decided if self.higher_is_better else self.decided - self.mixed

    @property
    def retained(self) -> float | None:
        """The share that is left of what the mixed supernet has over chance; None if it has nothing."""
        over = self.mixed - self.chance if self.higher_is_better else self.chance - self.mixed
        return (over - self.lost) / over if over > 0 else None


def discretization_gap(scene: Scene, architecture: Architecture, *, images: int = IMAGES) -> Gap:
    """Three evaluations on the first images.

    Args:
        scene: under its mean mixture.
        architecture: what was selected, from the scene's domain.
        images: at most.
    """
    scene = few(scene, images)
    decided = replace(scene, remaining=Remaining.only(architecture, scene.whole))
    shuffled = replace(decided, images=_Shuffled(scene.images, scene.seed))
    # A share of what lies between chance and the supernet is taken of a mean; of a perplexity, that is the loss.
    name = next((name for name, metric in scene.metrics.items() if metric.finish is None), "loss")
    return Gap(
        metric=name,
        higher_is_better=name in scene.metrics and scene.metrics[name].higher_is_better,
        mixed=scene.measure(scene.mixture)[name],
        decided=decided.measure(decided.mixture)[name],
        chance=shuffled.measure(shuffled.mixture)[name],
    )


@dataclass(frozen=True)
class _Shuffled:
    """Batches whose targets are in another order than their inputs."""

    batches: Batches
    seed: int

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `Batches`."""
        for number, (x, y) in enumerate(self.batches.epoch(epoch, start), start):
            order = torch.randperm(len(y), generator=generator(self.seed, "chance", number))
            yield x, y[order.to(y.device)]
