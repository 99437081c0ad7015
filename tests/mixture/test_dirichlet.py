"""Moments and gradients of the draws by Monte Carlo, within intervals that a correct draw leaves once in 10^6."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from oche.methods import METHODS
from oche.mixture.dirichlet import LEAST, Dirichlet, concentration
from oche.moment import Moment
from oche.nn.cell import MixedEdge
from oche.nn.network import Stack
from oche.spaces.registry import space
from oche.step import SearchStep
from oche.task import ImageTask

DOUBLE = torch.float64
NOW = Moment(epoch=0, epochs=1)
COUNT = 40_000
SIGMAS = 4.9
"""Both tails of a normal distribution beyond it hold 10^-6."""

LOGITS = torch.tensor([0.8, -0.5, 0.0, -2.0], dtype=DOUBLE)
COSTS = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=DOUBLE)
FORM = torch.tensor(
    [[1.0, 0.3, 0.0, -1.0], [0.3, -2.0, 0.7, 0.0], [0.0, 0.7, 0.5, 0.2], [-1.0, 0.0, 0.2, 4.0]], dtype=DOUBLE
)


def beta_of(logits: Tensor) -> Tensor:
    """`elu(A) + 1` once more: `A + 1` above 0, `e^A` below."""
    return torch.where(logits > 0, logits + 1, logits.exp())


def mean_linear(logits: Tensor) -> Tensor:
    beta = beta_of(logits)
    return COSTS @ beta / beta.sum()


def mean_quadratic(logits: Tensor) -> Tensor:
    """From `E a_i a_j = (b_i b_j + [i = j] b_i) / (b_0 (b_0 + 1))`."""
    beta = beta_of(logits)
    moments = (torch.outer(beta, beta) + torch.diag(beta)) / (beta.sum() * (beta.sum() + 1))
    return (FORM * moments).sum()


def linear(a: Tensor) -> Tensor:
    return a @ COSTS


def quadratic(a: Tensor) -> Tensor:
    return torch.einsum("ni,ij,nj->n", a, FORM, a)


def within(samples: Tensor, expected: Tensor) -> bool:
    """Whether the mean over the first dimension is as near to `expected` as its standard error says."""
    error = samples.std(0) / len(samples) ** 0.5
    return bool(((samples.mean(0) - expected).abs() <= SIGMAS * error).all())


@pytest.mark.parametrize(("f", "mean"), [(linear, mean_linear), (quadratic, mean_quadratic)])
def test_mean_and_gradient_are_those_of_the_expectation(
    f: Callable[[Tensor], Tensor], mean: Callable[[Tensor], Tensor]
) -> None:
    many = LOGITS.expand(COUNT, 4).clone().requires_grad_()
    values = f(Dirichlet().draw({"a": many}, NOW)["a"])
    (gradients,) = torch.autograd.grad(values.sum(), many)  # one row per sample
    expected = LOGITS.clone().requires_grad_()
    value = mean(expected)
    (gradient,) = torch.autograd.grad(value, expected)
    assert within(values.detach(), value.detach())
    assert within(gradients, gradient)
    # The interval is narrow enough to notice another gradient.
    assert not within(gradients, 1.1 * gradient)


def test_the_gradient_of_the_mean_of_a_linear_function_by_hand() -> None:
    # dE/dA_j = (c_j - c.beta / beta_0) / beta_0 x elu'(A_j)
    value = LOGITS.clone().requires_grad_()
    mean = Dirichlet().mean({"a": value})["a"]
    (gradient,) = torch.autograd.grad(mean @ COSTS, value)
    beta = beta_of(LOGITS)
    slope = torch.where(LOGITS > 0, torch.ones_like(LOGITS), LOGITS.exp())
    expected = (COSTS - mean_linear(LOGITS)) / beta.sum() * slope
    torch.testing.assert_close(gradient[LOGITS != 0], expected[LOGITS != 0])


def test_draws_lie_on_the_simplex() -> None:
    a = Dirichlet().draw({"a": 3 * torch.randn(500, 5)}, NOW)["a"]
    assert (a >= 0).all()
    torch.testing.assert_close(a.sum(-1), torch.ones(500))


def test_logits_of_zero_are_the_uniform_distribution() -> None:
    assert torch.equal(concentration(torch.zeros(4)), torch.ones(4))
    a = Dirichlet().draw({"a": torch.zeros(COUNT, 2, dtype=DOUBLE)}, NOW)["a"][:, 0].sort().values
    # Kolmogorov and Smirnov: sqrt(n) D is above 2.7 once in 10^6.
    steps = torch.arange(1, COUNT + 1, dtype=DOUBLE) / COUNT
    assert COUNT**0.5 * (a - steps).abs().max() < 2.7


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize(
    "row", [[-1e4] * 3, [-20.0, -20.0, 0.0], [-100.0, -30.0, -13.0], [5.0, -1e3, -1e3], [300.0, -300.0, 0.0]]
)
def test_strongly_negative_logits_give_no_nan(row: list[float], dtype: torch.dtype) -> None:
    many = torch.tensor(row, dtype=dtype).expand(500, 3).clone().requires_grad_()
    assert (concentration(many) >= LEAST).all()
    dirichlet = Dirichlet()
    for a in (dirichlet.draw({"a": many}, NOW)["a"], dirichlet.mean({"a": many})["a"]):
        assert a.isfinite().all()
        torch.testing.assert_close(a.sum(-1), torch.ones(500, dtype=dtype))
        (gradient,) = torch.autograd.grad((a @ torch.tensor([1.0, 2.0, -1.0], dtype=dtype)).sum(), many)
        assert gradient.isfinite().all()
    assert dirichlet.log_strength({"a": many})["a"].isfinite().all()


def test_strengths_are_logarithms_of_the_mean_and_order_as_it_does() -> None:
    dirichlet = Dirichlet()
    strength = dirichlet.log_strength({"a": LOGITS.float()})["a"]
    assert strength.dtype == DOUBLE
    beta = beta_of(LOGITS)
    torch.testing.assert_close(strength.exp(), beta / beta.sum(), rtol=1e-6, atol=0)
    assert dirichlet.mean({"a": LOGITS.float()})["a"].dtype == torch.float32
    assert dirichlet.views({"a": LOGITS}) == {}


def test_cells_of_a_kind_share_a_draw_and_steps_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, str, Tensor]] = []
    forward = MixedEdge.forward

    def noted(self: MixedEdge, x: Tensor, mixture: dict[str, Tensor]) -> Tensor:
        seen.append((id(self), self.key, mixture[self.key].detach().clone()))
        return forward(self, x, mixture)

    monkeypatch.setattr(MixedEdge, "forward", noted)
    task = ImageTask(channels=1, height=8, width=8, classes=2)
    supernet = space("rdarts-s3", nodes=1).replace(supernet_stack=Stack(cells=4, channels=4)).supernet(task)
    step = SearchStep(supernet, METHODS["drnas"], F.cross_entropy, torch.device("cpu"))
    batch = torch.randn(4, 1, 8, 8), torch.arange(4) % 2
    draws = []
    for seed in range(2):
        seen.clear()
        step(batch, batch, seed=seed, now=NOW, move_logits=False)  # one evaluation
        by_key: dict[str, list[Tensor]] = {}
        for _, key, a in seen:
            by_key.setdefault(key, []).append(a)
        assert len({place for place, _, _ in seen}) == len(seen)
        assert all(len(rows) > 1 for key, rows in by_key.items() if key.startswith("normal"))
        assert all(torch.equal(rows[0], row) for rows in by_key.values() for row in rows)
        draws.append({key: rows[0] for key, rows in by_key.items()})
    assert all(not torch.equal(draws[0][key], draws[1][key]) for key in draws[0])
    # Edges are drawn one by one, too.
    assert len({tuple(a.tolist()) for a in draws[0].values()}) == len(draws[0])
