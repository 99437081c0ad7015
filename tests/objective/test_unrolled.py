"""Hypergradients against closed forms, exact double backward, and differences of real optimizer steps."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.data.batches import Batch
from oche.moment import Moment
from oche.nn.choice import Choice
from oche.nn.mixture import Mixture
from oche.nn.network import Stack
from oche.nn.supernet import ModuleBody, Supernet, logits, weights
from oche.objective.base import Bilevel, Point
from oche.objective.first_order import FirstOrder
from oche.objective.problem import SupernetProblem
from oche.objective.unrolled import Unrolled
from oche.spaces.cell_space import CellSpace
from oche.task import ImageTask

DOUBLE = {"dtype": torch.float64}
NOW = Moment(epoch=0, epochs=1)
# A second-order error falls by 4 when the radius is halved; the next order of the expansion shifts that a little.
HALVED_RADIUS = pytest.approx(4, rel=0.1)


class Line:
    """`L = (w x - A)^2` on one sample, x = 1 in training and x = 2 in validation (methods.md, Amended-DARTS)."""

    def train(self, weights: Sequence[Tensor], mixture: Mixture, batch: Batch) -> Tensor:
        return (weights[0] * batch[0] - mixture["a"]).square().sum()

    valid = train


@pytest.mark.parametrize("target", [0.7, -1.3])
@pytest.mark.parametrize("lr", [0.01, 0.3])
@pytest.mark.parametrize("radius", [0.01, 1.0])
def test_the_line_has_its_closed_form(target: float, lr: float, radius: float) -> None:
    w = torch.tensor([target], **DOUBLE, requires_grad=True)
    point = Point(
        weights=[w.detach()],
        mixture={"a": torch.tensor([target], **DOUBLE, requires_grad=True)},
        train_batch=(1.0, None),
        valid_batch=(2.0, None),
        optimizer=torch.optim.SGD([w], lr=lr),
        now=NOW,
    )
    assert FirstOrder().gradient(Line(), point)["a"].item() == pytest.approx(-2 * target, rel=1e-12)
    # The loss is quadratic, so central differences are exact at any radius.
    unrolled = Unrolled(radius=radius).gradient(Line(), point)["a"].item()
    assert unrolled == pytest.approx(-2 * target + 8 * lr * target, rel=1e-9)


class Net:
    """Two mixed layers with smooth candidates, and different losses in training and validation."""

    shapes = ((5, 3), (4, 5), (1, 4))

    def weights(self) -> list[Tensor]:
        return [torch.randn(shape, **DOUBLE, requires_grad=True) for shape in self.shapes]

    def mixture(self) -> dict[str, Tensor]:
        return {"p": torch.softmax(torch.randn(3, **DOUBLE), 0), "q": torch.softmax(torch.randn(2, **DOUBLE), 0)}

    def batch(self) -> Batch:
        return torch.randn(6, 3, **DOUBLE), torch.randn(6, 1, **DOUBLE)

    def output(self, w: Sequence[Tensor], a: Mixture, x: Tensor) -> Tensor:
        h = x @ w[0].T
        h = a["p"][0] * torch.tanh(h) + a["p"][1] * torch.sin(h) + a["p"][2] * h
        h = h @ w[1].T
        return (a["q"][0] * torch.sigmoid(h) + a["q"][1] * h) @ w[2].T

    def train(self, weights: Sequence[Tensor], mixture: Mixture, batch: Batch) -> Tensor:
        return (self.output(weights, mixture, batch[0]) - batch[1]).square().mean()

    def valid(self, weights: Sequence[Tensor], mixture: Mixture, batch: Batch) -> Tensor:
        return F.softplus(self.output(weights, mixture, batch[0]) - batch[1]).mean()


@dataclass
class Setting:
    problem: Bilevel
    point: Point
    lr: float
    momentum: float
    decay: float

    def exact(self) -> dict[str, Tensor]:
        """By differentiating through the whole inner step, written out here once more."""
        point = self.point
        w = [x.detach().requires_grad_() for x in point.weights]
        a = {key: x.detach().requires_grad_() for key, x in point.mixture.items()}
        gradients = torch.autograd.grad(self.problem.train(w, a, point.train_batch), w, create_graph=True)
        parameters = point.optimizer.param_groups[0]["params"]
        velocity = [point.optimizer.state[p].get("momentum_buffer") for p in parameters]
        ahead = [
            x - self.lr * (self.momentum * (torch.zeros_like(x) if v is None else v) + g + self.decay * x.detach())
            for x, g, v in zip(w, gradients, velocity, strict=True)
        ]
        loss = self.problem.valid(ahead, a, point.valid_batch)
        return dict(zip(a, torch.autograd.grad(loss, list(a.values())), strict=True))

    def error(self, radius: float) -> float:
        exact, found = self.exact(), Unrolled(radius=radius).gradient(self.problem, self.point)
        assert list(found) == list(exact)
        return max(float((found[key] - exact[key]).abs().max()) for key in exact)

    @property
    def scale(self) -> float:
        """How far the second-order gradient is from the first-order one: what an error is to be compared with."""
        exact, first = self.exact(), FirstOrder().gradient(self.problem, self.point)
        return max(float((first[key] - exact[key]).abs().max()) for key in exact)


def setting(momentum: float, decay: float, steps_before: int, lr: float = 0.05) -> Setting:
    net = Net()
    w, a = net.weights(), net.mixture()
    optimizer = torch.optim.SGD(w, lr=lr, momentum=momentum, weight_decay=decay)
    for _ in range(steps_before):
        optimizer.zero_grad()
        net.train(w, a, net.batch()).backward()
        optimizer.step()
    optimizer.zero_grad()
    point = Point(
        weights=[x.detach() for x in w],
        mixture={key: x.requires_grad_() for key, x in a.items()},
        train_batch=net.batch(),
        valid_batch=net.batch(),
        optimizer=optimizer,
        now=NOW,
    )
    return Setting(net, point, lr, momentum, decay)


MEMORIES = pytest.mark.parametrize(
    ("momentum", "decay", "steps_before"), [(0.0, 0.0, 0), (0.9, 0.1, 0), (0.0, 0.1, 2), (0.9, 0.1, 3)]
)


@MEMORIES
def test_the_error_falls_as_the_square_of_the_radius(momentum: float, decay: float, steps_before: int) -> None:
    s = setting(momentum, decay, steps_before)
    errors = [s.error(radius) for radius in (0.08, 0.04, 0.02)]
    assert errors[0] / errors[1] == HALVED_RADIUS
    assert errors[1] / errors[2] == HALVED_RADIUS
    assert errors[-1] < 1e-3 * s.scale


@MEMORIES
def test_real_optimizer_steps_confirm_the_unrolled_gradient(momentum: float, decay: float, steps_before: int) -> None:
    s = setting(momentum, decay, steps_before)
    found = Unrolled(radius=1e-3).gradient(s.problem, s.point)

    def after_a_step(key: str, index: int, shift: float) -> float:
        """The validation loss after PyTorch has made the step of SGD under a shifted mixture."""
        a = {k: x.detach().clone() for k, x in s.point.mixture.items()}
        a[key][index] += shift
        w = [x.clone().requires_grad_() for x in s.point.weights]
        optimizer = torch.optim.SGD(w, lr=s.lr, momentum=s.momentum, weight_decay=s.decay)
        optimizer.load_state_dict(copy.deepcopy(s.point.optimizer.state_dict()))
        s.problem.train(w, a, s.point.train_batch).backward()
        optimizer.step()
        return s.problem.valid(w, a, s.point.valid_batch).item()

    h = 1e-5
    for key, gradient in found.items():
        for index, value in enumerate(gradient.tolist()):
            difference = (after_a_step(key, index, h) - after_a_step(key, index, -h)) / (2 * h)
            assert value == pytest.approx(difference, abs=1e-4 * s.scale)


def test_where_it_is_clipped_the_step_and_the_direction_are_shorter() -> None:
    s = setting(0.0, 0.1, 0)
    point = s.point

    def at(clip: float | None) -> dict[str, Tensor]:
        return Unrolled(radius=1e-3).gradient(s.problem, replace(point, clip=clip))

    assert all(torch.equal(a, b) for a, b in zip(at(None).values(), at(1e9).values(), strict=True))
    # By hand, with exact second derivatives: g1 - lr d2L_train/(da dw) v at a w' of a clipped gradient, v clipped.
    w = [x.detach().requires_grad_() for x in point.weights]
    gradients = torch.autograd.grad(s.problem.train(w, point.mixture, point.train_batch), w, create_graph=True)
    norm = torch.cat([g.detach().flatten() for g in gradients]).norm()
    share = 0.05
    clip = share * norm.item()
    ahead = [(x - s.lr * (share * g + 0.1 * x)).detach().requires_grad_() for x, g in zip(w, gradients, strict=True)]
    a = list(point.mixture.values())
    both = torch.autograd.grad(s.problem.valid(ahead, point.mixture, point.valid_batch), [*a, *ahead])
    first, v = both[: len(a)], both[len(a) :]
    factor = min(1.0, clip / torch.cat([d.flatten() for d in v]).norm().item())
    assert factor < 1
    mixed = torch.autograd.grad(sum((g * factor * d).sum() for g, d in zip(gradients, v, strict=True)), a)
    for found, g1, product in zip(at(clip).values(), first, mixed, strict=True):
        torch.testing.assert_close(found, g1 - s.lr * product, rtol=0, atol=1e-3 * float((s.lr * product).abs().max()))


class Watched(Net):
    """Notes where the training loss is evaluated."""

    def __init__(self) -> None:
        self.places: list[list[Tensor]] = []

    def train(self, weights: Sequence[Tensor], mixture: Mixture, batch: Batch) -> Tensor:
        self.places.append([w.detach() for w in weights])
        return super().train(weights, mixture, batch)


@pytest.mark.parametrize("radius", [0.01, 1.0])
def test_the_finite_difference_has_the_stated_radius(radius: float) -> None:
    s, watched = setting(0.9, 0.1, 2), Watched()
    Unrolled(radius=radius).gradient(watched, s.point)
    here, *sides = (torch.cat([w.flatten() for w in place]) for place in watched.places)
    assert torch.equal(here, torch.cat([w.flatten() for w in s.point.weights]))
    assert len(sides) == 2
    for side in sides:
        assert (side - here).norm().item() == pytest.approx(radius, rel=1e-9)
    torch.testing.assert_close((sides[0] + sides[1]) / 2, here)


def test_first_order_is_the_gradient_of_the_validation_loss() -> None:
    s = setting(0.9, 0.1, 2)
    a = {key: x.detach().requires_grad_() for key, x in s.point.mixture.items()}
    s.problem.valid(s.point.weights, a, s.point.valid_batch).backward()
    found = FirstOrder().gradient(s.problem, s.point)
    assert all(torch.equal(found[key], a[key].grad) for key in a)


def test_a_rate_of_zero_leaves_the_gradient_at_the_current_weights() -> None:
    s = setting(0.9, 0.1, 2, lr=0.0)
    first, unrolled = FirstOrder().gradient(s.problem, s.point), Unrolled().gradient(s.problem, s.point)
    assert all(torch.equal(first[key], unrolled[key]) for key in first)


def test_nothing_is_left_behind() -> None:
    s = setting(0.9, 0.1, 2)
    before = [x.clone() for x in s.point.weights]
    state = copy.deepcopy(s.point.optimizer.state_dict())
    Unrolled().gradient(s.problem, s.point)
    assert all(torch.equal(x, y) for x, y in zip(s.point.weights, before, strict=True))
    for index, was in state["state"].items():
        buffer = s.point.optimizer.state_dict()["state"][index]["momentum_buffer"]
        assert torch.equal(buffer, was["momentum_buffer"])
    assert all(x.grad is None for x in s.point.mixture.values())
    assert all(p.grad is None for p in s.point.optimizer.param_groups[0]["params"])


class Flat(Net):
    """A validation loss that does not depend on the weights: the direction of the finite difference is zero."""

    def valid(self, weights: Sequence[Tensor], mixture: Mixture, batch: Batch) -> Tensor:
        return sum(a.square().sum() for a in mixture.values())  # type: ignore[return-value]


def test_a_zero_direction_gives_zero_and_no_nan() -> None:
    s = setting(0.9, 0.1, 2)
    found = Unrolled().gradient(Flat(), s.point)
    for key, a in s.point.mixture.items():
        torch.testing.assert_close(found[key], 2 * a.detach(), rtol=0, atol=0)


class Separable(Net):
    """A training loss that adds a part for the weights and one for the mixture: the mixed derivative is zero."""

    def train(self, weights: Sequence[Tensor], mixture: Mixture, batch: Batch) -> Tensor:
        alone = super().train(weights, {key: a.detach() for key, a in mixture.items()}, batch)
        return alone + sum(a.square().sum() for a in mixture.values())


def test_without_a_mixed_derivative_the_gradient_is_that_at_the_next_weights() -> None:
    s = setting(0.0, 0.0, 0)
    alone = Setting(Separable(), s.point, s.lr, 0.0, 0.0)
    found, exact = Unrolled().gradient(alone.problem, s.point), alone.exact()
    for key in exact:
        torch.testing.assert_close(found[key], exact[key], rtol=1e-12, atol=1e-14)


def smooth(module: nn.Module) -> nn.Module:
    """Put softplus in place of every ReLU, so that finite differences have something to converge to."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.Softplus())
    return module


