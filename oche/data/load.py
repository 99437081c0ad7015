"""From the name or path of a data set to its images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from oche.data.dataset import Dataset
from oche.data.images import ImageFiles
from oche.data.kind import is_text
from oche.data.options import DOWNLOADS, IMAGES, KNOWN, MEMORY_LIMIT, PATHS, DataOptions
from oche.data.split import stratified
from oche.errors import InputError, unknown


def load(name: str, options: DataOptions | None = None, seed: int = 0) -> Dataset:
    """The images with this name, or at this path, checked from end to end.

    Args:
        name: one of `IMAGES`, an .npz or .csv file, or a directory of images.
        options: how to find, cut and change the data; None: the defaults.
        seed: chooses the training images where `options.limit` leaves some out. A test part that has to be
            cut off does not depend on it.

    Raises:
        InputError: the data cannot be found, read or used; the message names it, says why and what to do.
    """
    options = options or DataOptions()
    try:
        dataset = _read(name, options)
        return _adjusted(dataset, options, seed)
    except InputError as error:
        raise InputError(f"data {name!r}: {error}") from error


def _read(name: str, options: DataOptions) -> Dataset:
    """Sources are imported where they are used: scikit-learn alone takes a second."""
    if is_text(name):
        raise InputError("it is a text, but images are needed here; give images, such as digits")
    path = Path(name).expanduser()
    _refuse_ignored(name, path, options)
    if options.size is not None and (name in IMAGES or path.suffix.lower() == ".npz"):
        raise InputError(f"--data.size {options.size[0]} {options.size[1]} resizes image files only; leave it out")
    if name == "digits":
        from oche.data.sources import digits

        return digits.read()
    if name in IMAGES:
        from oche.data.sources import vision

        return vision.read(name, options)
    if path.is_dir():
        from oche.data.sources import folder

        return folder.read(path, options)
    if path.suffix.lower() in (".npz", ".csv"):
        if not path.is_file():
            raise InputError(f"there is no such file (looked in {path.parent.resolve()}); check the path")
        from oche.data.sources import npz, table

        return npz.read(path) if path.suffix.lower() == ".npz" else table.read(path, options)
    raise unknown("data set", name, (*KNOWN, *PATHS))


def _refuse_ignored(name: str, path: Path, options: DataOptions) -> None:
    """Refuse what would be ignored, whatever the images are."""
    if options.vocabulary is not None:
        raise InputError(
            f"--data.vocabulary {options.vocabulary} is for a text and would be ignored here; leave it out"
        )
    file = path.is_dir() or path.suffix.lower() in (".npz", ".csv")
    if name == "digits" or (name not in DOWNLOADS and file):
        if options.root is not None:
            raise InputError(
                f"--data.root {options.root} is for data that can be downloaded ({', '.join(DOWNLOADS)}) and would be "
                "ignored here; leave it out, and give a file or a directory by its path"
            )
        if options.download:
            raise InputError(f"--data.download is for {', '.join(DOWNLOADS)} and would be ignored here; leave it out")
    if options.workers is not None and options.stream is False:
        raise InputError(
            f"--data.workers {options.workers} is for streamed images, but --data.no-stream keeps them in memory; "
            "leave out one of them"
        )


def _adjusted(dataset: Dataset, options: DataOptions, seed: int) -> Dataset:
    augment = dataset.augment
    if options.flip is not None:
        augment = replace(augment, flip=options.flip)
    if options.crop_padding is not None:
        augment = replace(augment, crop_padding=options.crop_padding)
    train, notes = dataset.train, dataset.notes
    if options.limit is not None and options.limit < len(dataset.train):
        classes = len(dataset.classes)
        if options.limit < classes:
            raise InputError(
                f"the limit must leave an image of each of the {classes} classes, but got {options.limit}; "
                f"give --data.limit {classes} or more"
            )
        (kept,) = stratified(train.labels, [options.limit / len(train)], seed, dataset.classes)
        train = train.subset(kept)
    streams = isinstance(train.images, ImageFiles) or train.nbytes > MEMORY_LIMIT or options.stream
    if options.workers is not None and not streams:
        notes += (
            f"warning: --data.workers {options.workers} is ignored, because these images are small enough to stay in "
            "memory; leave it out, or add --data.stream",
        )
    return replace(dataset, train=train, augment=augment, notes=notes, stream=options.stream, workers=options.workers)
