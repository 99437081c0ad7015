"""A few images instead of all of them: what bounds the cost of a probe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from oche.data.batches import Batch, Batches
from oche.select.scene import Scene


def few(scene: Scene, images: int) -> Scene:
    """The same scene with its first images alone."""
    return replace(scene, images=_First(scene.images, images))


def first_batch(scene: Scene, images: int) -> Batch:
    """At most so many images of the first batch."""
    x, y = next(iter(scene.images.epoch(0)))
    return x[:images], y[:images]


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
