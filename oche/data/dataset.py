"""Labelled images: a part (train, test, one half of a search), and a data set made of two parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from oche.data.augment import Augment
from oche.data.images import ImageFiles
from oche.errors import InputError
from oche.medium import IMAGES, Medium
from oche.task import ImageTask


@dataclass(frozen=True, eq=False)
class Part:
    """Images with one label each.

    Attributes:
        images: `N x C x H x W`, uint8 (0..255) or float32, in memory; or files that are decoded when read.
        labels: N class indices, int64, on the CPU.

    Raises:
        InputError: there are no images, the lengths differ, or a type or number of dimensions is another one.
    """

    images: Tensor | ImageFiles
    labels: Tensor

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if isinstance(images, Tensor) and (images.ndim != 4 or images.dtype not in (torch.uint8, torch.float32)):
            raise InputError(
                "images must be N x C x H x W, uint8 or float32, but got "
                f"{tuple(images.shape)} of {images.dtype}; convert them first"
            )
        if labels.ndim != 1 or labels.dtype != torch.int64:
            raise InputError(
                f"labels must be one int64 for each image, but got {tuple(labels.shape)} of {labels.dtype}; "
                "give class indices from 0"
            )
        if len(images) != len(labels):
            raise InputError(f"each image needs a label, but got {len(images)} images and {len(labels)} labels")
        if len(images) == 0:
            raise InputError("a part of a data set needs at least one image, but got none")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of each image."""
        channels, height, width = self.images.shape[-3:]
        return channels, height, width

    @property
    def dtype(self) -> torch.dtype:
        """The type of the raw pixels; files decode to uint8."""
        return self.images.dtype if isinstance(self.images, Tensor) else torch.uint8

    @property
    def nbytes(self) -> int:
        """The size of the decoded images in bytes."""
        return self.images.nbytes

    def subset(self, indices: Tensor) -> Part:
        """The images and labels at these positions; images in memory are copied."""
        if isinstance(self.images, ImageFiles):
            return Part(self.images.subset(indices.tolist()), self.labels[indices])
        return Part(self.read(indices), self.labels[indices])

    def read(self, indices: Tensor) -> Tensor:
        """The images at these positions, `B x C x H x W`, decoded but not changed."""
        if isinstance(self.images, ImageFiles):
            return self.images.read(indices.tolist())
        return self.images.index_select(0, indices)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training part, a test part and what is known about them.

    Attributes:
        name: for reports.
        train: what searches and training may see.
        test: what scores the result, and nothing else.
        classes: the class names in the order of the labels.
        augment: the training augmentation that suits these images.
        stream: whether batches read images when needed; None: decided by their size.
        workers: processes that decode streamed files; None: decided by the machine.
        notes: sentences a report should repeat, such as how a missing test part was made.

    Raises:
        InputError: fewer than two classes; a label without class; a class without training image; parts of
            different shapes or types; NaN or inf; a crop padding as large as the image.
    """

    name: str
    train: Part
    test: Part
    classes: tuple[str, ...]
    augment: Augment
    notes: tuple[str, ...] = ()
    stream: bool | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise InputError(
                f"a data set needs at least 2 classes, but got {self.classes}; add images of another class"
            )
        train, test = ((*part.shape, part.dtype) for part in (self.train, self.test))
        if train != test:
            raise InputError(
                "training and test images must agree in channels, height, width and type, but got "
                f"{train} and {test}; convert one of them"
            )
        for which, part in (("training", self.train), ("test", self.test)):
            low, high = int(part.labels.min()), int(part.labels.max())
            if low < 0 or high >= len(self.classes):
                raise InputError(
                    f"{len(self.classes)} classes have the labels 0..{len(self.classes) - 1}, but the "
                    f"{which} labels run from {low} to {high}; number the classes from 0"
                )
            if isinstance(part.images, Tensor) and not _finite(part.images):
                raise InputError(
                    f"pixels must be finite, but the {which} images hold NaN or inf; "
                    "replace them, for example by numpy.nan_to_num"
                )
        counts = torch.bincount(self.train.labels, minlength=len(self.classes)).tolist()
        if 0 in counts:
            absent = counts.index(0)
            raise InputError(
                f"every class needs a training image, but class {self.classes[absent]!r} (label {absent}) "
                "has none; add images of it, or leave the class out and number the others from 0"
            )
        if self.augment.crop_padding >= self.task.side:
            raise InputError(
                f"crop_padding must be smaller than the image, but got {self.augment.crop_padding} for "
                f"{self.task.height}x{self.task.width} pixels; give --data.crop-padding {self.task.side // 8}"
            )

    @property
    def medium(self) -> Medium:
        """Images."""
        return IMAGES

    @cached_property
    def task(self) -> ImageTask:
        """The shapes that a network for these images must have."""
        channels, height, width = self.train.shape
        return ImageTask(channels=channels, height=height, width=width, classes=len(self.classes))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal: the same exactly if classes, labels and images are the same.

        Images in memory count by their pixels; streamed files by name, size and time of modification, since
        reading them all would take as long as an epoch.
        """
        digest = hashlib.sha256(repr((self.classes, self.train.shape)).encode())
        for part in (self.train, self.test):
            digest.update(_bytes(part.labels))
            for piece in _pieces(part.images):
                digest.update(piece)
        return digest.hexdigest()


_CHUNK = 4096
"""Images looked at together, to keep temporary memory small beside the images themselves."""


def _finite(images: Tensor) -> bool:
    return images.dtype == torch.uint8 or all(bool(c.isfinite().all()) for c in torch.split(images, _CHUNK))


def _pieces(images: Tensor | ImageFiles) -> Iterator[bytes]:
    if isinstance(images, Tensor):
        yield str((images.dtype, len(images))).encode()
        yield from map(_bytes, torch.split(images, _CHUNK))
    else:
        for name in images.names:
            stat = (images.root / name).stat()
            yield repr((name, stat.st_size, stat.st_mtime_ns)).encode()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()