def test_a_supernet_agrees_with_double_backward() -> None:
    # Batch statistics, channels-last layout, shared logits (two normal cells): everything but the kinks of ReLU.
    candidates = (("none", "avg_pool_3x3", "skip_connect", "sep_conv_3x3"),) * 2
    space = CellSpace(name="toy", normal=candidates, reduction=candidates, nodes=1)
    task = ImageTask(channels=1, height=4, width=4, classes=2)
    supernet = smooth(space.replace(supernet_stack=Stack(cells=2, channels=2)).supernet(task).double())
    a = {key: torch.softmax(torch.randn(len(x), **DOUBLE), 0) for key, x in logits(supernet).items()}  # type: ignore[arg-type]
    w = weights(supernet)  # type: ignore[arg-type]
    lr, momentum, decay = 0.025, 0.9, 3e-4
    optimizer = torch.optim.SGD(w, lr=lr, momentum=momentum, weight_decay=decay)
    problem = SupernetProblem(supernet, F.cross_entropy, seed=1, device=torch.device("cpu"))  # type: ignore[arg-type]

    def batch() -> Batch:
        return torch.randn(6, 1, 4, 4, **DOUBLE), torch.tensor([0, 1] * 3)

    F.cross_entropy(supernet(batch()[0], a), batch()[1]).backward()
    optimizer.step()  # now there is a velocity
    point = Point(
        weights=[x.detach() for x in w],
        mixture={key: x.requires_grad_() for key, x in a.items()},
        train_batch=batch(),
        valid_batch=batch(),
        optimizer=optimizer,
        now=NOW,
    )
    s = Setting(problem, point, lr, momentum, decay)
    coarse, fine = s.error(2e-3), s.error(1e-3)
    assert fine < 1e-2 * s.scale
    assert coarse / fine == HALVED_RADIUS


