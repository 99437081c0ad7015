"""The space of the embedded table of curves: small enough to count."""

from itertools import product
from random import Random

import pytest
import torch

import oche
from oche.architecture import Architecture
from oche.bench.encoding import OPERATIONS
from oche.errors import InputError
from oche.methods import METHODS
from oche.nn.network import Stack
from oche.nn.supernet import logits
from oche.presets import at_preset, preset
from oche.spaces.bench125 import STACK, bench125
from oche.spaces.registry import space_from_json
from oche.spaces.staged_space import StagedSpace
from oche.task import ImageTask

SPACE = bench125()
DIGITS = ImageTask(channels=1, height=8, width=8, classes=10)
EDGES = ("cell/1<-0", "cell/2<-0", "cell/2<-1")


def test_all_cells_of_three_nodes():
    found = list(SPACE.enumerate())
    assert len(found) == SPACE.size == 125
    assert set(found) == {
        Architecture.of("bench125", dict(zip(EDGES, chosen, strict=True))) for chosen in product(OPERATIONS, repeat=3)
    }
    assert list(SPACE.enumerate()) == found, "tables are in this order"
    assert {SPACE.sample(Random(i)) for i in range(50)} <= set(found)


def test_it_is_registered_and_survives_json():
    assert oche.space("bench125") == SPACE == space_from_json(SPACE.to_json())
    assert set(logits(SPACE.supernet(DIGITS))) == set(EDGES)
    with pytest.raises(InputError, match="leave out nodes"):
        oche.space("bench125", nodes=3)


@pytest.mark.parametrize("side", [8, 7])
def test_a_supernet_at_a_one_hot_mixture_is_the_network(side, same_outputs):
    task = ImageTask(channels=1, height=side, width=side, classes=3)
    for seed in range(4):
        same_outputs(SPACE, task, SPACE.sample(Random(seed)))


def test_supernet_and_networks_have_one_stage():
    """No residual block between stages: what distinguishes two networks is their cells."""
    all_none = Architecture.of("bench125", dict.fromkeys(EDGES, "none"))
    all_skip = Architecture.of("bench125", dict.fromkeys(EDGES, "skip_connect"))
    counts = [sum(p.numel() for p in SPACE.network(a, DIGITS).parameters()) for a in (all_none, all_skip)]
    assert counts[0] == counts[1]
    one = Architecture.of("bench125", {**all_skip.choices, "cell/2<-0": "nor_conv_3x3"})
    # Three cells, one convolution of 8 to 8 channels in each, and its normalization.
    more = sum(p.numel() for p in SPACE.network(one, DIGITS).parameters()) - counts[0]
    assert more == STACK.cells * (8 * 8 * 9 + 2 * 8)


def test_a_preset_makes_a_supernet_smaller_and_never_larger():
    assert at_preset(SPACE, preset("tiny").supernet) == SPACE
    assert at_preset(SPACE, None) == SPACE
    for cells, channels in ((20, 4), (2, 64), (20, 64), (1, 2)):
        own = SPACE.replace(supernet_stack=Stack(cells=cells, channels=channels, reductions=0))
        fitted = at_preset(own, Stack(cells=3, channels=8)).supernet_stack
        assert fitted == Stack(cells=min(cells, 3), channels=min(channels, 8), reductions=0)


def test_a_method_may_have_a_size_and_a_multiple_of_its_own():
    progressive = METHODS["drnas-progressive"]
    own = SPACE.replace(supernet_stack=Stack(cells=2, channels=16, reductions=0))
    for stack, expected in (
        (None, Stack(cells=20, channels=36, reductions=0)),
        (Stack(cells=3, channels=8), Stack(cells=3, channels=12, reductions=0)),
        (Stack(cells=40, channels=25), Stack(cells=20, channels=36, reductions=0)),
    ):
        assert at_preset(own, stack, progressive).supernet_stack == expected
    assert at_preset(own, None, progressive.fitted("bench125")) == own
    assert at_preset(own, Stack(cells=3, channels=7), METHODS["darts"]).supernet_stack.channels == 7


@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_any_number_of_nodes_and_any_candidates(nodes, same_outputs):
    candidates = ("skip_connect", "nor_conv_1x1")
    space = StagedSpace(
        name="mine", nodes=nodes, candidates=candidates, supernet_stack=STACK, network_stack=Stack(cells=1, channels=2)
    )
    assert space.size == 2 ** (nodes * (nodes - 1) // 2)
    assert space_from_json(space.to_json()) == space
    same_outputs(space, DIGITS, space.sample(Random(0)))
    assert space.network(space.sample(Random(0)), DIGITS)(torch.randn(2, 1, 8, 8)).shape == (2, 10)
