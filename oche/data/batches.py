"""Epochs of batches, each a function of the seed, the epoch and the batch number alone.

A run can therefore be resumed at any batch, and data on the device gives the same numbers as streamed data.
"""

from __future__ import annotations

import copy
import math
import os
import signal
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol, TypeAlias, TypeVar, cast

import torch
from torch import Tensor
from torch.utils import data

from oche.data.augment import Augment
from oche.data.auto_augment import check_images
from oche.data.dataset import Part
from oche.data.images import ImageFiles
from oche.data.options import MEMORY_LIMIT
from oche.data.prepare import Normalize, prepare
from oche.errors import InputError
from oche.randomness import derive, generator

Batch: TypeAlias = tuple[Any, Tensor]
"""Inputs and targets on the device: images `B x C x H x W` float32 and B int64; or a `Window` of text and `B x T`."""

MAX_WORKERS = 8
"""More decoding processes by default would crowd a shared machine; `workers` asks for them."""


class Batches(Protocol):
    """Something that yields the batches of any epoch."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of this epoch (from 0), beginning with batch `start`."""


@dataclass(frozen=True)
class _Plan:
    """Which images come when."""

    images: int
    batch: int
    shuffle: bool
    drop_last: bool
    seed: int

    def __len__(self) -> int:
        return self.images // self.batch if self.drop_last else math.ceil(self.images / self.batch)

    def epoch(self, epoch: int) -> tuple[Tensor, ...]:
        """The image indices of each batch."""
        if self.shuffle:
            order = torch.randperm(self.images, generator=generator(self.seed, "order", epoch))
        else:
            order = torch.arange(self.images)
        return torch.split(order, self.batch)[: len(self)]


class DeviceBatches:
    """Batches of images that lie on the device as they are stored (uint8): one copy, then indexing."""

    def __init__(
        self, part: Part, plan: _Plan, normalize: Normalize, augment: Augment | None, device: torch.device
    ) -> None:
        assert isinstance(part.images, Tensor)
        self._images = part.images.to(device)
        self._labels = part.labels.to(device)
        self._plan, self._normalize, self._augment = plan, normalize, augment

    def __len__(self) -> int:
        return len(self._plan)

    def with_batch(self, batch: int) -> DeviceBatches:
        """The same images in batches of another size."""
        return _with_plan(self, replace(self._plan, batch=batch))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `Batches`."""
        for number, indices in enumerate(self._plan.epoch(epoch)[start:], start):
            indices = indices.to(self._images.device, non_blocking=True)
            draws = generator(self._plan.seed, "augment", epoch, number)
            images = self._images.index_select(0, indices)  # copies whole images, unlike [indices]
            yield prepare(images, self._normalize, self._augment, draws), self._labels[indices]


class StreamBatches:
    """Batches whose images are read (and decoded) when they are needed, then changed on the device."""

    def __init__(
        self,
        part: Part,
        plan: _Plan,
        normalize: Normalize,
        augment: Augment | None,
        device: torch.device,
        workers: int,
    ) -> None:
        self._part, self._plan, self._normalize, self._augment = part, plan, normalize, augment
        self._device, self._workers = device, workers

    def __len__(self) -> int:
        return len(self._plan)

    def with_batch(self, batch: int) -> StreamBatches:
        """The same images in batches of another size."""
        return _with_plan(self, replace(self._plan, batch=batch))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `Batches`."""
        loader: data.DataLoader[Batch | InputError] = data.DataLoader(
            _Reader(self._part),
            batch_size=None,  # one item of the sampler is already a whole batch
            sampler=self._plan.epoch(epoch)[start:],
            num_workers=self._workers,
            pin_memory=self._device.type == "cuda",
            generator=generator(self._plan.seed, "workers", epoch),  # or it would draw from the global one
            worker_init_fn=_leave_signals_to_parent,
        )
        for number, item in enumerate(loader, start):
            if isinstance(item, InputError):
                raise item
            images, labels = item
            images = images.to(self._device, non_blocking=True)
            draws = generator(self._plan.seed, "augment", epoch, number)
            yield (
                prepare(images, self._normalize, self._augment, draws),
                labels.to(self._device, non_blocking=True),
            )


_Own = TypeVar("_Own", DeviceBatches, StreamBatches)


def _with_plan(batches: _Own, plan: _Plan) -> _Own:
    other = copy.copy(batches)
    other._plan = plan
    return other


