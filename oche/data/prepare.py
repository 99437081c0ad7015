"""Raw images to network input: random changes, normalization, Cutout, for a whole batch on its device.

Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from oche.data.augment import Augment, crop, cutout, flip
from oche.data.auto_augment import auto_augment
from oche.data.dataset import Part

LARGEST_SEED = 2**63 - 1
"""What a seed drawn from a generator may be at most."""

STATISTICS_IMAGES = 10_000
"""Streamed images that the statistics are taken from: enough for three digits, in seconds."""


@dataclass(frozen=True)
class Normalize:
    """`(pixel - mean) / std` for each channel, in the units of the stored pixels (0..255 for uint8)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, part: Part) -> Normalize:
        """Mean and standard deviation of each channel over a training part.

        A channel that never varies gets the standard deviation 1.
        """
        count = len(part)
        if not isinstance(part.images, Tensor):
            count = min(count, STATISTICS_IMAGES)
        indices = torch.linspace(0, len(part) - 1, count, dtype=torch.float64).long()
        total = torch.zeros(part.shape[0], dtype=torch.float64)
        square = torch.zeros_like(total)
        for chunk in torch.split(indices, 1024):  # 1024: small beside the images
            pixels = part.read(chunk).double()
            total += pixels.sum((0, 2, 3))
            square += pixels.square().sum((0, 2, 3))
        pixels_seen = count * part.shape[1] * part.shape[2]
        mean = total / pixels_seen
        variance = square / pixels_seen - mean.square()
        # 1e-12: what remains in float64 of the variance of a constant channel, relative to its square
        constant = variance <= 1e-12 * mean.square()
        std = torch.where(constant, 1.0, variance.clamp(min=0).sqrt())
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    def __call__(self, images: Tensor) -> Tensor:
        """`B x C x H x W` raw pixels to a new float32 tensor of the same shape."""
        mean, std = torch.tensor((self.mean, self.std)).to(images.device, non_blocking=True)[..., None, None]
        return images.float().sub(mean).div_(std)


def prepare(images: Tensor, normalize: Normalize, augment: Augment | None, generator: torch.Generator) -> Tensor:
    """Raw images to network input.

    Args:
        images: `B x C x H x W`, uint8 or float32; left unchanged.
        normalize: statistics of the training images.
        augment: random changes; None for none.
        generator: a CPU generator; five numbers are drawn for each image whatever `augment` says, so that
            turning one change off leaves the others as they were; after them a seed for AutoAugment where it is on.

    Returns:
        `B x C x H x W` float32 on the same device.
    """
    if augment is None:
        return normalize(images)
    batch, _, height, width = images.shape
    bounds = (2 * augment.crop_padding + 1, 2 * augment.crop_padding + 1, 2, height, width)
    draws = torch.stack([torch.randint(bound, (batch,), generator=generator) for bound in bounds])
    top, left, mirrored, row, column = draws.to(images.device, non_blocking=True)
    if augment.crop_padding:
        images = crop(images, augment.crop_padding, top, left)
    if augment.flip:
        images = flip(images, mirrored)
    if augment.auto_augment:
        images = auto_augment(images, int(torch.randint(LARGEST_SEED, (), generator=generator)))
    normalized = normalize(images)
    return cutout(normalized, augment.cutout, row, column) if augment.cutout else normalized
