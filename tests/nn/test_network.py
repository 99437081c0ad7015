import pytest
import torch
from torch import nn
from torch.nn import functional as F

from oche.errors import InputError
from oche.mixture.softmax import Softmax
from oche.nn.network import STEMS, AuxiliaryHead, Stack
from oche.nn.operations import FactorizedReduce
from oche.nn.supernet import logits
from oche.spaces.registry import space
from oche.task import ImageTask

SPACE = space("rdarts-s3", nodes=1)


def task(channels: int, height: int, width: int, classes: int = 3) -> ImageTask:
    return ImageTask(channels=channels, height=height, width=width, classes=classes)


@pytest.mark.parametrize(("side", "reductions"), [(4, 0), (7, 0), (8, 1), (15, 2), (28, 2), (32, 2), (224, 2)])
def test_reductions_adapt_to_the_resolution(side: int, reductions: int) -> None:
    assert Stack(cells=8, channels=16).reduction_count(task(1, side, side)) == reductions
    assert Stack(cells=8, channels=16).reduction_count(task(1, side, 500)) == reductions
    assert Stack(cells=8, channels=16).reduction_count(task(1, 500, side)) == reductions


@pytest.mark.parametrize("cells", [3, 5, 8, 14, 20])
def test_two_reductions_stand_at_the_thirds(cells: int) -> None:
    kinds = Stack(cells=cells, channels=16).kinds(task(3, 32, 32))
    assert [i for i, kind in enumerate(kinds) if kind == "reduction"] == [cells // 3, 2 * cells // 3]
    assert len(kinds) == cells


@pytest.mark.parametrize("cells", range(1, 9))
def test_explicit_reductions_are_all_placed(cells: int) -> None:
    for count in range(cells + 1):
        kinds = Stack(cells=cells, channels=4, reductions=count).kinds(task(3, 2**9, 2**9))
        assert kinds.count("reduction") == count


def test_automatic_reductions_leave_a_normal_cell() -> None:
    assert [Stack(cells=n, channels=4).kinds(task(1, 32, 32)).count("normal") for n in (1, 2, 3)] == [1, 1, 1]


def test_too_many_reductions_are_refused_with_the_number_that_fits() -> None:
    stack = Stack(cells=6, channels=4, reductions=4)
    with pytest.raises(InputError, match=r"4 reductions.*5x16 pixels allow 3.*ask for 3"):
        stack.kinds(task(2, 5, 16))
    assert Stack(cells=6, channels=4, reductions=3).kinds(task(2, 5, 16)).count("reduction") == 3
    with pytest.raises(InputError, match="stem 'imagenet'"):
        Stack(cells=6, channels=4, reductions=1, stem="imagenet").kinds(task(3, 8, 8))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"cells": 0}, "cells >= 1.*cells=0"),
        ({"channels": 0}, "channels >= 1.*channels=0"),
        ({"reductions": 5}, "reductions=5, cells=4"),
        ({"reductions": -1}, "reductions=-1"),
        ({"stem": "imagnet"}, "did you mean 'imagenet'"),
        ({"stem": "imagenet", "channels": 1}, "channels"),
    ],
)
def test_impossible_stacks_are_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Stack(**{"cells": 4, "channels": 4} | sizes)


@pytest.mark.parametrize("size", [(1, 8, 8), (3, 32, 32), (3, 9, 7), (1, 4, 4), (2, 5, 16), (1, 1, 1)])
def test_supernets_and_networks_take_every_size(size: tuple[int, int, int]) -> None:
    t, stack = task(*size), Stack(cells=3, channels=4)
    supernet = SPACE.replace(supernet_stack=stack).supernet(t)
    x = torch.randn(4, *size)
    assert supernet(x, Softmax().mean(logits(supernet))).shape == (4, 3)
    network = SPACE.network(next(SPACE.enumerate()), t, stack, auxiliary=True)
    assert [y.shape for y in network.with_auxiliary(x)] == [(4, 3)] * 2
    assert network(x).shape == (4, 3)