def _leave_signals_to_parent(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach all processes; the parent saves, and ends its workers when it is done."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class _Reader(data.Dataset[Batch | InputError]):
    """Reads whole batches; an error is a value, because a worker would wrap its message in a traceback."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def __getitem__(self, indices: Tensor) -> Batch | InputError:
        try:
            return self._part.read(indices), self._part.labels[indices]
        except InputError as error:
            return error


class IterableBatches:
    """A user's own iterable of (inputs, targets) with a length, such as a PyTorch `DataLoader`.

    While the iterable runs, PyTorch's global CPU generator has a state that depends on the seed and the
    epoch, and is put back afterwards; a generator of a `DataLoader`'s own is seeded likewise. The order and the
    transforms of a usual `DataLoader` are therefore repeatable; an iterable that draws from elsewhere (NumPy,
    workers that persist over epochs) has to see to that itself.

    Raises:
        InputError: the iterable has no length, is empty, or yields something else than pairs of tensors.
    """

    def __init__(self, loader: Iterable[object], device: torch.device, seed: int = 0) -> None:
        try:
            length = len(cast(Sized, loader))
        except TypeError as error:  # also a DataLoader over a data set without length
            raise InputError(
                f"batches need a length, but {type(loader).__name__} has none; give a DataLoader over a data "
                "set with a length, or a list of batches"
            ) from error
        if length == 0:
            raise InputError(
                f"at least one batch is needed, but this {type(loader).__name__} has none; "
                "use a smaller batch or drop_last=False"
            )
        self._loader, self._length = loader, length
        self._device, self._seed = device, seed

    def __len__(self) -> int:
        return self._length

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `Batches`; the batches before `start` are computed and thrown away."""
        for item in islice(self._isolated(epoch), start, None):
            pair = item if isinstance(item, tuple | list) else ()
            if len(pair) != 2 or not all(isinstance(value, Tensor) for value in pair):
                raise InputError(
                    f"each batch must be a pair of tensors (inputs, targets), but got {type(item).__name__}; "
                    "wrap the loader in a generator with a length that yields pairs"
                )
            inputs, targets = pair
            yield inputs.to(self._device, non_blocking=True), targets.to(self._device, non_blocking=True)

    def _isolated(self, epoch: int) -> Iterator[object]:
        inner = generator(self._seed, "loader", epoch).get_state()
        if isinstance(self._loader, data.DataLoader):
            for name, own in (("loader", self._loader.generator), ("sampler", _generator_of(self._loader.sampler))):
                if own is not None:
                    own.manual_seed(derive(self._seed, f"own {name}", epoch))
        iterator: Iterator[object] | None = None
        end, yielded = object(), False
        while True:
            outer = torch.get_rng_state()
            torch.set_rng_state(inner)
            try:
                iterator = iter(self._loader) if iterator is None else iterator
                item = next(iterator, end)
            finally:
                inner = torch.get_rng_state()
                torch.set_rng_state(outer)
            if item is end:
                if not yielded:
                    raise InputError(
                        f"this {type(self._loader).__name__} yields no batch in epoch {epoch + 1}; "
                        "give something that can be iterated again and again, such as a DataLoader or a list"
                    )
                return
            yielded = True
            yield item


def _generator_of(sampler: object) -> torch.Generator | None:
    return sampler.generator if isinstance(sampler, data.RandomSampler | data.WeightedRandomSampler) else None


PartBatches: TypeAlias = DeviceBatches | StreamBatches
"""Batches of a part of a data set."""


def batches(
    part: Part,
    *,
    batch: int,
    normalize: Normalize,
    augment: Augment | None = None,
    shuffle: bool,
    drop_last: bool,
    seed: int,
    device: torch.device,
    stream: bool | None = None,
    workers: int | None = None,
) -> PartBatches:
    """Batches of a part on a device.

    Args:
        part: the images.
        batch: images in a batch.
        normalize: statistics of the training images.
        augment: random changes; None for none.
        shuffle: a new random order in each epoch; otherwise the order of the part.
        drop_last: leave out the last batch where it would be smaller.
        seed: decides order and changes; give parts that are used together different seeds.
        device: where the batches go.
        stream: read images when needed; None: for files, and for arrays larger than `MEMORY_LIMIT`.
        workers: processes that decode files; None: half of the CPU cores, at most `MAX_WORKERS`.

    Raises:
        InputError: no batch can be formed, files cannot be put on the device as they are, or AutoAugment cannot treat
            the images.
    """
    if augment is not None and augment.auto_augment:
        check_images(part)
    if batch < 1 or (drop_last and batch > len(part)):
        raise InputError(
            f"a batch needs between 1 and {len(part)} images, as many as there are, but got batch={batch}; "
            f"give --search.batch or --train.batch {min(64, len(part))}, or more images"
        )
    files = isinstance(part.images, ImageFiles)
    if stream is None:
        stream = files or part.nbytes > MEMORY_LIMIT
    if files and not stream:
        raise InputError(
            f"stream=False needs images in memory, but these {len(part)} images are files; "
            "load them with --data.no-stream"
        )
    plan = _Plan(len(part), batch, shuffle, drop_last, seed)
    if not stream:
        return DeviceBatches(part, plan, normalize, augment, device)
    if workers is None:
        workers = min(MAX_WORKERS, (os.cpu_count() or 1) // 2) if files else 0
    return StreamBatches(part, plan, normalize, augment, device, workers)
