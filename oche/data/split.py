"""Disjoint parts of a data set in which the classes keep their shares."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from oche.data.dataset import Dataset, Part
from oche.errors import InputError
from oche.randomness import derive, generator

TEST_FRACTION = 0.2
"""The share of the images that become the test part where the data has none."""

TEST_SEED = 0
"""Fixed: two runs with different seeds must be scored on the same test images."""

TEST_NOTE = f"{TEST_FRACTION:.0%} of the images of each class, fixed by seed {TEST_SEED}, are the test part"
"""What a data set says about itself when its test part was made here."""


def stratified(
    labels: Tensor, fractions: Sequence[float], seed: int, classes: Sequence[str] | None = None
) -> list[Tensor]:
    """Disjoint random index sets in which each class has its share.

    Within each class the images get a random order and the quantiles (rank + 1/2) / count. All images are
    sorted by quantile and cut into consecutive parts: part sizes are exact, and class counts are within one
    image of their share.

    Args:
        labels: N class indices, int64.
        fractions: the share of each part; positive, with a sum of at most 1 (then every index is used).
        seed: the same seed gives the same parts.
        classes: class names for error messages; None: the indices.

    Returns:
        One sorted int64 tensor of indices for each fraction.

    Raises:
        InputError: a fraction is not positive, the sum exceeds 1, or a part would lack a class.
    """
    total = sum(fractions)
    if min(fractions) <= 0 or total > 1 + 1e-9:  # 1e-9: room for rounding, far less than one image
        raise InputError(f"fractions must be positive with a sum of at most 1, but got {list(fractions)}")
    count = torch.bincount(labels)
    order = torch.randperm(len(labels), generator=generator(seed, "split"))
    order = order[labels[order].argsort(stable=True)]  # class by class, random within each class
    start = count.cumsum(0) - count
    rank = torch.arange(len(labels)) - start[labels[order]]
    quantile = (rank + 0.5) / count[labels[order]]
    order = order[quantile.argsort(stable=True)]
    cuts = [round(sum(fractions[:k]) * len(labels)) for k in range(len(fractions) + 1)]
    parts = [order[a:b].sort().values for a, b in pairwise(cuts)]
    for part, fraction in zip(parts, fractions, strict=True):
        missing = torch.bincount(labels[part], minlength=len(count)).eq(0) & count.gt(0)
        if missing.any():
            label = int(missing.nonzero()[0])
            name = repr(classes[label]) if classes else label
            raise InputError(
                f"every part needs an image of each class, but class {name} has {int(count[label])} of "
                f"{len(labels)} images, and a part with the share {fraction:.3g} ({len(part)} images) would "
                "get none; add images of this class or give the part a larger share"
            )
    return parts


def train_test(labels: Tensor, classes: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Indices of the training and the test part, for data that comes without a test part."""
    train, test = stratified(labels, (1 - TEST_FRACTION, TEST_FRACTION), TEST_SEED, classes)
    return train, test


def holdout(dataset: Dataset, fraction: float, seed: int) -> tuple[Part, Part | None]:
    """The training images in two disjoint parts: what searches and trains, and the share that chooses the best epoch.

    Both the search and the training after it cut off this same part first, so that no image that moved a logit or
    a weight scores the network while it is trained. Only `dataset.train` is divided.

    Args:
        dataset: the images.
        fraction: the share of the second part; 0: there is none.
        seed: the same seed gives the same parts.

    Raises:
        InputError: the fraction is not between 0 and 1, or a class would be missing from a part.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"0 <= share of validation images < 1 must hold, but got {fraction}")
    if fraction == 0:
        return dataset.train, None
    kept, held = stratified(dataset.train.labels, (1 - fraction, fraction), seed, dataset.classes)
    return dataset.train.subset(kept), dataset.train.subset(held)


def search_halves(dataset: Dataset, validation: float, seed: int, split: int | None = None) -> tuple[Part, Part]:
    """The two halves of a search: images that train the weights, and images that move the logits.

    They share no image with each other, with the part that `holdout` cuts off, or with the test part.

    Args:
        dataset: the images.
        validation: the share that the training after the search holds out.
        seed: the same seed gives the same halves.
        split: decides the part that is held out; None: `seed`.

    Raises:
        InputError: a class would be missing from a half.
    """
    rest, _ = holdout(dataset, validation, seed if split is None else split)
    first, second = stratified(rest.labels, (0.5, 0.5), derive(seed, "halves"), dataset.classes)
    return rest.subset(first), rest.subset(second)
