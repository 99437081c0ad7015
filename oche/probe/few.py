"""A few images instead of all of them: what bounds the cost of a probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from oche.data.batches import Batch, Batches
from oche.evaluation import by_batch
from oche.nn.cell import Wiring
from oche.nn.recording import graphs, rewired
from oche.randomness import derive, frozen
from oche.select.scene import Scene


def few(scene: Scene, images: int) -> Scene:
    """The same scene with its first images alone."""
    return replace(scene, images=_First(scene.images, images))


def first_batch(scene: Scene, images: int) -> Batch:
    """At most so many images of the first batch."""
    x, y = next(iter(scene.images.epoch(0)))
    return x[:images], y[:images]


def look(scene: Scene, wirings: Sequence[Wiring], purpose: str, images: int) -> None:
    """One evaluation of at most so many images of the first batch, under batch statistics, by other wirings.

    Args:
        scene: under its mean mixture.
        wirings: of the supernet's cells, in their order.
        purpose: what is drawn for.
        images: at most.
    """
    x, _ = first_batch(scene, images)
    with (
        frozen(derive(scene.seed, purpose), scene.device),
        torch.no_grad(),
        by_batch(scene.supernet),
        rewired(graphs(scene.supernet), wirings),
    ):
        scene.supernet(x, scene.mixture)


@dataclass(frozen=True)
class _First:
    """Batches up to a number of images; of the last one, as many as are left."""

    batches: Batches
    images: int

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `Batches`."""
        left = self.images
        for number, (x, y) in enumerate(self.batches.epoch(epoch)):
            if number >= start:
                yield x[:left], y[:left]
            left -= len(x)
            if left <= 0:
                return
