import pytest
import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms import functional as F

from oche.data.augment import Augment
from oche.data.auto_augment import auto_augment
from oche.data.prepare import Normalize, prepare
from oche.randomness import generator

BATCH = 60


def pixels(channels: int = 3, count: int = BATCH) -> Tensor:
    return torch.randint(1, 256, (count, channels, 8, 8), dtype=torch.uint8, generator=generator(0, "pixels"))


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_torchvisions_image_by_image(channels: int) -> None:
    images = pixels(channels)
    changed = auto_augment(images, seed=7)
    torch.manual_seed(7)
    policy = AutoAugment(AutoAugmentPolicy.CIFAR10)
    expected = [policy(image) for image in images]
    assert changed.dtype == torch.uint8
    assert all(torch.equal(a, b) for a, b in zip(changed, expected, strict=True))


def test_it_is_a_function_of_the_seed_that_disturbs_nobody() -> None:
    images = pixels()
    before, raw = torch.get_rng_state(), images.clone()
    first = auto_augment(images, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(images, raw)
    torch.rand(5)
    assert torch.equal(auto_augment(images, seed=1), first)
    assert not torch.equal(auto_augment(images, seed=2), first)


def test_each_image_has_its_own_draw() -> None:
    """Of many copies of one image some get neither change of their pair, and some one of these alone."""
    image = pixels(count=1)
    images = auto_augment(image.expand(800, -1, -1, -1), seed=0)
    seen = {tuple(i.flatten().tolist()) for i in images}
    assert len(seen) > 30
    for expected in (image, F.equalize(image), F.autocontrast(image), F.invert(image)):
        assert tuple(expected.flatten().tolist()) in seen


def test_it_comes_after_crop_and_flip_and_before_normalization_and_cutout() -> None:
    images, normalize = pixels(), Normalize((100.0,) * 3, (50.0,) * 3)
    usual = Augment(crop_padding=2, flip=True)
    shifted = prepare(images, Normalize((0.0,) * 3, (1.0,) * 3), usual, generator(5)).to(torch.uint8)
    draws = generator(5)  # the five numbers of each image, then a seed
    for bound in (5, 5, 2, 8, 8):
        torch.randint(bound, (BATCH,), generator=draws)
    seed = int(torch.randint(2**63 - 1, (), generator=draws))
    plain = Augment(crop_padding=2, flip=True, auto_augment=True)
    changed = prepare(images, normalize, plain, generator(5))
    assert torch.equal(changed, normalize(auto_augment(shifted, seed)))
    # Cutout has the squares that it would have without, and leaves the rest as it is.
    cut = prepare(images, normalize, Augment(crop_padding=2, flip=True, cutout=4, auto_augment=True), generator(5))
    squares = prepare(torch.ones_like(images), Normalize((0.0,) * 3, (1.0,) * 3), Augment(cutout=4), generator(5)) == 0
    assert torch.equal(cut, torch.where(squares, 0.0, changed))
