import numpy as np
import pytest
import torch
from torch import Tensor

from oche.data.augment import Augment, cautious, crop, cutout, flip
from oche.data.dataset import Part
from oche.data.prepare import Normalize, prepare
from oche.errors import InputError
from oche.randomness import generator

SHAPES = [(3, 32, 32), (1, 8, 8), (1, 5, 9), (3, 12, 7)]
BATCH = 40


def pixels(shape: tuple[int, int, int], count: int = BATCH) -> Tensor:
    return torch.randint(1, 256, (count, *shape), dtype=torch.uint8, generator=generator(0, "pixels"))


def integers(bound: int, purpose: str) -> Tensor:
    return torch.randint(bound, (BATCH,), generator=generator(0, purpose))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_crop_equals_padding_and_slicing_each_image(shape: tuple[int, int, int], kind: torch.dtype) -> None:
    images, padding = pixels(shape).to(kind), 3
    top, left = integers(7, "top"), integers(7, "left")
    cropped = crop(images, padding, top, left)
    assert cropped.dtype == kind
    for image, result, y, x in zip(images.numpy(), cropped.numpy(), top, left, strict=True):
        padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
        np.testing.assert_array_equal(result, padded[:, y : y + shape[1], x : x + shape[2]])


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_equals_mirroring_each_image(shape: tuple[int, int, int]) -> None:
    images, mirrored = pixels(shape), integers(2, "mirrored")
    for image, result, mirror in zip(images.numpy(), flip(images, mirrored).numpy(), mirrored, strict=True):
        np.testing.assert_array_equal(result, image[:, :, ::-1] if mirror else image)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 4, 5, 16])
def test_cutout_equals_the_public_darts_code(shape: tuple[int, int, int], size: int) -> None:
    images = pixels(shape).float()
    row, column = integers(shape[1], "row"), integers(shape[2], "column")
    for image, result, y, x in zip(
        images.numpy().copy(), cutout(images.clone(), size, row, column).numpy(), row, column, strict=True
    ):
        # The public code writes y + size // 2 as the end, which is the same for the even sizes in use.
        image[:, max(0, y - size // 2) : y - size // 2 + size, max(0, x - size // 2) : x - size // 2 + size] = 0
        np.testing.assert_array_equal(result, image)


def test_the_order_is_crop_flip_normalize_cutout() -> None:
    """Padding is zero before, Cutout zero after normalization."""
    images = torch.full((BATCH, 1, 8, 8), 200, dtype=torch.uint8)
    normalize = Normalize((100.0,), (50.0,))
    values = prepare(images, normalize, Augment(crop_padding=2, cutout=4), generator(0)).unique().tolist()
    assert values == [-2.0, 0.0, 2.0]


def test_each_image_has_its_own_uniform_draw() -> None:
    """A single bright pixel shows the offset and mirroring of every image."""
    count = 20_000
    images = torch.zeros(count, 1, 9, 9, dtype=torch.uint8)
    images[:, :, 4, 3] = 1
    shown = prepare(images, Normalize((0.0,), (1.0,)), Augment(crop_padding=1, flip=True), generator(0))
    places = shown.flatten(1).argmax(1)
    counts = torch.bincount(places, minlength=81).view(9, 9)[3:6]
    # rows 3..5; columns 2..4 plain and 4..6 mirrored, so that column 4 is reached twice as often
    expected = count / 18 * torch.tensor([1.0, 1.0, 2.0, 1.0, 1.0])
    assert counts.sum() == count
    assert ((counts[:, 2:7] - expected).abs() < 5 * expected.sqrt()).all()


def test_cutout_centres_are_uniform_up_to_the_border() -> None:
    images = torch.ones(20_000, 1, 4, 6)
    shown = prepare(images, Normalize((0.0,), (1.0,)), Augment(cutout=1), generator(0))
    counts = (shown == 0).sum((0, 1)).double()
    assert counts.sum() == len(images)
    assert ((counts - len(images) / 24).abs() < 5 * (len(images) / 24) ** 0.5).all()


def test_turning_one_change_off_leaves_the_other_draws() -> None:
    images, normalize = pixels((3, 8, 8)), Normalize((0.0,) * 3, (1.0,) * 3)
    with_cutout = prepare(images, normalize, Augment(crop_padding=1, flip=True, cutout=2), generator(5))
    without = prepare(images, normalize, Augment(crop_padding=1, flip=True), generator(5))
    assert torch.equal(with_cutout, torch.where(with_cutout == 0, 0.0, without))


def test_preparing_leaves_the_raw_images_alone() -> None:
    for images in (pixels((3, 8, 8)), pixels((3, 8, 8)).float()):
        before = images.clone()
        for augment in (None, Augment(), Augment(cutout=4), Augment(crop_padding=1, flip=True, cutout=4)):
            prepare(images, Normalize((5.0,) * 3, (2.0,) * 3), augment, generator(0))
        assert torch.equal(images, before)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_statistics_equal_numpys(kind: torch.dtype) -> None:
    images = pixels((3, 5, 7), 3000).to(kind)
    normalize = Normalize.of(Part(images, torch.zeros(3000, dtype=torch.int64)))
    np.testing.assert_allclose(normalize.mean, images.double().numpy().mean((0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(normalize.std, images.double().numpy().std((0, 2, 3)), rtol=1e-9)


def test_a_constant_channel_stays_finite() -> None:
    images = torch.full((5, 1, 4, 4), 0.1)
    normalize = Normalize.of(Part(images, torch.zeros(5, dtype=torch.int64)))
    assert normalize.std == (1.0,)
    assert normalize(images).abs().max() < 1e-6


def test_negative_pixels_are_refused() -> None:
    with pytest.raises(InputError, match=r"got -1 and 0; 0 turns either off"):
        Augment(crop_padding=-1)
    with pytest.raises(InputError, match=r"got 0 and -2; 0 turns either off"):
        Augment(cutout=-2)


def test_undescribed_images_are_shifted_in_proportion() -> None:
    assert cautious(32, 48) == Augment(crop_padding=4)
    assert cautious(4, 4) == Augment()
