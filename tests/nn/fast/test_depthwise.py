"""The gradients of a depthwise convolution against autograd's own."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from oche.nn.fast import quick
from oche.nn.fast.compiled.library import library
from oche.nn.fast.depthwise import Geometry, input_gradient, weight_gradient
from oche.nn.fast.quick import QuickDepthwise

GEOMETRIES = [
    Geometry(kernel, stride, padding, dilation)
    for kernel, stride, dilation in product((1, 3, 5), (1, 2, 3), (1, 2, 3))
    for padding in {0, dilation * (kernel - 1) // 2, dilation * (kernel - 1), dilation * kernel}
]
SIZES = [(8, 8), (7, 9), (5, 4)]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_both_gradients_equal_those_of_autograd(memory_format: torch.memory_format) -> None:
    compared = 0
    for g, (height, width) in product(GEOMETRIES, SIZES):
        if min(g.output(height), g.output(width)) < 1:
            continue
        x = torch.randn(2, 3, height, width, dtype=torch.float64).contiguous(memory_format=memory_format)
        w = torch.randn(3, 1, g.kernel, g.kernel, dtype=torch.float64, requires_grad=True)
        x.requires_grad_()
        y = F.conv2d(x, w, None, g.stride, g.padding, g.dilation, 3)
        assert y.shape[2:] == (g.output(height), g.output(width))
        dy = torch.randn_like(y)
        dx, dw = torch.autograd.grad(y, (x, w), dy)
        torch.testing.assert_close(input_gradient(dy, x, w, g), dx)
        torch.testing.assert_close(weight_gradient(dy, x, w, g), dw)
        compared += 1
    assert compared > 200


@pytest.mark.parametrize("kernels", ["pure", "compiled"])
@pytest.mark.parametrize("channels", [3, 4, 8, 16])
def test_the_function_has_these_gradients(channels: int, kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels == "pure":
        monkeypatch.setattr(quick, "library_for", lambda x: None)
    elif library() is None:
        pytest.skip("no compiler here")
    for g in GEOMETRIES:
        if min(g.output(9), g.output(11)) < 1:
            continue
        x = torch.randn(3, channels, 9, 11, dtype=torch.float64, requires_grad=True)
        w = torch.randn(channels, 1, g.kernel, g.kernel, dtype=torch.float64, requires_grad=True)
        y = F.conv2d(x, w, None, g.stride, g.padding, g.dilation, channels)
        dy = torch.randn_like(y)
        expected = torch.autograd.grad(y, (x, w), dy)
        torch.testing.assert_close(torch.autograd.grad(QuickDepthwise.apply(x, w, g), (x, w), dy), expected)
        for one, needed in enumerate((x, w)):
            alone = QuickDepthwise.apply(*(t if t is needed else t.detach() for t in (x, w)), g)
            torch.testing.assert_close(torch.autograd.grad(alone, needed, dy), (expected[one],))


def test_the_function_can_be_differentiated_twice() -> None:
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    for geometry in (Geometry(3, 1, 2, 2), Geometry(3, 2, 1, 1)):
        assert torch.autograd.gradcheck(QuickDepthwise.apply, (x, w, geometry))
        assert torch.autograd.gradgradcheck(QuickDepthwise.apply, (x, w, geometry))


def test_only_square_convolutions_without_bias_are_known() -> None:
    known = nn.Conv2d(4, 4, 3, 2, 4, 4, groups=4, bias=False)
    assert Geometry.of(known) == Geometry(kernel=3, stride=2, padding=4, dilation=4)
    others = [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, (3, 5), bias=False),
        nn.Conv2d(4, 4, 3, stride=(1, 2), bias=False),
        nn.Conv2d(4, 4, 3, padding="same", bias=False),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", bias=False),
        nn.Conv1d(4, 4, 3, bias=False),
    ]
    assert [Geometry.of(other) for other in others] == [None] * len(others)