class Backbone(nn.Module):
    """A user's module whose first layer is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(3, 4).requires_grad_(False)
        self.block = Choice({"linear": nn.Linear(4, 4), "tanh": nn.Tanh()})
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(torch.tanh(self.backbone(x))))


def test_frozen_weights_stay_where_they_are_in_the_unrolled_step() -> None:
    supernet = Supernet(ModuleBody(Backbone().double()))
    a = torch.tensor([0.4, 0.6], **DOUBLE)
    w, lr, h = weights(supernet), 0.5, 1e-5
    train, valid = ((torch.randn(8, 3, **DOUBLE), torch.tensor([0, 1] * 4)) for _ in range(2))

    def after_a_step(mixing: Tensor) -> float:
        """By PyTorch's own step on a copy of the module."""
        mine = copy.deepcopy(supernet)
        optimizer = torch.optim.SGD(mine.parameters(), lr=lr)
        F.cross_entropy(mine(train[0], {"block": mixing}), train[1]).backward()
        optimizer.step()
        return F.cross_entropy(mine(valid[0], {"block": mixing}), valid[1]).item()

    expected = []
    for index in range(2):
        shift = h * F.one_hot(torch.tensor(index), 2).double()
        expected.append((after_a_step(a + shift) - after_a_step(a - shift)) / (2 * h))
    point = Point(
        weights=[x.detach() for x in w],
        mixture={"block": a.clone().requires_grad_()},
        train_batch=train,
        valid_batch=valid,
        optimizer=torch.optim.SGD(w, lr=lr),
        now=NOW,
    )
    problem = SupernetProblem(supernet, F.cross_entropy, seed=1, device=torch.device("cpu"))
    found = Unrolled(radius=1e-3).gradient(problem, point)["block"]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
