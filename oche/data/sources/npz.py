"""Arrays in a NumPy file: `x_train`, `y_train`, `x_test`, `y_test`."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oche.data.augment import cautious
from oche.data.dataset import Dataset, Part
from oche.errors import InputError

_NAMES = ("x_train", "y_train", "x_test", "y_test")
_CHANNELS = (1, 3)

_Array = np.ndarray[Any, Any]


def read(path: Path) -> Dataset:
    """The arrays of a file.

    Images are uint8 or floating-point, `N x H x W`, `N x H x W x C` or `N x C x H x W` with 1 or 3 channels.
    Labels are integers, N or `N x 1`; the largest training label decides the number of classes.

    Raises:
        InputError: the file cannot be read, an array is missing, or its type or shape is another one.
    """
    try:
        # opened here, because np.load leaves a broken file open
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            missing = [name for name in _NAMES if name not in file]
            if missing:
                raise InputError(
                    f"the file needs the arrays {', '.join(_NAMES)}, but {', '.join(missing)} "
                    f"is missing among {', '.join(file) or 'no arrays'}; "
                    "write it by numpy.savez(FILE, x_train=..., y_train=..., x_test=..., y_test=...)"
                )
            arrays = {name: file[name] for name in _NAMES}
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        EOFError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        # TypeError and AttributeError: a single array (.npy) under this name
        raise InputError(
            f"it cannot be read as a NumPy .npz file ({error}); write it again by numpy.savez, "
            "without arrays of Python objects"
        ) from error
    axis = _channel_axis(arrays["x_train"])
    train, test = (
        Part(_images(f"x_{which}", arrays[f"x_{which}"], axis), _labels(f"y_{which}", arrays[f"y_{which}"]))
        for which in ("train", "test")
    )
    highest = int(train.labels.max())
    if highest >= len(train):  # also keeps a stray label from making a billion classes
        raise InputError(
            f"labels must number the classes from 0 without gaps, but y_train goes up to {highest} for "
            f"{len(train)} images; renumber it by numpy.unique(y_train, return_inverse=True)"
        )
    classes = tuple(str(label) for label in range(highest + 1))
    return Dataset(name=path.stem, train=train, test=test, classes=classes, augment=cautious(*train.shape[1:]))


def _channel_axis(images: _Array) -> int | None:
    """The axis that holds the channels; None for `N x H x W`."""
    if images.ndim == 3:
        return None
    axes = [axis for axis in (1, 3) if images.ndim == 4 and images.shape[axis] in _CHANNELS]
    if len(axes) != 1:
        why = "both axes fit" if axes else "it has neither"
        raise InputError(
            "images must be N x H x W, N x H x W x C or N x C x H x W with 1 or 3 channels, but x_train has "
            f"the shape {images.shape} and {why}; remove or move an axis, for example by numpy.moveaxis"
        )
    return axes[0]


def _images(name: str, images: _Array, axis: int | None) -> torch.Tensor:
    if images.ndim != (3 if axis is None else 4):
        raise InputError(
            f"x_train and x_test must have the same number of axes, but {name} has the shape {images.shape}"
        )
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise InputError(
            f"images must be uint8 or floating-point, but {name} is {images.dtype}; "
            f"convert values 0..255 by {name}.astype('uint8')"
        )
    kind = np.uint8 if images.dtype == np.uint8 else np.float32
    channels_first = images[:, None] if axis is None else np.moveaxis(images, axis, 1)
    return torch.from_numpy(np.ascontiguousarray(channels_first, dtype=kind))


def _labels(name: str, labels: _Array) -> torch.Tensor:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"labels must be one integer for each image, but {name} has the shape {labels.shape} and type "
            f"{labels.dtype}; number the classes from 0 and use {name}.astype('int64')"
        )
    return torch.from_numpy(labels.astype(np.int64))
