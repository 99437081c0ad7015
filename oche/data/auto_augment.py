"""AutoAugment with the policy of CIFAR-10 (Cubuk et al., CVPR 2019), as torchvision has it.

Each image gets one of 25 pairs of changes, each with a probability and a strength of its own. Pixels that move in from
outside are black, torchvision's default.
"""

from __future__ import annotations

import torch
from torch import Tensor

from oche.data.dataset import Part
from oche.errors import InputError
from oche.randomness import frozen

CHANNELS = (1, 3)
"""Equalization and autocontrast are defined for gray and colour images."""


def auto_augment(images: Tensor, seed: int) -> Tensor:
    """Images of which each has been changed by a pair of changes of its own, a function of the seed alone.

    Args:
        images: `B x C x H x W` uint8 with 1 or 3 channels; left unchanged.
        seed: of all draws.

    Returns:
        The same shape and type, on the same device.
    """
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy  # a second, which only its users pay

    policy = AutoAugment(AutoAugmentPolicy.CIFAR10)
    # It draws from the global generator of the CPU whatever the device, image by image.
    with frozen(seed, torch.device("cpu")):
        return torch.stack([policy(image) for image in images])


def check_images(part: Part) -> None:
    """Refuse images that AutoAugment cannot treat.

    Raises:
        InputError: they are not stored as bytes, or have another number of channels than 1 or 3.
    """
    stored = part.images.dtype if isinstance(part.images, Tensor) else torch.uint8
    if stored != torch.uint8 or part.shape[0] not in CHANNELS:
        raise InputError(
            f"AutoAugment changes gray or colour images of 8 bits (1 or 3 channels of uint8), but these have "
            f"{part.shape[0]} channels of {str(stored).removeprefix('torch.')}; turn it off with "
            "--train.no-auto-augment, or convert the images"
        )
