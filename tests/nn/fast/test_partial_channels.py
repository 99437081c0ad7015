"""The fast engine where channels go around the candidates, before and after more of them go through."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import oche
from oche.methods import composed
from oche.mixture.softmax import Softmax
from oche.nn.bypass import Bypass
from oche.nn.cell import Graph, MixedEdge
from oche.nn.choice import Choice
from oche.nn.engine import FAST, set_engine
from oche.nn.operations import SUPERNET, operation
from oche.nn.structure import PartialChannels
from oche.nn.supernet import Supernet, initialize_logits, logits, one_hot, weights
from oche.nn.widening import widen
from oche.spaces.registry import space
from oche.testing import SPACES, check_engines

pytestmark = pytest.mark.usefixtures("kernels")


def supernet_of(name: str, *shares: int, side: int = 8) -> Supernet:
    """Two cells of 12 channels in float64, with unequal logits."""
    task = oche.ImageTask(channels=2, height=side, width=side, classes=3)
    searched = space(name, nodes=2 if name == "darts" else None).replace(
        supernet_stack=oche.Stack(cells=2, channels=12)
    )
    made = searched.supernet(task, PartialChannels(shares=shares)).double()
    initialize_logits(made, 1.0, torch.Generator().manual_seed(0))
    return made


@pytest.mark.parametrize(("side", "training"), [(8, True), (7, True), (7, False)])
@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_both_engines_agree(name: str, side: int, training: bool) -> None:
    net = supernet_of(name, 4, side=side).train()
    x, y = torch.randn(4, 2, side, side).double(), torch.tensor([0, 1, 2, 0])
    with torch.no_grad():
        net(2 * x + 1, Softmax().mean(logits(net)))  # running statistics that are not the initial ones
    net.train(training)
    found = {}
    for engine in ("reference", "fast"):
        supernet = copy.deepcopy(net)
        set_engine(supernet, engine)
        mixture = {k: v.detach().requires_grad_() for k, v in Softmax().mean(logits(supernet)).items()}
        inputs = x.clone().requires_grad_()
        output = supernet(inputs, mixture)
        gradients = torch.autograd.grad(
            nn.functional.cross_entropy(output, y),
            [inputs, *mixture.values(), *weights(supernet)],
            materialize_grads=True,
            allow_unused=True,
        )
        found[engine] = [output, *gradients, *supernet.buffers()]
    for a, b in zip(*found.values(), strict=True):
        assert torch.allclose(a.double(), b.double(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_engines_agree_in_evaluations_that_leave_candidates_out(name: str) -> None:
    net = supernet_of(name, 4).eval()
    fast = copy.deepcopy(net)
    set_engine(fast, FAST)
    x = torch.randn(3, 2, 8, 8).double()
    mixture = one_hot(net, {key: i % 5 for i, key in enumerate(logits(net))})
    with torch.no_grad():
        torch.testing.assert_close(fast(x, mixture), net(x, mixture), rtol=1e-10, atol=1e-10)


def test_edges_with_another_bypass_may_leave_the_same_state() -> None:
    """In a user's graph; the fast engine groups them."""

    class Body(Graph):
        def __init__(self) -> None:
            super().__init__([{0: self.edge(0, None, 8)}, {0: self.edge(1, 2, 4), 1: self.edge(2, 4, 2)}])

        def edge(self, number: int, share: int | None, inside: int) -> MixedEdge:
            names = ("sep_conv_3x3", "skip_connect", "avg_pool_3x3")
            choice = Choice({name: operation(name, inside, 1, SUPERNET) for name in names}, str(number))
            return MixedEdge(choice, str(number), None if share is None else Bypass(share=share, stride=1))

        def forward(self, x: Tensor, mixture: dict[str, Tensor]) -> Tensor:
            return torch.cat(self.states([x], mixture)[1:], 1)

    net = Supernet(Body()).double()
    fast = copy.deepcopy(net)
    set_engine(fast, FAST)
    x, mixture = torch.randn(2, 8, 5, 5).double(), Softmax().mean(logits(net))
    torch.testing.assert_close(fast(x, mixture), net(x, mixture), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "shares"), [("darts", (6, 4)), ("nasbench201", (4, 2)), ("rdarts-s1", (3, 1))])
def test_engines_agree_before_and_after_widening(name: str, shares: tuple[int, int]) -> None:
    reference = supernet_of(name, *shares)
    fast = copy.deepcopy(reference)
    set_engine(fast, FAST)
    x, y = torch.randn(3, 2, 8, 8).double(), torch.tensor([0, 1, 2])
    for _ in range(2):
        found = []
        for net in (reference, fast):
            mixture = {k: v.detach().requires_grad_() for k, v in Softmax().mean(logits(net)).items()}
            loss = nn.functional.cross_entropy(net(x, mixture), y)
            asked = [*mixture.values(), *weights(net)]
            found.append([loss, *torch.autograd.grad(loss, asked, allow_unused=True, materialize_grads=True)])
        for a, b in zip(*found, strict=True):
            assert torch.allclose(a, b, rtol=1e-8, atol=1e-10)
        for net in (reference, fast):
            widen(net, shares[1], torch.Generator().manual_seed(0))


def test_second_derivatives_go_through_the_channels_that_are_mixed() -> None:
    check_engines(composed("darts", structure="partial-channels", objective="amended-exact"), SPACES["darts"]())
