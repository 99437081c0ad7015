"""What the tests of all spaces of the form of NAS-Bench-201 share."""

from collections.abc import Callable

import pytest
import torch

from oche.architecture import Architecture
from oche.nn.supernet import one_hot
from oche.spaces.staged_space import BARE_SUPERNET, StagedSpace
from oche.task import ImageTask


def _same_outputs(space: StagedSpace, task: ImageTask, architecture: Architecture) -> None:
    supernet = space.supernet(task).train()
    network = space.network(architecture, task, space.supernet_stack, form=BARE_SUPERNET).train()
    weights = supernet.body.state_dict()
    for name, value in network.state_dict().items():
        head, inside, tail = name.partition(".operation.")
        if inside:
            node, source = head.split(".")[-2:]
            head += f".choice.candidates.{architecture.choices[f'cell/{int(node) + 1}<-{source}']}."
        value.copy_(weights[head + tail])
    x = torch.randn(5, task.channels, task.height, task.width)
    chosen_indices = {key: space.candidates.index(str(c)) for key, c in architecture.items}
    expected = supernet(x, one_hot(supernet, chosen_indices))
    assert torch.allclose(network(x), expected, atol=1e-5)


@pytest.fixture
def same_outputs() -> Callable[[StagedSpace, ImageTask, Architecture], None]:
    """Asserts that a supernet at a one-hot mixture is the network, with the supernet's weights."""
    return _same_outputs
