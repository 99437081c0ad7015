"""Depthwise convolution with a backward pass that does not crawl.

On a CPU PyTorch computes the gradients of a depthwise convolution with its general code, which takes up to 60 times
as long as the forward pass. Both gradients are forward convolutions in disguise:

1. *Input.* `y[i] = sum_t w[t] x[s i + d t - p]`, so `dx[j] = sum_t w[t] dy[(j + p - d t) / s]`, over the taps for which
   the quotient is whole. For stride `s = 1` this is a forward convolution of `dy` with the flipped kernel and padding
   `d (k - 1) - p`. For `s > 1` it is the same of `dy` with `s - 1` zeros between its entries.
2. *Weight.* `dw[t] = sum_i dy[i] x[s i + d t - p]`. With `s = 1` and a padding that `d` divides, output `i = d m + r`
   reads `x` at `d (m + t - p / d) + r`: its own of the `d x d` interleaved phases. So the phases, stacked as samples,
   have the same gradient under an undilated kernel, for which PyTorch has quick code.

Both are exact: the same products are added in another order. Elsewhere than on a CPU the device's own code is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Geometry:
    """A square convolution.

    Attributes:
        kernel: taps along each side.
        stride: of the output.
        padding: zeros around the input.
        dilation: distance of two taps.
    """

    kernel: int
    stride: int
    padding: int
    dilation: int

    @classmethod
    def of(cls, conv: nn.Module) -> Geometry | None:
        """The geometry of a square convolution without bias that pads with zeros; None: it is none."""
        if not isinstance(conv, nn.Conv2d) or conv.bias is not None or conv.padding_mode != "zeros":
            return None
        if isinstance(conv.padding, str):
            return None
        sides = {(conv.kernel_size[i], conv.stride[i], conv.padding[i], conv.dilation[i]) for i in (0, 1)}
        return cls(*sides.pop()) if len(sides) == 1 else None

    @property
    def reach(self) -> int:
        """Distance of the first and the last tap."""
        return self.dilation * (self.kernel - 1)

    def output(self, side: int) -> int:
        """Side of the output for a side of the input."""
        return (side + 2 * self.padding - self.reach - 1) // self.stride + 1


def depthwise(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The convolution itself: `N x C x H x W` with `C x 1 x k x k`."""
    return F.conv2d(x, weight, None, geometry.stride, geometry.padding, geometry.dilation, x.shape[1])


def input_gradient(dy: Tensor, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """`dx`, of the shape of `x`, by a forward convolution with the flipped kernel (trick 1)."""
    before = geometry.reach - geometry.padding
    if x.device.type != "cpu" or before < 0:  # the flipped convolution has no way to crop
        return convolution_gradients(dy, x, weight, geometry, x.shape[1], [True, False, False])[0]
    if geometry.stride > 1:
        sides = [side + geometry.reach for side in x.shape[2:]]
        spread = torch.zeros_like(dy[:, :, :1, :1].expand(-1, -1, *sides), memory_format=torch.channels_last)
        places = [slice(before, before + geometry.stride * (side - 1) + 1, geometry.stride) for side in dy.shape[2:]]
        spread[:, :, places[0], places[1]] = dy
        dy, before = spread, 0
    return F.conv2d(dy, weight.flip(2, 3), None, 1, before, geometry.dilation, x.shape[1])


def weight_gradient(dy: Tensor, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """`dw`, of the shape of `weight`, on interleaved phases where the kernel is dilated (trick 2)."""
    d = geometry.dilation
    keeps_size = geometry.stride == 1 and 2 * geometry.padding == geometry.reach
    if x.device.type == "cpu" and d > 1 and keeps_size and geometry.padding % d == 0:
        dy, x = _phases(dy, d), _phases(x, d)
        geometry = Geometry(geometry.kernel, 1, geometry.padding // d, 1)
    return convolution_gradients(dy, x, weight, geometry, x.shape[1], [False, True, False])[1]


def _phases(x: Tensor, d: int) -> Tensor:
    """The `d x d` interleaved phases, each padded by zeros at its end to the size of the largest, as samples."""
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % d, 0, -height % d))
    return torch.cat([x[:, :, i::d, j::d] for i in range(d) for j in range(d)])


def convolution_gradients(
    dy: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, groups: int, wanted: list[bool]
) -> list[Tensor]:
    """PyTorch's own gradients of a convolution without bias, for input, weight and (nothing) as wanted."""
    stride, padding, dilation = ([value] * 2 for value in (geometry.stride, geometry.padding, geometry.dilation))
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        dy, x, weight, None, stride, padding, dilation, False, [0, 0], groups, wanted
    )
