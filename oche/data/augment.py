"""Random crop, flip and Cutout for a whole batch on its device, each image with its own draw.

The order is that of the public DARTS code: crop and flip on raw pixels, normalization, Cutout. AutoAugment, which has a
file of its own, comes last on raw pixels. Draws are
made on the CPU, so that a seed means the same images on every device, and no step waits for the device.

Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from oche.errors import InputError


@dataclass(frozen=True)
class Augment:
    """Which random changes training images get.

    Attributes:
        crop_padding: zeros added on each side before a window of the old size is cut out, in pixels; 0: none.
        flip: mirror left and right with probability 1/2.
        cutout: side of the square that is set to zero after normalization, in pixels; 0: none. Its centre is
            uniform over the image, and it is clipped at the borders.
        auto_augment: change raw pixels by CIFAR-10's AutoAugment policy; gray or colour images of 8 bits only.

    Raises:
        InputError: a number of pixels is negative.
    """

    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0
    auto_augment: bool = False

    def __post_init__(self) -> None:
        if self.crop_padding < 0 or self.cutout < 0:
            raise InputError(
                f"crop_padding >= 0 and cutout >= 0 must hold, but got {self.crop_padding} and "
                f"{self.cutout}; 0 turns either off"
            )


def cautious(height: int, width: int) -> Augment:
    """The training augmentation for images that nobody has described.

    They are shifted by up to an eighth of the shorter side (the usual 4 pixels at 32), and not mirrored,
    because that turns some images (digits, text) into another class.
    """
    return Augment(crop_padding=min(height, width) // 8)


def crop(images: Tensor, padding: int, top: Tensor, left: Tensor) -> Tensor:
    """Windows of the old size from zero-padded images; `top` and `left`: B integers in 0..2 padding."""
    padded = functional.pad(images, (padding, padding, padding, padding))
    batch, channels, height, width = padded.shape
    device = images.device
    # A window consists of whole runs of pixels, so runs are copied: several times faster than pixels.
    plane = torch.arange(batch * channels, device=device).view(batch, channels, 1) * (height * width)
    row = top.view(-1, 1, 1) + torch.arange(images.shape[2], device=device)
    first = plane + row * width + left.view(-1, 1, 1)  # B x C x H: where each run begins
    runs = padded.flatten().unfold(0, images.shape[3], 1)
    return runs.index_select(0, first.flatten()).view_as(images)


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Images mirrored left and right where `mirrored` (B integers) is 1 and not 0."""
    batch = len(images)
    choice = torch.arange(batch, device=images.device) + batch * mirrored
    return torch.cat((images, images.flip(-1))).index_select(0, choice)


def cutout(images: Tensor, size: int, row: Tensor, column: Tensor) -> Tensor:
    """Float images, changed in place, with zeros in a square of `size` pixels.

    Its rows are `row - size // 2` to `row - size // 2 + size - 1`, its columns likewise; `row` and `column`
    are B integers.
    """
    y = torch.arange(images.shape[2], device=images.device) - (row - size // 2)[:, None]  # B x H
    x = torch.arange(images.shape[3], device=images.device) - (column - size // 2)[:, None]  # B x W
    keep = ((y < 0) | (y >= size))[:, None, :, None] | ((x < 0) | (x >= size))[:, None, None, :]
    return images.mul_(keep.float())  # on a CPU ten times faster than masked_fill_
