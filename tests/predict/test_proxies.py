"""Every proxy by the property that defines it."""

import math
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.architecture import Architecture
from oche.bench.encoding import from_string
from oche.errors import InputError
from oche.nn.network import Stack
from oche.predict.proxies import (
    PROXIES,
    GradientNorm,
    JacobianCovariance,
    MultiplyAdds,
    Naswot,
    Parameters,
    Scorer,
    SynFlow,
    proxy,
)
from oche.spaces.registry import space
from oche.task import ImageTask

TASK = ImageTask(channels=3, height=8, width=8, classes=5)
STACK = Stack(cells=3, channels=4, reductions=0)
BENCH201 = space("nasbench201")
DEAD = from_string("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
RICH = from_string("|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_1x1~2|")


def batch(n: int = 6) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, 8, 8, generator=random), torch.arange(n) % 5


def network(architecture: Architecture = RICH) -> nn.Module:
    torch.manual_seed(1)
    return BENCH201.network(architecture, TASK, STACK)


def test_synaptic_flow_is_conserved() -> None:
    """What is in the first layer is in the last: each of them alone is a cut of the network, and so is R."""
    flows = SynFlow().flows(network(), batch()[0])
    first, last = float(flows["stem.0.weight"].sum()), float(flows["classifier.weight"].sum())
    assert first == pytest.approx(last, rel=1e-10)
    assert all(bool((flow >= 0).all()) for flow in flows.values())
    chain = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(80, 2)
    )
    sums = [float(flow.sum()) for flow in SynFlow().flows(chain, batch()[0]).values()]
    assert len(sums) == 3
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-10)
    with torch.no_grad():  # and it is R, computed without the proxy
        hidden = F.conv2d(torch.ones(1, 3, 8, 8).double(), chain[0].weight.abs().double())
        hidden = F.conv2d(hidden, chain[3].weight.abs().double()).flatten(1)
        passed = float(F.linear(hidden, chain[5].weight.abs().double()).sum())
    assert sums[0] == pytest.approx(passed, rel=1e-10)
    assert SynFlow().score(chain, *batch()) == pytest.approx(math.log1p(3 * passed), rel=1e-10)


def test_synflow_sees_no_image_and_a_dead_network_passes_nothing_through_its_cells() -> None:
    images, labels = batch()
    assert SynFlow().score(network(), images, labels) == SynFlow().score(network(), 7 - images, labels)
    flows = SynFlow().flows(network(DEAD), images)
    assert not any(bool(flow.any()) for flow in flows.values())
    assert SynFlow().score(network(DEAD), images, labels) == 0 < SynFlow().score(network(), images, labels)


def test_synflow_leaves_the_network_as_it_was() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    SynFlow().score(net, *batch())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_jacobians_that_do_not_correlate_are_best() -> None:
    """Orthogonal centred rows have the identity as correlation; equal rows have the eigenvalues N and 0."""
    k, n = 1e-5, 4
    orthogonal = torch.tensor([[1, -1, 1, -1], [1, 1, -1, -1]])
    best = JacobianCovariance.of_jacobian(orthogonal)
    assert best == pytest.approx(-2 * (math.log(1 + k) + 1 / (1 + k)))
    worst = JacobianCovariance.of_jacobian(torch.arange(8.0).repeat(n, 1))
    assert worst == pytest.approx(-(math.log(n + k) + 1 / (n + k)) - (n - 1) * (math.log(k) + 1 / k), rel=1e-6)
    rows = np.random.default_rng(0).normal(size=(n, 8))
    v = np.linalg.eigvalsh(np.corrcoef(rows)) + k
    found = JacobianCovariance.of_jacobian(torch.from_numpy(rows))
    assert found == pytest.approx(-np.sum(np.log(v) + 1 / v))
    assert worst < found < n / 2 * best < 0


def test_a_linear_network_has_the_same_jacobian_everywhere() -> None:
    images, labels = batch()
    linear = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    nonlinear = nn.Sequential(nn.Flatten(), nn.Linear(192, 9), nn.ReLU(), nn.Linear(9, 5))
    score = JacobianCovariance().score
    assert score(linear, images, labels) < score(nonlinear, images, labels)
    n, k = len(images), 1e-5
    wanted = -(math.log(n + k) + 1 / (n + k)) - (n - 1) * (math.log(k) + 1 / k)
    assert score(linear, images, labels) == pytest.approx(wanted, rel=1e-6)
    constant = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    nn.init.zeros_(constant[1].weight)
    assert score(constant, images, labels) == -math.inf


