import copy

import pytest
import torch
from torch import nn

from oche.errors import InputError
from oche.objective.base import InnerStep, mixture_gradient, weight_gradient

X = torch.randn(8, 3, dtype=torch.float64)


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def sgd_step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    net(X).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("steps_before", [0, 1, 3])
@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.1), (0.9, 3e-4)])
def test_the_inner_step_is_the_next_step_of_the_real_optimizer(
    steps_before: int, momentum: float, decay: float
) -> None:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=momentum, weight_decay=decay)
    for _ in range(steps_before):
        sgd_step(net, optimizer)
    w = [p.detach().clone() for p in net.parameters()]
    gradients = torch.autograd.grad(net(X).square().mean(), list(net.parameters()))
    before = copy.deepcopy(optimizer.state_dict())
    ahead = InnerStep.of(optimizer).apply(w, gradients)
    # Looking ahead changes nothing ...
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), w, strict=True))
    for index, state in before["state"].items():
        buffer = optimizer.state_dict()["state"][index]["momentum_buffer"]
        assert buffer is None or torch.equal(buffer, state["momentum_buffer"])
    # ... and tells what comes.
    sgd_step(net, optimizer)
    for expected, found in zip(net.parameters(), ahead, strict=True):
        torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-14)
    assert not torch.equal(w[0], ahead[0])


@pytest.mark.parametrize("share", [0.3, 1.0, 3.0])
def test_the_inner_step_is_clipped_as_the_real_gradient(share: float) -> None:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    net(X).square().mean().backward()
    gradients = [p.grad.clone() for p in net.parameters()]
    norm = torch.cat([g.flatten() for g in gradients]).norm().item()
    w = [p.detach().clone() for p in net.parameters()]
    ahead = InnerStep.of(optimizer, share * norm).apply(w, gradients)
    nn.utils.clip_grad_norm_(net.parameters(), share * norm)
    optimizer.step()
    for expected, found in zip(net.parameters(), ahead, strict=True):
        # PyTorch divides by the norm plus 1e-6.
        torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-7)


def test_the_velocity_is_zero_before_the_first_step() -> None:
    net = model()
    inner = InnerStep.of(torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9))
    zero = [torch.zeros_like(p) for p in net.parameters()]
    w = [p.detach() for p in net.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(inner.apply(w, zero), w, strict=True))


def test_a_weight_that_is_never_used_leaves_the_momentum_of_the_others() -> None:
    # Such a weight gets no gradient, so that SGD never makes a momentum buffer for it.
    used, unused = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.SGD([used, unused], lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        used.square().sum().backward()
        optimizer.step()
    gradient = 2 * used.detach()
    (ahead, still) = InnerStep.of(optimizer).apply(
        [used.detach().clone(), unused.detach()], [gradient, torch.zeros_like(unused)]
    )
    optimizer.zero_grad()
    used.square().sum().backward()
    optimizer.step()
    torch.testing.assert_close(ahead, used.detach())
    torch.testing.assert_close(still, unused.detach())


@pytest.mark.parametrize(
    "build",
    [
        torch.optim.Adam,
        torch.optim.AdamW,
        torch.optim.RMSprop,
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1),
    ],
    ids=["adam", "adamw", "rmsprop", "nesterov", "dampening"],
)
def test_another_optimizer_is_refused(build: type[torch.optim.Optimizer]) -> None:
    with pytest.raises(InputError, match=r"plain SGD.*first-order"):
        InnerStep.of(build(model().parameters()))


def test_gradients_are_zero_where_nothing_depends() -> None:
    used, unused = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    found = mixture_gradient((used**2).sum(), {"used": used, "unused": unused})
    assert torch.equal(found["used"], 2 * used.detach())
    assert torch.equal(found["unused"], torch.zeros_like(unused))
    first, second = weight_gradient((used**3).sum(), [unused, used])
    assert torch.equal(first, torch.zeros_like(unused))
    torch.testing.assert_close(second, 3 * used.detach() ** 2)
    assert used.grad is None
