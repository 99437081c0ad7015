"""Which data feed what: the halves of a search; training, validation and test of a network.

A search never sees a test image. Normalization comes from the images that train the weights. Of text see
`oche.text.feed`.
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
from oche.errors import InputError
from oche.medium import check_medium
from oche.randomness import derive
from oche.text import feed as text_feed
from oche.text.corpus import Corpus
from oche.training.protocol import TrainingProtocol
from oche.training.trainer import TrainingData

USUAL_BPTT = 35
"""Words of a lane per step where neither a method nor a user says how many: Penn Treebank's usual number."""


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
    dataset: Dataset | Corpus,
    batch: int,
    seed: int,
    device: torch.device,
    validation: float,
    *,
    bptt: int | None = None,
    cutout: int = 0,
    fit: bool = False,
    split: int | None = None,
) -> SearchData:
    """Batches of the two halves of a search.

    Args:
        dataset: its training images are used; of a text the training part for the weights and the validation part for
            the logits.
        batch: images, or lanes of a text, per step.
        seed: decides the halves, the order and the augmentation.
        device: where the batches go.
        validation: the share of the training images that the training after the search holds out.
        bptt: words of a lane per step; None: for images.
        cutout: side of the Cutout square on the images of both halves, in pixels; 0: none.
        fit: make the batch no larger than a half, for a batch that nobody asked for.
        split: decides the part that is held out; None: `seed`.

    Raises:
        InputError: a class would be missing from a half, the batch is larger than a half, or a text is too short.
    """
    if isinstance(dataset, Corpus):
        # Without jitter, as the public code of DARTS' search.
        return text_feed.search_feed(dataset, batch, bptt or USUAL_BPTT, seed, device, jitter=False, fit=fit)
    if bptt is not None:
        raise InputError(f"bptt is the length of sequences of text, but the data are images; leave out bptt={bptt}")
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
    dataset: Dataset | Corpus,
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
        dataset: the images, or a text.
        protocol: batch, validation share, Cutout and AutoAugment; of a text the numbers of its `language`.
        seed: decides the order and the augmentation.
        device: where the batches go.
        fit: make the batch no larger than the training part, for a batch that nobody asked for.
        split: decides the validation part; None: `seed`.
        tested: whether there is a test part; False: for a training that only helps to choose.

    Raises:
        InputError: a class would be missing from a part, the batch is larger than the training part, AutoAugment
            cannot treat the images, a text is too short, or the protocol is for another medium.
    """
    check_medium(f"training protocol {protocol.name!r}", protocol.medium, dataset.medium)
    if isinstance(dataset, Corpus):
        assert protocol.language is not None  # it is for text
        numbers = protocol.language
        return text_feed.training_feed(
            dataset,
            protocol.batch,
            numbers.bptt,
            seed,
            device,
            jitter=numbers.jitter,
            evaluation_lanes=numbers.evaluation_lanes,
            test_lanes=numbers.test_lanes,
            fit=fit,
            tested=tested,
        )
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
