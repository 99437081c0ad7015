"""What the batched form promises beside the right numbers (tests/nn/fast/test_engines.py): few calls."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from oche.nn.engine import FAST, REFERENCE, set_engine
from oche.nn.fast import planning
from oche.nn.fast.batched import Batched
from oche.nn.fast.fan import Fan
from oche.nn.fast.part import Member
from oche.nn.network import Stack
from oche.nn.operations import OPERATIONS, SUPERNET, operation
from oche.nn.supernet import Supernet, logits, weights
from oche.spaces.registry import space
from oche.task import ImageTask


class Calls(TorchDispatchMode):
    """Counts the operators that are called inside and are no views."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def calls(net: Supernet, engine: str) -> int:
    """Of a forward and a backward pass with all gradients, in training."""
    set_engine(net, engine)
    mixture = {key: torch.full_like(a, 0.25).requires_grad_() for key, a in logits(net).items()}
    with Calls() as seen:
        loss = net(torch.randn(2, 3, 8, 8), mixture).sum()
        torch.autograd.grad(loss, [*mixture.values(), *weights(net)], allow_unused=True)
    return seen.count


@pytest.mark.parametrize(("name", "ratio"), [("darts", 3), ("nasbench201", 1.7)])
def test_it_calls_a_fraction_of_the_operators(name: str, ratio: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "ONE_BY_ONE", ())
    task = ImageTask(channels=3, height=8, width=8, classes=3)
    net = space(name).replace(supernet_stack=Stack(cells=3, channels=4)).supernet(task)
    assert calls(net, REFERENCE) > ratio * calls(net, FAST)


def test_the_type_of_device_decides_and_what_does_not_fit_is_evaluated_otherwise() -> None:
    def planned(device: str, **strides: int) -> object:
        known = [operation(name, 4, strides.get(name, 1), SUPERNET) for name in sorted(set(OPERATIONS) - {"noise"})]
        members = [Member(2, i, module) for i, module in enumerate(known)]
        return type(planning.plan(members, torch.empty(2, 4, 8, 8, device=device))[0])

    assert planned("meta") is Batched
    assert planned("cpu") is Fan
    assert planned("meta", max_pool_3x3=2) is Fan
