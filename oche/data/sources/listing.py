"""Lists of image files, as a directory or a CSV file gives them, made into a data set."""

from __future__ import annotations

from pathlib import Path

import torch

from oche.data.augment import cautious
from oche.data.dataset import Dataset, Part
from oche.data.images import ImageFiles
from oche.data.options import MEMORY_LIMIT, DataOptions
from oche.data.split import TEST_NOTE, train_test

Listing = list[tuple[str, str]]
"""Path (relative to a root) and class name of each image."""


def dataset(name: str, root: Path, train: Listing, test: Listing | None, options: DataOptions) -> Dataset:
    """The listed files; decoded into memory at once where they are small in total.

    Args:
        name: for reports.
        root: the directory to which paths are relative.
        train: training images, or all images if there is no test list.
        test: test images; None: a fixed stratified share of `train` becomes the test part.
        options: `size` and `stream` are used.

    Raises:
        InputError: a file cannot be read, sizes differ, or a class has too few images to be split.
    """
    listing = train + (test or [])
    classes = class_names(listing)
    files = ImageFiles.found(root, [path for path, _ in listing], options.size)
    stream = files.nbytes > MEMORY_LIMIT if options.stream is None else options.stream
    number = {label: i for i, label in enumerate(classes)}
    whole = Part(
        files if stream else files.decode(),
        torch.tensor([number[label] for _, label in listing], dtype=torch.int64),
    )
    notes: tuple[str, ...] = ()
    if test is None:
        train_indices, test_indices = train_test(whole.labels, classes)
        notes = (f"the data has no test part: {TEST_NOTE}",)
    else:
        train_indices, test_indices = torch.split(torch.arange(len(listing)), [len(train), len(test)])
    return Dataset(
        name=name,
        train=whole.subset(train_indices),
        test=whole.subset(test_indices),
        classes=classes,
        augment=cautious(*whole.shape[1:]),
        notes=notes,
    )


def class_names(listing: Listing) -> tuple[str, ...]:
    """The class names in order: by value if all are numbers, else by letter."""
    names = sorted({label for _, label in listing})
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else names)
