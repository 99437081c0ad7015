"""A depthwise convolution for discrete networks: PyTorch's forward pass, and the quick gradients of this engine."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from oche.nn.fast.compiled.library import library_for, shape
from oche.nn.fast.depthwise import Geometry, convolution_gradients, depthwise, input_gradient, weight_gradient


class QuickDepthwise(torch.autograd.Function):
    """`depthwise` as a function of input and weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        """See `depthwise`."""
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return depthwise(x, weight, geometry)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Both gradients; where they are to be differentiated again, PyTorch's own."""
        x, weight = ctx.saved_tensors
        of_x, of_weight = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            masks = [of_x, of_weight, False]
            of_both = convolution_gradients(dy, x, weight, ctx.geometry, x.shape[1], masks)
            return of_both[0], of_both[1], None
        kernels = library_for(x)
        if kernels is not None:
            x, dy, weight = *(t.contiguous(memory_format=torch.channels_last) for t in (x, dy)), weight.contiguous()
            dx, dw = torch.empty_like(x) if of_x else None, torch.empty_like(weight) if of_weight else None
            kernels("depthwise_backward", x.dtype, shape(x.shape, ctx.geometry), x, weight, dy, dx, dw)
            return dx, dw, None
        return (
            input_gradient(dy, x, weight, ctx.geometry) if of_x else None,
            weight_gradient(dy, x, weight, ctx.geometry) if of_weight else None,
            None,
        )


class Depthwise(nn.Conv2d):
    """A depthwise convolution without bias.

    Args:
        channels: of input and output.
        kernel: taps along each side.
        stride: of the output.
        padding: zeros around the input.
        dilation: distance of two taps.

    Attributes:
        quick: whether its gradients are computed by this engine; `set_engine` decides.
    """

    def __init__(self, channels: int, kernel: int, stride: int, padding: int, dilation: int) -> None:
        super().__init__(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)
        self._geometry = Geometry(kernel, stride, padding, dilation)
        self.quick = False

    def forward(self, x: Tensor) -> Tensor:
        """`N x C x H x W` to `N x C x H' x W'`."""
        if self.quick and not torch.is_autocast_enabled(x.device.type):
            return QuickDepthwise.apply(x, self.weight, self._geometry)  # type: ignore[no-any-return]
        return super().forward(x)
