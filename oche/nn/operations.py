"""The candidate operations of the spaces, in the exact form that gives the published parameter counts.

Convolutions have no bias; ReLU stands before a convolution and BN after it (methods.md, "Exact form"; the public
DARTS code). Every operation maps `N x C x H x W` to `N x C x ceil(H / stride) x ceil(W / stride)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.errors import InputError, named
from oche.nn.fast.quick import Depthwise


@dataclass(frozen=True)
class NormForm:
    """How batch normalization appears: without affine and after pooling in supernets, the reverse in networks."""

    affine: bool
    after_pooling: bool


SUPERNET = NormForm(affine=False, after_pooling=True)
NETWORK = NormForm(affine=True, after_pooling=False)


class Zero(nn.Module):
    """The candidate `none`: zeros of the (strided) input's shape."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Zeros of the output's shape."""
        return torch.zeros_like(x[..., :: self.stride, :: self.stride])


class Noise(nn.Module):
    """The candidate `noise` of R-DARTS S4: standard normal noise of the (strided) input's shape, no gradient."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Fresh noise."""
        return torch.randn_like(x[..., :: self.stride, :: self.stride])


class FactorizedReduce(nn.Module):
    """Halve the resolution: two stride-2 1x1 convolutions, the second on the input shifted by one pixel.

    At odd sizes the shifted input is padded by one pixel at its end, so that both halves have `ceil(size / 2)`; at
    even sizes this is the public code's operation exactly.
    """

    def __init__(self, channels_in: int, channels_out: int, form: NormForm) -> None:
        super().__init__()
        half = channels_out // 2
        self.conv_even = nn.Conv2d(channels_in, half, 1, stride=2, bias=False)
        self.conv_odd = nn.Conv2d(channels_in, channels_out - half, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, affine=form.affine)

    def forward(self, x: Tensor) -> Tensor:
        """`N x C_in x H x W` to `N x C_out x ceil(H/2) x ceil(W/2)`."""
        x = F.relu(x)
        height, width = x.shape[-2:]
        shifted = x[..., 1:, 1:]
        if height % 2 or width % 2:
            shifted = F.pad(shifted, (0, width % 2, 0, height % 2))
        return self.norm(torch.cat([self.conv_even(x), self.conv_odd(shifted)], dim=1))  # type: ignore[no-any-return]


