import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.errors import InputError
from oche.nn.network import Stack
from oche.nn.operations import (
    NETWORK,
    OPERATIONS,
    PARAMETER_FREE,
    SUPERNET,
    FactorizedReduce,
    NormForm,
    allegro_dilated,
    allegro_separable,
    operation,
)
from oche.spaces.darts import uniform
from oche.spaces.registry import space_from_json
from oche.task import ImageTask

FORMS = pytest.mark.parametrize("form", [SUPERNET, NETWORK], ids=["supernet", "network"])
SIZES = ((8, 8), (7, 7), (9, 4), (4, 9), (1, 1), (1, 5), (2, 3))


@FORMS
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_maps_to_the_strided_size(name: str, stride: int, form: NormForm) -> None:
    op = operation(name, 4, stride, form)
    for height, width in SIZES:
        out = op(torch.randn(2, 4, height, width))
        assert out.shape == (2, 4, -(-height // stride), -(-width // stride))
        assert out.isfinite().all()


@FORMS
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_batch_normalization_has_the_form_of_the_network(name: str, stride: int, form: NormForm) -> None:
    op = operation(name, 4, stride, form)
    norms = [m for m in op.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.affine == form.affine for m in norms)
    assert all(m.bias is None for m in op.modules() if isinstance(m, nn.Conv2d))
    if "pool" in name:
        assert len(norms) == form.after_pooling
    if name.startswith("sep_conv"):
        assert len(norms) == 2
    if name.startswith("dil_conv"):
        assert len(norms) == 1


@pytest.mark.parametrize("name", OPERATIONS)
def test_parameter_free_means_no_weights_at_stride_one(name: str) -> None:
    weights = sum(p.numel() for p in operation(name, 4, 1, NETWORK).parameters())
    assert (weights == 0) == (name in PARAMETER_FREE)


@pytest.mark.parametrize(("name", "kernel"), [("sep_conv_3x3", 3), ("sep_conv_5x5", 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_separable_convolution_is_two_rounds(name: str, kernel: int, stride: int) -> None:
    c, x = 4, torch.randn(2, 4, 9, 8)
    op = operation(name, c, stride, SUPERNET)
    w = [p.detach() for p in op.parameters()]
    assert [tuple(p.shape) for p in w] == [(c, 1, kernel, kernel), (c, c, 1, 1)] * 2
    out = x
    for depthwise, pointwise, s in ((w[0], w[1], stride), (w[2], w[3], 1)):
        out = F.conv2d(F.conv2d(F.relu(out), depthwise, stride=s, padding=kernel // 2, groups=c), pointwise)
        out = F.batch_norm(out, None, None, training=True)
    torch.testing.assert_close(op(x), out)


@pytest.mark.parametrize(("name", "kernel"), [("dil_conv_3x3", 3), ("dil_conv_5x5", 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_dilated_convolution_is_one_round(name: str, kernel: int, stride: int) -> None:
    c, x = 4, torch.randn(2, 4, 9, 8)
    op = operation(name, c, stride, SUPERNET)
    depthwise, pointwise = (p.detach() for p in op.parameters())
    # Dilation 2 is a larger kernel with zeros between its taps.
    spread = torch.zeros(c, 1, 2 * kernel - 1, 2 * kernel - 1)
    spread[:, :, ::2, ::2] = depthwise
    out = F.conv2d(F.conv2d(F.relu(x), spread, stride=stride, padding=kernel - 1, groups=c), pointwise)
    torch.testing.assert_close(op(x), F.batch_norm(out, None, None, training=True))


def rounds(x: Tensor, weights: list[Tensor], stride: int, dilation: int, groups: int) -> Tensor:
    """ReLU, depthwise, grouped pointwise, BN, twice; a grouped convolution is one of each part of the channels."""
    for depthwise, pointwise, s in ((weights[0], weights[1], stride), (weights[2], weights[3], 1)):
        kernel = depthwise.shape[-1]
        x = F.conv2d(F.relu(x), depthwise, None, s, dilation * (kernel // 2), dilation=dilation, groups=len(depthwise))
        parts = zip(x.chunk(groups, dim=1), pointwise.chunk(groups), strict=True)
        x = torch.cat([torch.einsum("nchw,oc->nohw", part, w[:, :, 0, 0]) for part, w in parts], dim=1)
        x = F.batch_norm(x, None, None, training=True)
    return x


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("expansion", "groups"), [(2, 2), (3, 1), (1, 4)])
def test_an_allegro_separable_convolution_is_wider_inside(
    expansion: int, groups: int, stride: int, kernel: int
) -> None:
    c, x = 8, torch.randn(2, 8, 9, 8, dtype=torch.float64)
    usual = (expansion, groups) == (2, 2)
    build = allegro_separable(kernel, expansion=expansion, groups=groups)
    op = (
        operation(f"allegro_sep_conv_{kernel}x{kernel}", c, stride, SUPERNET) if usual else build(c, stride, SUPERNET)
    ).double()
    w, wide = [p.detach() for p in op.parameters()], expansion * c
    assert [tuple(p.shape) for p in w] == [
        (c, 1, kernel, kernel),
        (wide, c // groups, 1, 1),
        (wide, 1, kernel, kernel),
        (c, wide // groups, 1, 1),
    ]
    torch.testing.assert_close(op(x), rounds(x, w, stride, 1, groups))


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [2, 1])
def test_an_allegro_dilated_convolution_is_two_dilated_rounds(groups: int, stride: int, kernel: int) -> None:
    c, x = 4, torch.randn(2, 4, 9, 8, dtype=torch.float64)
    build = OPERATIONS[f"allegro_dil_conv_{kernel}x{kernel}"] if groups == 2 else allegro_dilated(kernel, groups=groups)
    op = build(c, stride, SUPERNET).double()
    w = [p.detach() for p in op.parameters()]
    assert [tuple(p.shape) for p in w] == [(c, 1, kernel, kernel), (c, c // groups, 1, 1)] * 2
    torch.testing.assert_close(op(x), rounds(x, w, stride, 2, groups))


def test_groups_must_divide_the_channels() -> None:
    for name in ("allegro_sep_conv_3x3", "allegro_dil_conv_5x5"):
        with pytest.raises(InputError, match=r"multiple of 2, but got 5; give --space.channels .* such as 6"):
            operation(name, 5, 1, SUPERNET)
    with pytest.raises(InputError, match="groups >= 1"):
        allegro_dilated(3, groups=0)
    with pytest.raises(InputError, match="expansion >= 1"):
        allegro_separable(3, expansion=0)


def test_an_allegro_convolution_of_another_width_is_a_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATIONS, "wide", allegro_separable(3, expansion=4, groups=1))
    mine = uniform("mine", ("skip_connect", "wide"), nodes=1)
    assert space_from_json(mine.to_json()) == mine
    task = ImageTask(channels=1, height=8, width=8, classes=2)
    supernet = mine.replace(supernet_stack=Stack(cells=1, channels=3)).supernet(task)
    assert any(m.out_channels == 12 for m in supernet.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("stride", [1, 2])
def test_average_pooling_leaves_out_the_padding(stride: int) -> None:
    x = torch.rand(1, 2, 5, 6)
    out = operation("avg_pool_3x3", 2, stride, NETWORK)(x)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            row, column = i * stride, j * stride
            window = x[:, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            torch.testing.assert_close(out[:, :, i, j], window.mean(dim=(2, 3)))


@pytest.mark.parametrize("stride", [1, 2])
def test_max_pooling_takes_the_largest_of_the_window(stride: int) -> None:
    x = torch.randn(1, 2, 5, 6)
    out = operation("max_pool_3x3", 2, stride, NETWORK)(x)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            row, column = i * stride, j * stride
            window = x[:, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            assert torch.equal(out[:, :, i, j], window.amax(dim=(2, 3)))


@pytest.mark.parametrize("name", ["avg_pool_3x3", "max_pool_3x3"])
def test_pooling_in_a_supernet_is_normalized(name: str) -> None:
    x = torch.randn(4, 2, 5, 6)
    expected = F.batch_norm(operation(name, 2, 1, NETWORK)(x), None, None, training=True)
    torch.testing.assert_close(operation(name, 2, 1, SUPERNET)(x), expected)


def reduced(op: FactorizedReduce, x: Tensor) -> Tensor:
    """Pixel by pixel: the first half sees the pixel (2i, 2j), the second half the pixel (2i + 1, 2j + 1) or zero."""
    height, width = x.shape[-2:]
    x = F.pad(F.relu(x), (0, 1, 0, 1))
    out = torch.empty(len(x), op.norm.num_features, -(-height // 2), -(-width // 2), dtype=x.dtype)
    half = op.conv_even.out_channels
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            odd = x[:, :, 2 * i + 1, 2 * j + 1]
            out[:, :half, i, j] = x[:, :, 2 * i, 2 * j] @ op.conv_even.weight[:, :, 0, 0].T
            out[:, half:, i, j] = odd @ op.conv_odd.weight[:, :, 0, 0].T
    return F.batch_norm(out, None, None, training=True)


@pytest.mark.parametrize("channels_out", [4, 5])
@pytest.mark.parametrize("size", [(4, 4), (5, 5), (4, 5), (5, 4), (1, 3)])
def test_factorized_reduction_sees_two_shifted_grids(size: tuple[int, int], channels_out: int) -> None:
    op = FactorizedReduce(3, channels_out, SUPERNET).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(op(x), reduced(op, x))


def test_skipping_changes_nothing_at_stride_one() -> None:
    x = torch.randn(1, 2, 3, 3)
    assert operation("skip_connect", 2, 1, NETWORK)(x) is x
    assert isinstance(operation("skip_connect", 2, 2, NETWORK), FactorizedReduce)


@pytest.mark.parametrize("stride", [1, 2])
def test_none_is_zero_and_noise_is_normal(stride: int) -> None:
    x = torch.full((8, 8, 30, 30), 5.0, requires_grad=True)
    assert operation("none", 8, stride, SUPERNET)(x).abs().max() == 0
    noise = operation("noise", 8, stride, SUPERNET)
    first, second = noise(x), noise(x)
    assert not torch.equal(first, second)
    assert not first.requires_grad
    # Five standard errors of a mean and of a variance of so many normal numbers.
    n = first.numel()
    assert abs(first.mean().item()) < 5 / n**0.5
    assert abs(first.var().item() - 1) < 5 * (2 / n) ** 0.5


def test_an_unknown_operation_is_named() -> None:
    with pytest.raises(InputError, match=r"'sep_conv_3'; did you mean 'sep_conv_3x3'"):
        operation("sep_conv_3", 4, 1, NETWORK)
