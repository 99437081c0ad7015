"""NAS-Bench-201's networks: sizes as in the table, the supernet equal to its networks at one-hot mixtures."""

from random import Random

import pytest
import torch

import oche
from oche.bench.encoding import EDGES, OPERATIONS, SIZE, from_index, from_string
from oche.bench.table import Table
from oche.errors import InputError
from oche.nn.network import Stack
from oche.nn.operations import NormForm
from oche.nn.staged import ResidualBlock
from oche.nn.supernet import logits
from oche.spaces.drawing import draw
from oche.spaces.nasbench201 import nasbench201
from oche.spaces.registry import space_from_json
from oche.spaces.staged_space import BARE_SUPERNET
from oche.task import ImageTask

CIFAR = ImageTask(channels=3, height=32, width=32, classes=10)
SPACE = nasbench201()


def test_the_space_is_that_of_the_benchmark():
    assert oche.space("nasbench201") == SPACE
    assert SPACE.size == SIZE
    assert tuple(SPACE.domain.edges) == EDGES
    assert all(edge.selectable == OPERATIONS for edge in SPACE.domain.edges.values())
    assert {SPACE.sample(Random(i)) for i in range(50)} <= set(map(from_index, range(SIZE)))


def test_parameter_counts_are_those_of_the_table():
    table = Table.embedded()
    with torch.device("meta"):
        for i in (*range(0, SIZE, 50), 0, SIZE - 1):
            network = SPACE.network(from_index(i), CIFAR)
            assert sum(p.numel() for p in network.parameters()) == table.parameters(i), i


@pytest.mark.parametrize("side", [32, 8, 7, 28])
@pytest.mark.parametrize(("cells", "channels"), [(3, 4), (4, 2)])
def test_a_supernet_at_a_one_hot_mixture_is_the_network(side, cells, channels, same_outputs):
    task = ImageTask(channels=1, height=side, width=side, classes=3)
    space = SPACE.replace(supernet_stack=Stack(cells=cells, channels=channels))
    same_outputs(space, task, space.sample(Random(side)))


def test_average_pooling_has_no_normalization_anywhere():
    supernet = SPACE.replace(supernet_stack=Stack(cells=1, channels=4)).supernet(CIFAR)
    pools = [m for n, m in supernet.named_modules() if n.endswith("avg_pool_3x3")]
    assert pools
    assert all(isinstance(m, torch.nn.AvgPool2d) for m in pools)
    assert NormForm(affine=False, after_pooling=False) == BARE_SUPERNET


def test_logits_are_shared_by_all_cells():
    assert set(logits(SPACE.supernet(CIFAR))) == set(EDGES)


def test_a_residual_block_is_the_published_one_and_works_at_odd_sizes():
    block = ResidualBlock(4, 8).eval()
    x = torch.randn(2, 4, 8, 8)
    a = block.convolutions[2](block.convolutions[1](x.relu()))
    b = block.convolutions[5](block.convolutions[4](a.relu()))
    pooled = x.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-1, -2))
    assert torch.allclose(block(x), b + block.shortcut[1](pooled), atol=1e-6)
    assert block(torch.randn(2, 4, 7, 7)).shape == (2, 8, 4, 4)


def test_a_cell_without_any_operation_still_runs():
    network = SPACE.network(
        from_string("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"), CIFAR, Stack(cells=3, channels=4)
    )
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_json_gives_the_same_space():
    space = SPACE.replace(supernet_stack=Stack(cells=3, channels=8))
    assert space_from_json(space.to_json()) == space


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"auxiliary head.*--train.auxiliary 0"):
        SPACE.network(from_index(0), CIFAR, auxiliary=True)
    with pytest.raises(InputError, match="belongs to space 'darts'"):
        SPACE.network(oche.known_architectures()["darts-v2"].architecture, CIFAR)
    with pytest.raises(InputError, match="leave out nodes"):
        oche.space("nasbench201", nodes=3)


def test_a_drawing_has_every_edge():
    lines = draw(SPACE, from_index(7)).splitlines()
    assert lines[0] == "cell"
    assert len(lines) == 7
    assert lines[1].split()[:2] == ["node", "1"]
    assert lines[1].endswith(" node 0")
    assert lines[6].endswith(" node 2")


def test_a_search_finds_an_architecture_of_the_benchmark():
    data = oche.load("digits", oche.DataOptions(limit=200))
    space = SPACE.replace(supernet_stack=Stack(cells=2, channels=4))
    result = oche.search(space, data=data, epochs=1, batch=32)
    assert 0 <= Table.embedded().accuracy(result.architecture, "cifar10") <= 100
