"""A directory of images: `train/CLASS/*` and `test/CLASS/*`, or only `CLASS/*`."""

from __future__ import annotations

from pathlib import Path

from oche.data.dataset import Dataset
from oche.data.images import SUFFIXES
from oche.data.options import DataOptions
from oche.data.sources.listing import Listing, dataset
from oche.errors import InputError


def read(path: Path, options: DataOptions) -> Dataset:
    """The images of a directory; classes are the names of sub-directories, hidden ones are passed over.

    Raises:
        InputError: only one of `train` and `test` is there, a class has no image; and as `listing.dataset`.
    """
    parts = [name for name in ("train", "test") if (path / name).is_dir()]
    if len(parts) == 1:
        other = "test" if parts == ["train"] else "train"
        raise InputError(
            f"the directory has {parts[0]}/ but no {other}/; add it, or give the directory "
            f"{path / parts[0]}, of which 20 % become the test part"
        )
    name = path.resolve().name
    if parts:
        return dataset(name, path, _images(path, path / "train"), _images(path, path / "test"), options)
    return dataset(name, path, _images(path, path), None, options)


def _images(root: Path, folder: Path) -> Listing:
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise InputError(
            f"{folder} has no sub-directories; put the images of each class into {folder}/CLASS/, or give a text as "
            "train.txt, valid.txt and test.txt"
        )
    listing: Listing = []
    for directory in classes:
        images = sorted(file for file in directory.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not images:
            raise InputError(
                f"{directory} is a class without images; add images ({', '.join(sorted(SUFFIXES))}) "
                "or remove the directory"
            )
        listing += [(file.relative_to(root).as_posix(), directory.name) for file in images]
    return listing