@pytest.mark.parametrize("side", [9, 32, 33])
def test_reductions_halve_and_double(side: int) -> None:
    # The widths and resolutions that the cells pass on, seen from outside.
    t = task(1, side, side + 3)
    network = SPACE.network(next(SPACE.enumerate()), t, Stack(cells=4, channels=4, reductions=2))
    shapes = []
    for cell in network.cells:
        cell.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    network(torch.randn(2, 1, side, side + 3))

    def halved(times: int) -> tuple[int, int]:
        h, w = side, side + 3
        for _ in range(times):
            h, w = -(-h // 2), -(-w // 2)
        return h, w

    # cells=4: reductions at 4 // 3 = 1 and 8 // 3 = 2.
    assert shapes == [(4, *halved(0)), (8, *halved(1)), (16, *halved(2)), (16, *halved(2))]


def test_the_cell_after_a_reduction_halves_its_first_input() -> None:
    network = SPACE.network(next(SPACE.enumerate()), task(1, 32, 32), Stack(cells=6, channels=4))
    halves = [isinstance(cell.preprocess[0], FactorizedReduce) for cell in network.cells]
    assert halves == [False, False, False, True, False, True]  # reductions are cells 2 and 4


def test_the_cifar_stem_is_a_convolution_to_three_times_the_width() -> None:
    stem = STEMS["cifar"](3, 5).eval()
    x = torch.randn(2, 3, 6, 6)
    first, second = stem(x)
    assert first is second
    assert stem.channels_out == (15, 15) == (first.shape[1], second.shape[1])
    conv = stem.stem[0]
    assert conv.bias is None
    fresh = (1 + stem.stem[1].eps) ** 0.5  # running variance 1, mean 0
    torch.testing.assert_close(first, F.conv2d(x, conv.weight, padding=1) / fresh)


def test_the_imagenet_stem_halves_three_times() -> None:
    stem = STEMS["imagenet"](3, 6)
    first, second = stem(torch.randn(2, 3, 33, 64))
    assert first.shape == (2, 6, 9, 16)
    assert second.shape == (2, 6, 5, 8)
    convolutions = [m for m in stem.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.stride, c.bias) for c in convolutions] == [
        (3, 3, (2, 2), None),
        (3, 6, (2, 2), None),
        (6, 6, (2, 2), None),
    ]


def test_the_imagenet_form_reduces_the_first_input_of_the_first_cell() -> None:
    stack = Stack(cells=2, channels=4, stem="imagenet", reductions=0)
    network = SPACE.network(next(SPACE.enumerate()), task(3, 32, 32), stack)
    assert isinstance(network.cells[0].preprocess[0], FactorizedReduce)
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize(("side", "stride"), [(8, 3), (7, 2)])
def test_the_auxiliary_head_pools_as_the_public_code_does(side: int, stride: int) -> None:
    head = AuxiliaryHead(5, 3).eval()
    x = torch.randn(2, 5, side, side)
    pooled = nn.AvgPool2d(5, stride=stride, padding=0, count_include_pad=False)(F.relu(x))
    torch.testing.assert_close(head(x), head.classifier(head.features(pooled).flatten(1)))


def test_the_auxiliary_head_works_at_every_size() -> None:
    head = AuxiliaryHead(2, 3).eval()
    for height in range(1, 17):
        for width in {1, height, 17 - height}:
            assert head(torch.randn(1, 2, height, width)).shape == (1, 3)


def test_the_auxiliary_head_stands_behind_two_thirds_of_the_cells() -> None:
    network = SPACE.network(next(SPACE.enumerate()), task(1, 8, 8), Stack(cells=5, channels=4), auxiliary=True).eval()
    seen = {}
    network.cells[2 * 5 // 3].register_forward_hook(lambda module, inputs, output: seen.update(inner=output))
    x = torch.randn(2, 1, 8, 8)
    scores, inner = network.with_auxiliary(x)
    assert torch.equal(scores, network(x))
    assert torch.equal(inner, network.auxiliary(seen["inner"]))


def test_scores_are_a_linear_function_of_the_mean_features() -> None:
    network = SPACE.network(next(SPACE.enumerate()), task(1, 8, 8), Stack(cells=2, channels=4)).eval()
    seen = {}
    network.cells[-1].register_forward_hook(lambda module, inputs, output: seen.update(last=output))
    scores = network(torch.randn(2, 1, 8, 8))
    features = F.adaptive_avg_pool2d(seen["last"], 1).flatten(1)
    torch.testing.assert_close(scores, F.linear(features, network.classifier.weight, network.classifier.bias))
    assert network.with_auxiliary(torch.randn(2, 1, 8, 8))[1] is None


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_everything_runs_where_its_weights_are(stem: str) -> None:
    # The meta device refuses operands from elsewhere, as an accelerator would.
    stack = Stack(cells=3, channels=4, stem=stem, reductions=2)
    t = task(3, 64, 48)
    with torch.device("meta"):
        supernet = space("darts", nodes=2).replace(supernet_stack=stack).supernet(t)
        network = SPACE.network(next(SPACE.enumerate()), t, stack, auxiliary=True)
    x = torch.empty(2, 3, 64, 48, device="meta")
    out = supernet(x, Softmax().mean(logits(supernet)))
    assert (out.device.type, out.shape) == ("meta", (2, 3))
    for y in network.with_auxiliary(x):
        assert (y.device.type, y.shape) == ("meta", (2, 3))
