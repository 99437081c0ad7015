"""Which images feed what: the halves of a search; training, validation and test of a network.

A search never sees a test image. Normalization comes from the images that train the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from oche.data.augment import Augment
from oche.data.batches import Batches, PartBatches, batches
from oche.data.dataset import Dataset, Part
from oche.data.halves import SearchData
from oche.data.prepare import Normalize
from oche.data.split import holdout, search_halves
from oche.randomness import derive
from oche.training.protocol import TrainingProtocol
from oche.training.trainer import TrainingData


@dataclass(frozen=True)
class _Feeder:
    """Makes batches of one size, normalized alike."""

    dataset: Dataset
    normalize: Normalize
    batch: int
    seed: int
    device: torch.device

    def shuffled(self, part: Part, purpose: str, augment: Augment, *, drop_last: bool) -> PartBatches:
        """Augmented batches in a new order each epoch."""
        return batches(
            part,
            batch=self.batch,
            normalize=self.normalize,
            augment=augment,
            shuffle=True,
            drop_last=drop_last,
            seed=derive(self.seed, purpose),
            device=self.device,
            stream=self.dataset.stream,
            workers=self.dataset.workers,
        )

    def plain(self, part: Part) -> Batches:
        """Every image once, as it is."""
        return batches(
            part,
            batch=self.batch,
            normalize=self.normalize,
            augment=None,
            shuffle=False,
            drop_last=False,
            seed=0,
            device=self.device,
            stream=self.dataset.stream,
            workers=self.dataset.workers,
        )


def search_feed(
    dataset: Dataset,
    batch: int,
    seed: int,
    device: torch.device,
    validation: float,
    *,
    cutout: int = 0,
    fit: bool = False,
    split: int | None = None,
) -> SearchData:
    """Batches of the two halves of a search.

    Args:
        dataset: its training images are used.
        batch: images per step.
        seed: decides the halves, the order and the augmentation.
        device: where the batches go.
        validation: the share of the training images that the training after the search holds out.
        cutout: side of the Cutout square on the images of both halves, in pixels; 0: none.
        fit: make the batch no larger than a half, for a batch that nobody asked for.
        split: decides the part that is held out; None: `seed`.

    Raises:
        InputError: a class would be missing from a half, or the batch is larger than a half.
    """
    first, second = search_halves(dataset, validation, seed, split)
    if fit:
        batch = min(batch, len(first), len(second))
    feeder = _Feeder(dataset, Normalize.of(first), batch, seed, device)
    augment = replace(dataset.augment, cutout=cutout)
    train = feeder.shuffled(first, "train", augment, drop_last=True)
    valid = feeder.shuffled(second, "valid", augment, drop_last=True)
    evaluation = feeder.plain(second)

    def at_batch(images: int) -> SearchData:
        images = min(images, len(first), len(second))
        return SearchData(
            train=train.with_batch(images), valid=valid.with_batch(images), evaluation=evaluation, batch=images
        )

    return SearchData(train=train, valid=valid, evaluation=evaluation, batch=batch, at_batch=at_batch)


def training_feed(
    dataset: Dataset,
    protocol: TrainingProtocol,
    seed: int,
    device: torch.device,
    *,
    fit: bool = False,
    split: int | None = None,
    tested: bool = True,
) -> TrainingData:
    """Batches of the training, validation and test parts, as the protocol says.

    Args:
        dataset: the images.
        protocol: batch, validation share, Cutout and AutoAugment.
        seed: decides the order and the augmentation.
        device: where the batches go.
        fit: make the batch no larger than the training part, for a batch that nobody asked for.
        split: decides the validation part; None: `seed`.
        tested: whether there is a test part; False: for a training that only helps to choose.

    Raises:
        InputError: a class would be missing from a part, the batch is larger than the training part, or AutoAugment
            cannot treat the images.
    """
    first, second = holdout(dataset, protocol.validation, seed if split is None else split)
    batch = min(protocol.batch, len(first)) if fit else protocol.batch
    feeder = _Feeder(dataset, Normalize.of(first), batch, seed, device)
    return TrainingData(
        # A smaller last batch trains too, as in the public code, unless it is a single image, which batch
        # normalization cannot normalize.
        train=feeder.shuffled(
            first,
            "train",
            replace(dataset.augment, cutout=protocol.cutout, auto_augment=protocol.auto_augment),
            drop_last=len(first) < batch or len(first) % batch == 1,
        ),
        valid=None if second is None else feeder.plain(second),
        test=feeder.plain(dataset.test) if tested else None,
        normalize=feeder.normalize,
        batch=batch,
    )
