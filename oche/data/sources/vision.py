"""The data sets that torchvision reads: CIFAR-10, CIFAR-100, SVHN and Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import datasets

from oche.data.augment import Augment
from oche.data.dataset import Dataset, Part
from oche.data.options import DataOptions
from oche.errors import InputError

_Pair = tuple[np.ndarray[Any, Any], Any]
"""Images as torchvision keeps them, and labels."""


def _cifar(kind: type[datasets.CIFAR10]) -> Callable[[Path, bool, bool], tuple[_Pair, tuple[str, ...]]]:
    def read(root: Path, train: bool, download: bool) -> tuple[_Pair, tuple[str, ...]]:
        found = kind(root, train=train, download=download)
        return (found.data.transpose(0, 3, 1, 2), found.targets), tuple(found.classes)

    return read


def _fashion_mnist(root: Path, train: bool, download: bool) -> tuple[_Pair, tuple[str, ...]]:
    found = datasets.FashionMNIST(root, train=train, download=download)
    return (found.data.numpy()[:, None], found.targets), tuple(found.classes)


def _svhn(root: Path, train: bool, download: bool) -> tuple[_Pair, tuple[str, ...]]:
    found = datasets.SVHN(root, split="train" if train else "test", download=download)
    return (found.data, found.labels), tuple("0123456789")


_SOURCES: dict[str, tuple[Callable[[Path, bool, bool], tuple[_Pair, tuple[str, ...]]], Augment]] = {
    "cifar10": (_cifar(datasets.CIFAR10), Augment(crop_padding=4, flip=True)),
    "cifar100": (_cifar(datasets.CIFAR100), Augment(crop_padding=4, flip=True)),
    "svhn": (_svhn, Augment(crop_padding=4)),  # a mirrored digit is no digit
    "fashion-mnist": (_fashion_mnist, Augment(crop_padding=4, flip=True)),
}

"""The names that `read` knows."""


def read(name: str, options: DataOptions) -> Dataset:
    """One of the data sets in `oche.data.options.KNOWN`, with its official test part.

    Raises:
        InputError: no directory is given, or the files in it are missing or damaged, or the download fails.
    """
    if options.root is None:
        raise InputError(
            "the directory of the downloaded files is not given; give it as --data.root DIR "
            "(and --data.download, if they are not there yet)"
        )
    root = Path(options.root).expanduser()
    source, augment = _SOURCES[name]
    try:
        train, classes = source(root, True, options.download)
        test, _ = source(root, False, options.download)
    except (RuntimeError, OSError, ValueError, AssertionError, EOFError) as error:
        # RuntimeError: absent files, or a bad checksum; OSError: a failed download; the others: damaged files
        cure = (
            "check the connection and that the directory is writable, or remove damaged files"
            if options.download
            else "download it with --data.download, or name another directory as --data.root DIR"
        )
        reason = str(error).partition(" You can use download=True")[0] or type(error).__name__
        raise InputError(f"it cannot be read from {root} ({reason}); {cure}") from error
    return Dataset(name=name, train=_part(*train), test=_part(*test), classes=classes, augment=augment)


def _part(images: np.ndarray[Any, Any], labels: Any) -> Part:
    return Part(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(np.asarray(labels, dtype=np.int64)))
