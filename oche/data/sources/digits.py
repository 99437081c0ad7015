"""The handwritten digits that come with scikit-learn: 1,797 images of 8x8 pixels, offline."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from oche.data.augment import Augment
from oche.data.dataset import Dataset, Part
from oche.data.split import TEST_NOTE, train_test

_CLASSES = tuple("0123456789")
_LEVELS = 16  # the stored values are counts 0..16


def read() -> Dataset:
    """The digits as uint8, 80 % of each class for training."""
    rows = np.loadtxt(_file(), delimiter=",")  # 64 pixels and the label
    pixels = np.round(rows[:, :-1].reshape(-1, 1, 8, 8) * (255 / _LEVELS)).astype(np.uint8)
    part = Part(torch.from_numpy(pixels), torch.from_numpy(rows[:, -1].astype(np.int64)))
    train, test = train_test(part.labels, _CLASSES)
    return Dataset(
        name="digits",
        train=part.subset(train),
        test=part.subset(test),
        classes=_CLASSES,
        augment=Augment(crop_padding=1),
        notes=(TEST_NOTE,),
    )


def _file() -> Path:
    """The file that `sklearn.datasets.load_digits` reads, found without the 1.5 s of importing scikit-learn."""
    spec = find_spec("sklearn")
    assert spec is not None  # a dependency
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
