import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from oche.data.augment import Augment
from oche.data.batches import Batches, DeviceBatches, IterableBatches, StreamBatches, batches
from oche.data.dataset import Part
from oche.data.images import ImageFiles
from oche.data.prepare import Normalize
from oche.errors import InputError

CPU = torch.device("cpu")
FULL = Augment(crop_padding=2, flip=True, cutout=4)
AUTO = Augment(crop_padding=2, flip=True, cutout=4, auto_augment=True)
PLAIN = Normalize((0.0,), (1.0,))


def part(count: int = 50, channels: int = 1) -> Part:
    """The first pixel of image i holds i, so that the order of a batch can be read off."""
    images = torch.randint(256, (count, channels, 6, 8), dtype=torch.uint8)
    images[:, :, 0, 0] = torch.arange(count)[:, None]
    return Part(images, torch.arange(count))


def make(
    of: Part,
    *,
    augment: Augment | None = None,
    shuffle: bool = True,
    stream: bool | None = None,
    seed: int = 0,
) -> Batches:
    channels = of.shape[0]
    return batches(
        of,
        batch=16,
        normalize=Normalize((120.0,) * channels, (60.0,) * channels),
        augment=augment,
        shuffle=shuffle,
        drop_last=False,
        seed=seed,
        device=CPU,
        stream=stream,
    )


def same(left: list[tuple[Tensor, Tensor]], right: list[tuple[Tensor, Tensor]]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("augment", [None, FULL, AUTO])
def test_streamed_batches_equal_those_on_the_device(channels: int, shuffle: bool, augment: Augment | None) -> None:
    images = part(channels=channels)
    device = make(images, augment=augment, shuffle=shuffle, stream=False)
    stream = make(images, augment=augment, shuffle=shuffle, stream=True)
    assert isinstance(device, DeviceBatches)
    assert isinstance(stream, StreamBatches)
    for epoch in range(2):
        assert same(list(device.epoch(epoch)), list(stream.epoch(epoch)))


def test_image_files_are_streamed_as_if_in_memory(tmp_path: Path) -> None:
    memory = part(channels=3)
    for i, image in enumerate(memory.read(torch.arange(50))):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i:02}.png")
    names = [f"{i:02}.png" for i in range(50)]
    files = Part(ImageFiles.found(tmp_path, names, None), memory.labels)
    streamed = batches(
        files.subset(torch.arange(40)),
        batch=16,
        normalize=Normalize((120.0,) * 3, (60.0,) * 3),
        augment=FULL,
        shuffle=True,
        drop_last=False,
        seed=0,
        device=CPU,
        workers=0,
    )
    assert isinstance(streamed, StreamBatches)
    assert same(list(streamed.epoch(1)), list(make(memory.subset(torch.arange(40)), augment=FULL).epoch(1)))
    assert Normalize.of(files) == Normalize.of(memory)


@pytest.mark.parametrize("stream", [False, True])
def test_an_epoch_depends_on_seed_and_epoch_alone(stream: bool) -> None:
    images = part()
    first = make(images, augment=FULL, stream=stream)
    epochs = [list(first.epoch(e)) for e in range(3)]
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again = make(images, augment=FULL, stream=stream)
    assert same(list(again.epoch(2)), epochs[2])  # without the epochs before it
    assert same(list(again.epoch(2, start=1)), epochs[2][1:])  # and from the middle
    assert torch.equal(torch.get_rng_state(), before)  # nobody else's randomness is used
    assert not same(epochs[0], epochs[1])
    assert not same(list(make(images, augment=FULL, stream=stream, seed=1).epoch(0)), epochs[0])


def test_augmentation_changes_with_the_epoch_even_in_a_fixed_order() -> None:
    fixed = make(part(), augment=FULL, shuffle=False)
    (first, labels), (second, again) = next(fixed.epoch(0)), next(fixed.epoch(1))
    assert torch.equal(labels, again)
    assert not torch.equal(first, second)


def test_each_image_comes_once_with_its_label() -> None:
    of = part()
    loader = batches(of, batch=16, normalize=PLAIN, shuffle=True, drop_last=False, seed=0, device=CPU)
    found = list(loader.epoch(0))
    labels = torch.cat([y for _, y in found])
    assert torch.equal(labels.sort().values, of.labels)
    assert torch.equal(torch.cat([x for x, _ in found])[:, 0, 0, 0].long(), labels)
    assert not torch.equal(labels, of.labels)


@pytest.mark.parametrize(("drop_last", "expected"), [(True, [16, 16, 16]), (False, [16, 16, 16, 2])])
@pytest.mark.parametrize("stream", [False, True])
def test_the_last_batch_is_dropped_on_request(drop_last: bool, expected: list[int], stream: bool) -> None:
    loader = batches(
        part(),
        batch=16,
        normalize=PLAIN,
        shuffle=True,
        drop_last=drop_last,
        seed=0,
        device=CPU,
        stream=stream,
    )
    assert [len(y) for _, y in loader.epoch(0)] == expected
    assert len(loader) == len(expected)