def relu_conv_norm(channels_in: int, channels_out: int, form: NormForm) -> nn.Sequential:
    """ReLU, 1x1 convolution, BN: the preprocessing of a cell's input."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.BatchNorm2d(channels_out, affine=form.affine),
    )


def _depthwise_round(
    channels: int,
    kernel: int,
    stride: int,
    dilation: int,
    form: NormForm,
    *,
    channels_out: int | None = None,
    groups: int = 1,
) -> list[nn.Module]:
    """ReLU, depthwise convolution, pointwise convolution (to other channels, in groups), BN."""
    padding, channels_out = dilation * (kernel - 1) // 2, channels_out or channels
    return [
        nn.ReLU(),
        Depthwise(channels, kernel, stride, padding, dilation),
        nn.Conv2d(channels, channels_out, 1, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out, affine=form.affine),
    ]


Builder = Callable[[int, int, NormForm], nn.Module]
"""`(channels, stride, form)` to a module."""


def _separable(kernel: int) -> Builder:
    def build(channels: int, stride: int, form: NormForm) -> nn.Module:
        first = _depthwise_round(channels, kernel, stride, 1, form)
        return nn.Sequential(*first, *_depthwise_round(channels, kernel, 1, 1, form))

    return build


def _dilated(kernel: int) -> Builder:
    return lambda channels, stride, form: nn.Sequential(*_depthwise_round(channels, kernel, stride, 2, form))


ALLEGRO_EXPANSION, ALLEGRO_GROUPS = 2, 2


def allegro_separable(kernel: int, *, expansion: int = ALLEGRO_EXPANSION, groups: int = ALLEGRO_GROUPS) -> Builder:
    """`AllegroSepConv` (AllegroNAS, Sec. 3.2): a separable convolution that is wider inside, in grouped convolutions.

    The first depthwise-pointwise round widens the channels, the second one brings them back. By how much is in a figure
    of the paper, not in its text, and neither is the number of groups of its Sec. 3.5.2; both are options therefore. A
    builder with others becomes a candidate under a name of its own in `OPERATIONS`.

    Args:
        kernel: side of the depthwise kernels, in pixels.
        expansion: channels inside, as a multiple of those outside.
        groups: of the pointwise convolutions.
    """
    _check_allegro(expansion, groups)

    def build(channels: int, stride: int, form: NormForm) -> nn.Module:
        _check_groups(channels, groups)
        wide = expansion * channels
        first = _depthwise_round(channels, kernel, stride, 1, form, channels_out=wide, groups=groups)
        second = _depthwise_round(wide, kernel, 1, 1, form, channels_out=channels, groups=groups)
        return nn.Sequential(*first, *second)

    return build


def allegro_dilated(kernel: int, *, groups: int = ALLEGRO_GROUPS) -> Builder:
    """`AllegroDilConv` (AllegroNAS, Sec. 3.2): two dilated rounds instead of one, in grouped convolutions.

    Args:
        kernel: side of the depthwise kernels, in pixels.
        groups: of the pointwise convolutions; see `allegro_separable`.
    """
    _check_allegro(1, groups)

    def build(channels: int, stride: int, form: NormForm) -> nn.Module:
        _check_groups(channels, groups)
        first = _depthwise_round(channels, kernel, stride, 2, form, groups=groups)
        return nn.Sequential(*first, *_depthwise_round(channels, kernel, 1, 2, form, groups=groups))

    return build


def _check_allegro(expansion: int, groups: int) -> None:
    if expansion < 1 or groups < 1:
        raise InputError(f"expansion >= 1 and groups >= 1 must hold, but got {expansion} and {groups}")


def _check_groups(channels: int, groups: int) -> None:
    if channels % groups:
        raise InputError(
            f"{groups} groups need channels that are a multiple of {groups}, but got {channels}; give --space.channels "
            f"and --train.channels such as {groups * -(-channels // groups)}"
        )


def _pooled(pool: Callable[[int], nn.Module]) -> Builder:
    def build(channels: int, stride: int, form: NormForm) -> nn.Module:
        if form.after_pooling:
            return nn.Sequential(pool(stride), nn.BatchNorm2d(channels, affine=form.affine))
        return pool(stride)

    return build


def _skip(channels: int, stride: int, form: NormForm) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, form)


def _convolution(kernel: int) -> Builder:
    return lambda channels, stride, form: nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels, affine=form.affine),
    )


OPERATIONS: dict[str, Builder] = {
    "none": lambda channels, stride, form: Zero(stride),
    "max_pool_3x3": _pooled(lambda stride: nn.MaxPool2d(3, stride, padding=1)),
    "avg_pool_3x3": _pooled(lambda stride: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)),
    "skip_connect": _skip,
    "sep_conv_3x3": _separable(3),
    "sep_conv_5x5": _separable(5),
    "dil_conv_3x3": _dilated(3),
    "dil_conv_5x5": _dilated(5),
    "allegro_sep_conv_3x3": allegro_separable(3),
    "allegro_sep_conv_5x5": allegro_separable(5),
    "allegro_dil_conv_3x3": allegro_dilated(3),
    "allegro_dil_conv_5x5": allegro_dilated(5),
    "nor_conv_1x1": _convolution(1),
    "nor_conv_3x3": _convolution(3),
    "noise": lambda channels, stride, form: Noise(stride),
}

NONE = "none"
"""The candidate without an output."""

PARAMETER_FREE = frozenset({"none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "noise"})
"""Candidates without weights at stride 1; their share of an architecture is a sign of collapse."""


def operation(name: str, channels: int, stride: int, form: NormForm) -> nn.Module:
    """Build a candidate by name.

    Raises:
        InputError: the name is unknown, or the candidate cannot have so many channels.
    """
    return named("candidate operation", name, OPERATIONS)(channels, stride, form)
