"""The asymptotic gradient against double backward, and its coefficient at its corners."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from oche.data.batches import Batch
from oche.errors import InputError
from oche.moment import Moment
from oche.nn.mixture import Mixture
from oche.objective.asymptotic import Asymptotic
from oche.objective.base import Point
from oche.objective.unrolled import Unrolled
from oche.schedule import Epochs, Length, Share

DOUBLE = torch.float64
LR, MOMENTUM, DECAY = 0.2, 0.9, 0.05
HALVED_RADIUS = pytest.approx(4, rel=0.1)


class Net:
    """A mixed layer with smooth candidates, and one loss for both halves."""

    def train(self, weights: Sequence[Tensor], mixture: Mixture, batch: Batch) -> Tensor:
        h = batch[0] @ weights[0].T
        a = mixture["p"]
        h = a[0] * torch.tanh(h) + a[1] * torch.sin(h) + a[2] * h
        return F.softplus(h @ weights[1].T - batch[1]).mean() + (h @ weights[1].T - batch[1]).square().mean()

    valid = train


class Line:
    """`L = (w x - A)^2` on one sample."""

    def train(self, weights: Sequence[Tensor], mixture: Mixture, batch: Batch) -> Tensor:
        return (weights[0] * batch[0] - mixture["a"]).square().sum()

    valid = train


def batch() -> Batch:
    return torch.randn(6, 3, dtype=DOUBLE), torch.randn(6, 1, dtype=DOUBLE)


def net_point(epoch: int = 5, epochs: int = 50) -> Point:
    """Two steps into a training, so that there is a velocity."""
    w = [torch.randn(shape, dtype=DOUBLE, requires_grad=True) for shape in ((5, 3), (1, 5))]
    a = {"p": torch.softmax(torch.randn(3, dtype=DOUBLE), 0)}
    optimizer = torch.optim.SGD(w, lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    for _ in range(2):
        optimizer.zero_grad()
        Net().train(w, a, batch()).backward()
        optimizer.step()
    return Point(
        weights=[x.detach() for x in w],
        mixture={"p": a["p"].requires_grad_()},
        train_batch=batch(),
        valid_batch=batch(),
        optimizer=optimizer,
        now=Moment(epoch=epoch, epochs=epochs),
    )


@pytest.mark.parametrize(
    ("horizon", "epochs", "last"), [(Epochs(25), 90, 25), (Share(0.5), 40, 20), (Epochs(60), 50, 60)]
)
@pytest.mark.parametrize(("low", "high"), [(0.0, 0.1), (0.02, 0.3)])
def test_the_coefficient_rises_to_the_horizon_and_stays(
    horizon: Length, epochs: int, last: int, low: float, high: float
) -> None:
    objective = Asymptotic(chi_min=low, chi_max=high, horizon=horizon)
    chi = [objective.chi(Moment(epoch=epoch, epochs=epochs)) for epoch in range(epochs)]
    assert chi[0] == low
    for epoch in range(min(last, epochs)):
        assert chi[epoch] == pytest.approx((high - low) / last * epoch + low)  # Eq. 6, with its offset
    assert chi[last:] == pytest.approx([high] * max(epochs - last, 0))


def test_the_paper_has_no_offset() -> None:
    objective = Asymptotic()
    assert objective.chi(Moment(epoch=0, epochs=50)) == 0
    assert objective.chi(Moment(epoch=10, epochs=50)) == pytest.approx(0.1 / 25 * 10)
    assert objective.chi(Moment(epoch=49, epochs=50)) == 0.1


@pytest.mark.parametrize("horizon", [Epochs(0), Share(0.0)])
def test_without_a_horizon_the_coefficient_is_there_at_once(horizon: Length) -> None:
    assert Asymptotic(horizon=horizon).chi(Moment(epoch=0, epochs=5)) == 0.1


def test_a_coefficient_of_zero_is_the_unrolled_gradient() -> None:
    point = net_point(epoch=0)
    found, unrolled = Asymptotic().gradient(Net(), point), Unrolled().gradient(Net(), point)
    assert torch.equal(found["p"], unrolled["p"])


def test_on_one_batch_with_a_coefficient_of_one_it_is_twice_the_unrolled_gradient() -> None:
    point = net_point()
    point = Point(**(vars(point) | {"valid_batch": point.train_batch}))
    found = Asymptotic(chi_min=1.0, chi_max=1.0).gradient(Net(), point)
    torch.testing.assert_close(found["p"], 2 * Unrolled().gradient(Net(), point)["p"], rtol=1e-12, atol=0)


def exact(point: Point, chi: float) -> Tensor:
    """By differentiating through the whole step, written out here once more."""
    w = [x.detach().requires_grad_() for x in point.weights]
    a = {"p": point.mixture["p"].detach().requires_grad_()}
    gradients = torch.autograd.grad(Net().train(w, a, point.train_batch), w, create_graph=True)
    velocity = [point.optimizer.state[p]["momentum_buffer"] for p in point.optimizer.param_groups[0]["params"]]
    ahead = [
        x.detach() - LR * (MOMENTUM * v + g + DECAY * x.detach())
        for x, g, v in zip(w, gradients, velocity, strict=True)
    ]
    loss = Net().valid(ahead, a, point.valid_batch) + chi * Net().train(ahead, a, point.train_batch)
    (found,) = torch.autograd.grad(loss, a["p"])
    return found


@pytest.mark.parametrize("chi", [0.1, 1.0, 5.0])
def test_it_is_the_gradient_through_the_step_of_both_losses(chi: float) -> None:
    point = net_point()
    errors = [
        (Asymptotic(chi_min=chi, chi_max=chi, radius=radius).gradient(Net(), point)["p"] - exact(point, chi)).norm()
        for radius in (2e-3, 1e-3)
    ]
    assert (errors[0] / errors[1]).item() == HALVED_RADIUS
    assert errors[1] < 1e-3 * exact(point, chi).norm()
    # Without the second loss it is another gradient.
    assert (exact(point, chi) - exact(point, 0.0)).norm() > 10 * errors[1]


@pytest.mark.parametrize("chi", [0.0, 0.1, 1.0])
def test_the_line_has_its_closed_form(chi: float) -> None:
    # x = 1 in training, 2 in validation, w = A: w' = w, dw'/dA = 2 lr; validation as in DARTS, training gives 0.
    target = 0.7
    for start, expected in (
        (target, -2 * target + 8 * LR * target),
        # At w = A + d: w' = A + (1 - 2 lr) d, dL_train/dA = 2 (w' - A)(2 lr - 1), dL_valid/dA = 2 (2 w' - A)(4 lr - 1).
        (
            target + 0.5,
            2 * (2 * (target + (1 - 2 * LR) * 0.5) - target) * (4 * LR - 1)
            + chi * 2 * (1 - 2 * LR) * 0.5 * (2 * LR - 1),
        ),
    ):
        w = torch.tensor([start], dtype=DOUBLE, requires_grad=True)
        point = Point(
            weights=[w.detach()],
            mixture={"a": torch.tensor([target], dtype=DOUBLE, requires_grad=True)},
            train_batch=(1.0, None),
            valid_batch=(2.0, None),
            optimizer=torch.optim.SGD([w], lr=LR),
            now=Moment(epoch=0, epochs=1),
        )
        found = Asymptotic(chi_min=chi, chi_max=chi).gradient(Line(), point)["a"].item()
        assert found == pytest.approx(expected, rel=1e-9)


def test_it_needs_a_step_that_can_be_written_down() -> None:
    with pytest.raises(InputError, match="plain SGD"):
        Asymptotic().check(torch.optim.Adam([torch.zeros(1, requires_grad=True)]))