@pytest.mark.parametrize("stream", [False, True])
def test_auto_augmentation_is_the_same_from_the_middle_of_an_epoch(stream: bool) -> None:
    images = part(channels=3)
    whole = list(make(images, augment=AUTO, stream=stream).epoch(2))
    torch.rand(3)  # whatever else is drawn
    before = torch.get_rng_state()
    assert same(list(make(images, augment=AUTO, stream=stream).epoch(2, start=2)), whole[2:])
    assert torch.equal(torch.get_rng_state(), before)
    assert not same(list(make(images, augment=FULL, stream=stream).epoch(2)), whole)
    assert not same(list(make(images, augment=AUTO, stream=stream, seed=1).epoch(2)), whole)


def test_images_that_auto_augmentation_cannot_treat_are_refused() -> None:
    two = Part(torch.zeros(20, 2, 6, 8, dtype=torch.uint8), torch.arange(20))
    with pytest.raises(InputError, match=r"these have 2 channels of uint8; turn it off with --train.no-auto-augment"):
        make(two, augment=AUTO)
    real = Part(torch.zeros(20, 3, 6, 8), torch.arange(20))
    with pytest.raises(InputError, match="these have 3 channels of float32"):
        make(real, augment=AUTO)
    for fine in (two, real):
        make(fine, augment=FULL)


@pytest.mark.parametrize(("batch", "drop_last"), [(51, True), (0, True), (0, False), (-1, False)])
def test_an_impossible_batch_is_refused(batch: int, drop_last: bool) -> None:
    with pytest.raises(InputError, match=rf"between 1 and 50 images.*got batch={batch}; give --search.batch"):
        batches(part(), batch=batch, normalize=PLAIN, shuffle=True, drop_last=drop_last, seed=0, device=CPU)


def test_files_are_not_put_on_the_device(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    files = Part(ImageFiles.found(tmp_path, ["a.png"], None), torch.tensor([0]))
    with pytest.raises(InputError, match=r"--data\.no-stream"):
        batches(files, batch=1, normalize=PLAIN, shuffle=True, drop_last=True, seed=0, device=CPU, stream=False)


def noisy_loader() -> DataLoader[tuple[Tensor, ...]]:
    """A user's loader: shuffled, with noise from PyTorch's global generator."""
    data = TensorDataset(torch.arange(20.0), torch.arange(20))

    def collate(items: list[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
        x, y = (torch.stack(column) for column in zip(*items, strict=True))
        return x + torch.rand(len(x)), y

    return DataLoader(data, batch_size=6, shuffle=True, collate_fn=collate)


class Endless(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter(())


def test_a_users_loader_is_repeatable_too() -> None:
    wrapped = IterableBatches(noisy_loader(), CPU, seed=1)
    assert len(wrapped) == math.ceil(20 / 6)
    epochs = [list(wrapped.epoch(e)) for e in range(2)]
    before = torch.manual_seed(9).get_state()
    assert same(list(IterableBatches(noisy_loader(), CPU, seed=1).epoch(1)), epochs[1])
    assert same(list(wrapped.epoch(1, start=2)), epochs[1][2:])
    assert torch.equal(torch.get_rng_state(), before)
    assert not same(epochs[0], epochs[1])


def test_a_users_loader_draws_anew_for_each_batch() -> None:
    noise = [x - y for x, y in IterableBatches(noisy_loader(), CPU).epoch(0)]
    assert (noise[1] - noise[2]).abs().min() > 1e-4  # beyond rounding


def test_drawing_between_batches_does_not_disturb_a_users_loader() -> None:
    calm = list(IterableBatches(noisy_loader(), CPU).epoch(0))
    disturbed = []
    for pair in IterableBatches(noisy_loader(), CPU).epoch(0):
        torch.rand(3)
        disturbed.append(pair)
    assert same(calm, disturbed)


def test_loaders_that_cannot_serve_are_refused() -> None:
    with pytest.raises(InputError, match="generator has none"):
        IterableBatches((i for i in range(3)), CPU)
    with pytest.raises(InputError, match="DataLoader has none"):
        IterableBatches(DataLoader(Endless()), CPU)
    with pytest.raises(InputError, match="at least one batch"):
        IterableBatches([], CPU)
    for item in (torch.zeros(2), (torch.zeros(2),), (torch.zeros(2), "a"), {"x": 1, "y": 2}):
        with pytest.raises(InputError, match="pair of tensors"):
            list(IterableBatches([item], CPU).epoch(0))


def test_a_loader_that_runs_only_once_is_refused() -> None:
    class Once:
        """An iterator with a length: its second epoch is empty."""

        def __init__(self) -> None:
            self.left = [(torch.zeros(2), torch.zeros(2))]

        def __len__(self) -> int:
            return 1

        def __iter__(self) -> "Once":
            return self

        def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
            if not self.left:
                raise StopIteration
            return self.left.pop()

    loader = IterableBatches(Once(), CPU)
    assert len(list(loader.epoch(0))) == 1
    with pytest.raises(InputError, match=r"Once yields no batch in epoch 2"):
        list(loader.epoch(1))
