"""Image files that are decoded when they are needed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from oche.errors import InputError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Files with these suffixes are images; others in a directory are passed over."""

_GRAY = frozenset({"1", "L", "LA"})
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L", "F"})
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for a file that is missing, broken or no image (SyntaxError: a broken PNG)."""


@dataclass(frozen=True)
class ImageFiles:
    """Files below `root`, each of which decodes to `shape` = channels x height x width, uint8."""

    root: Path
    names: tuple[str, ...]
    shape: tuple[int, int, int]

    @classmethod
    def found(cls, root: Path, names: Sequence[str], size: tuple[int, int] | None) -> ImageFiles:
        """The files as images of one shape; reads the header of each, so that bad files show at once.

        Colour wins: one colour image among gray ones makes all of them three-channel.

        Args:
            root: the directory to which `names` are relative.
            names: paths of image files.
            size: height and width to which the images will be resized; None if they all have one size.

        Raises:
            InputError: a file is missing, is no image or has more than 8 bits; the sizes differ.
        """
        with ThreadPoolExecutor() as pool:
            headers = list(pool.map(lambda name: _header(root / name), names))
        if size is None:
            first = headers[0][1]
            for name, (_, other) in zip(names, headers, strict=True):
                if other != first:
                    raise InputError(
                        f"all images must have one size, but {names[0]} is {first[0]}x{first[1]} and "
                        f"{name} is {other[0]}x{other[1]} (height x width); resize them with "
                        f"--data.size {first[0]} {first[1]}"
                    )
            size = first
        channels = 1 if all(mode in _GRAY for mode, _ in headers) else 3
        return cls(root, tuple(names), (channels, *size))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def nbytes(self) -> int:
        """The size of all images after decoding, in bytes."""
        return len(self) * math.prod(self.shape)

    def subset(self, indices: Iterable[int]) -> ImageFiles:
        """The files at these positions."""
        return replace(self, names=tuple(self.names[i] for i in indices))

    def decode(self) -> Tensor:
        """All images: `N x C x H x W` uint8.

        Raises:
            InputError: a file cannot be decoded.
        """
        images = torch.empty(len(self), *self.shape, dtype=torch.uint8)
        with ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter lock
            for i, image in enumerate(pool.map(self._decode, self.names)):
                images[i] = image
        return images

    def read(self, indices: Iterable[int]) -> Tensor:
        """The images at these positions: `B x C x H x W` uint8, decoded one after the other.

        Raises:
            InputError: a file cannot be decoded.
        """
        return torch.stack([self._decode(self.names[i]) for i in indices])

    def _decode(self, name: str) -> Tensor:
        channels, height, width = self.shape
        try:
            with Image.open(self.root / name) as file:
                image = file.convert("L" if channels == 1 else "RGB")
        except _UNREADABLE as error:
            raise _unreadable(self.root / name, error) from error
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image).reshape(height, width, channels)).permute(2, 0, 1)


def _header(path: Path) -> tuple[str, tuple[int, int]]:
    """Pillow's mode, and height and width."""
    try:
        with Image.open(path) as image:
            mode, (width, height) = image.mode, image.size
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    if mode in _DEEP:
        raise InputError(f"images must have 8 bits per channel, but {path} has mode {mode}; convert it to 8 bits")
    return mode, (height, width)


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read as an image ({error}); replace the file or take it out of the data")