def test_the_kernel_counts_where_codes_agree() -> None:
    """Codes are taken down with hooks here, and compared image by image; a ReLU that is a function counts too."""
    images, labels = batch()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.relu, self.second = nn.Linear(192, 7), nn.ReLU(inplace=True), nn.Linear(7, 5)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.second(self.relu(self.first(x.flatten(1)))))

    net = Net()
    hidden = net.first(images.flatten(1))
    code = torch.cat([hidden > 0, net.second(F.relu(hidden)) > 0], dim=1).tolist()
    wanted = [[float(sum(a == b for a, b in zip(one, other, strict=True))) for other in code] for one in code]
    kernel = Naswot.kernel(net, images)
    assert kernel.tolist() == wanted
    assert all(kernel[i, i] == 12 for i in range(len(images)))
    assert Naswot().score(net, images, labels) == pytest.approx(np.linalg.slogdet(np.array(wanted))[1])
    assert Naswot().score(net, images[:1].repeat(3, 1, 1, 1), labels[:3]) == -math.inf, "nothing tells equal images"


def test_gradient_norms_are_those_of_a_backward_pass() -> None:
    images, labels = batch()
    net = network()
    found = GradientNorm().score(net, images, labels)
    F.cross_entropy(net(images), labels).backward()
    wanted = [p.grad.square().sum().sqrt().item() for p in net.parameters() if p.dim() > 1 and p.grad is not None]
    assert found == pytest.approx(sum(wanted), rel=1e-5)


def test_parameters_and_multiply_adds_are_those_on_paper() -> None:
    """A cell of RICH at 4 channels: two 3x3 and two 1x1 convolutions with normalization; 3 cells, stem, head."""
    convolutions = 3 * (2 * 9 * 4 * 4 + 2 * 4 * 4)
    norms = 3 * 4 * 2 * 4 + 2 * 4 + 2 * 4
    assert Parameters().score(network(), *batch()) == convolutions + norms + 27 * 4 + 4 * 5 + 5
    assert MultiplyAdds().score(network(), *batch()) == 64 * (convolutions + 27 * 4) + 4 * 5


@pytest.mark.parametrize("name", list(PROXIES))
def test_an_architecture_has_one_score(name: str) -> None:
    """Whatever was drawn before, on NAS-Bench-201 and on a DARTS cell with its factorized reductions."""
    for of, stack in ((BENCH201, STACK), (space("darts"), Stack(cells=3, channels=4))):
        task = TASK if of is BENCH201 else ImageTask(channels=3, height=16, width=16, classes=5)
        images = torch.randn(4, 3, task.height, task.width)
        scorer = Scorer(proxy=proxy(name), space=of, task=task, stack=stack, batch=(images, torch.arange(4)))
        architecture = of.sample(Random(3))
        first = scorer.scores([architecture])[architecture]
        torch.rand(5)
        assert scorer.score(architecture) == first
        assert math.isfinite(first)


@pytest.mark.parametrize("name", list(PROXIES))
def test_a_network_that_passes_nothing_is_last(name: str) -> None:
    scorer = Scorer(proxy=proxy(name), space=BENCH201, task=TASK, stack=STACK, batch=batch())
    assert scorer.score(DEAD) < scorer.score(RICH)


def test_what_needs_images_says_so() -> None:
    for name in ("jacob-cov", "naswot", "grad-norm"):
        with pytest.raises(InputError, match=rf"{name}' needs a batch of images.*take synflow, parameters or madds"):
            Scorer(proxy=proxy(name), space=BENCH201, task=TASK, stack=STACK)
    scorer = Scorer(proxy=proxy("synflow"), space=BENCH201, task=TASK, stack=STACK)
    assert scorer.score(DEAD) < scorer.score(RICH)
    with pytest.raises(InputError, match="unknown zero-cost proxy 'sinflow'; did you mean 'synflow'"):
        proxy("sinflow")
