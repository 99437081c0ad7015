import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.integrate import quad
from scipy.special import digamma, gammaln
from scipy.stats import beta as beta_distribution
from torch import Tensor, nn
from torch.distributions import Dirichlet as TorchDirichlet
from torch.distributions import kl_divergence
from torch.nn import functional as F

from oche.data.batches import Batch
from oche.errors import InputError
from oche.methods import METHODS
from oche.mixture.softmax import Softmax
from oche.moment import Moment
from oche.nn.choice import Choice
from oche.nn.supernet import logits, weights
from oche.objective.terms import ConcentrationAnchor, ConcentrationDivergence, Term
from oche.optim import SGD, Adam, AdamW, OptimizerSettings
from oche.randomness import derive, frozen
from oche.schedule import Constant
from oche.spaces.module_space import ModuleSpace
from oche.step import SearchStep

CPU = torch.device("cpu")
NOW = Moment(epoch=0, epochs=1)
DRNAS = METHODS["drnas"]
LOGITS = {
    "a": torch.tensor([0.8, -0.5, -3.0], dtype=torch.float64),
    "b": torch.tensor([2.0, 0.1, -0.7, 0.4, -1.0], dtype=torch.float64),
}
TERMS = pytest.mark.parametrize("term", [ConcentrationAnchor(), ConcentrationDivergence()])


def betas(row: Tensor) -> list[float]:
    return [x + 1 if x > 0 else math.exp(x) for x in row.tolist()]


def slopes(row: Tensor) -> Tensor:
    return torch.where(row > 0, torch.ones_like(row), row.exp())


def kl_to_uniform(b: list[float]) -> float:
    """`KL(Dir(b) || Dir(1))` by SciPy's special functions."""
    total = sum(b)
    return float(
        gammaln(total) - gammaln(b).sum() - gammaln(len(b)) + sum((x - 1) * (digamma(x) - digamma(total)) for x in b)
    )


# -- their values ------------------------------------------------------------------------------------------------------


def test_the_anchor_is_half_the_squared_distance() -> None:
    expected = 0.3 / 2 * sum((b - 1) ** 2 for row in LOGITS.values() for b in betas(row))
    assert ConcentrationAnchor(weight=0.3).value(LOGITS, NOW).item() == pytest.approx(expected)
    assert ConcentrationAnchor().weight == 1e-3


def test_the_divergence_is_that_of_scipy_and_of_pytorch() -> None:
    found = ConcentrationDivergence(weight=0.3).value(LOGITS, NOW).item()
    assert found == pytest.approx(0.3 * sum(kl_to_uniform(betas(row)) for row in LOGITS.values()))
    b = [torch.tensor(betas(row), dtype=torch.float64) for row in LOGITS.values()]
    theirs = sum(kl_divergence(TorchDirichlet(x), TorchDirichlet(torch.ones_like(x))).item() for x in b)
    assert found == pytest.approx(0.3 * theirs)


@pytest.mark.parametrize("row", [[0.5, 1.5], [-0.5, 0.2], [0.0, 0.0]])
def test_the_divergence_of_two_candidates_is_an_integral(row: list[float]) -> None:
    x, y = betas(torch.tensor(row, dtype=torch.float64))
    density = beta_distribution(x, y)
    integral, _ = quad(lambda t: density.pdf(t) * density.logpdf(t), 0, 1)
    found = ConcentrationDivergence(weight=1.0).value({"a": torch.tensor(row, dtype=torch.float64)}, NOW)
    assert found.item() == pytest.approx(integral, abs=1e-6)


@TERMS
def test_their_gradients_are_those_of_differences(term: Term) -> None:
    leaves = [value.clone().requires_grad_() for value in LOGITS.values()]
    assert torch.autograd.gradcheck(lambda *rows: term.value(dict(zip(LOGITS, rows, strict=True)), NOW), leaves)


@TERMS
def test_they_are_zero_and_smallest_at_logits_of_zero(term: Term) -> None:
    zero = {"a": torch.zeros(4, dtype=torch.float64)}
    assert term.value(zero, NOW).item() == pytest.approx(0.0, abs=1e-15)
    for _ in range(20):
        assert term.value({"a": torch.randn(4, dtype=torch.float64)}, NOW) > 0


@TERMS
@pytest.mark.parametrize("row", [[-1e4] * 3, [-100.0, -30.0, -13.0], [300.0, -300.0, 0.0]])
def test_strongly_negative_logits_give_no_nan(term: Term, row: list[float]) -> None:
    value = torch.tensor(row, requires_grad=True)
    found = term.value({"a": value}, NOW)
    (gradient,) = torch.autograd.grad(found, value)
    assert found.isfinite()
    assert gradient.isfinite().all()


# -- in a step ---------------------------------------------------------------------------------------------------------


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Choice({"linear": nn.Linear(3, 3), "skip": nn.Identity(), "tanh": nn.Tanh()})
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x))


START = torch.tensor([0.6, -0.4, 0.2], dtype=torch.float64)
LR = 0.5


def batch() -> Batch:
    return torch.randn(6, 3, dtype=torch.float64), torch.arange(6) % 2


def after_a_step(lr: float, **changes: Any) -> tuple[Tensor, list[Tensor], Tensor]:
    """Logits and weights after one step, and the gradient of the validation loss through the draw, by hand."""
    torch.manual_seed(3)
    supernet, (train, valid) = ModuleSpace(Small().double()).supernet().double(), (batch(), batch())
    values = logits(supernet)
    with torch.no_grad():
        values["block"].copy_(START)
    mine = START.clone().requires_grad_()
    with frozen(derive(7, "mixture"), CPU):
        a = TorchDirichlet(F.elu(mine) + 1).rsample()
    (gradient,) = torch.autograd.grad(F.cross_entropy(supernet(valid[0], {"block": a}), valid[1]), mine)
    optimizer = SGD(lr=Constant(lr), momentum=0.0, weight_decay=0.0)
    method = replace(DRNAS, logit_optimizer=optimizer, **changes)
    SearchStep(supernet, method, F.cross_entropy, CPU)(train, valid, seed=7, now=NOW)
    return values["block"].detach(), [w.detach() for w in weights(supernet)], gradient


def test_a_logit_step_adds_the_gradient_of_the_anchor_with_its_factor() -> None:
    moved, _, gradient = after_a_step(LR, terms=(ConcentrationAnchor(weight=0.2),))
    of_anchor = 0.2 * (torch.tensor(betas(START), dtype=torch.float64) - 1) * slopes(START)
    assert of_anchor.abs().min() > 1e-2
    torch.testing.assert_close(moved, START - LR * (gradient + of_anchor))


def test_a_logit_step_adds_the_gradient_of_the_divergence() -> None:
    moved, _, gradient = after_a_step(LR, terms=(ConcentrationDivergence(weight=0.2),))
    h = 1e-5
    difference = [
        (kl_to_uniform(betas(START + h * e)) - kl_to_uniform(betas(START - h * e))) / (2 * h)
        for e in torch.eye(3, dtype=torch.float64)
    ]
    torch.testing.assert_close(
        moved, START - LR * (gradient + 0.2 * torch.tensor(difference, dtype=torch.float64)), rtol=1e-6, atol=1e-8
    )


def test_a_term_does_not_enter_the_weight_step() -> None:
    _, without, _ = after_a_step(0.0, terms=(ConcentrationAnchor(weight=0.0),))
    _, strong, _ = after_a_step(0.0, terms=(ConcentrationAnchor(weight=1e6),))
    assert all(torch.equal(w, v) for w, v in zip(without, strong, strict=True))


# -- exactly one -------------------------------------------------------------------------------------------------------

PLAIN = Adam(weight_decay=0.0)


@pytest.mark.parametrize(
    ("terms", "optimizer"),
    [
        ((), PLAIN),
        ((ConcentrationAnchor(),), Adam(weight_decay=1e-3)),
        ((ConcentrationAnchor(),), SGD(weight_decay=1e-3)),
        ((ConcentrationAnchor(),), AdamW(weight_decay=1e-3)),
        ((ConcentrationAnchor(), ConcentrationDivergence()), PLAIN),
        ((ConcentrationAnchor(), ConcentrationAnchor()), PLAIN),
    ],
)
def test_a_dirichlet_mixture_has_exactly_one_regularizer(terms: tuple[Term, ...], optimizer: OptimizerSettings) -> None:
    with pytest.raises(InputError, match="exactly one regularizer"):
        replace(DRNAS, terms=terms, logit_optimizer=optimizer)


@pytest.mark.parametrize(
    ("terms", "optimizer"),
    [
        ((ConcentrationAnchor(),), PLAIN),
        ((ConcentrationDivergence(),), PLAIN),
        ((), Adam(weight_decay=1e-3)),
        ((), SGD(weight_decay=1e-3)),
    ],
)
def test_each_of_them_is_taken_alone(terms: tuple[Term, ...], optimizer: OptimizerSettings) -> None:
    assert replace(DRNAS, terms=terms, logit_optimizer=optimizer).terms == terms


@TERMS
def test_they_need_a_dirichlet_mixture(term: Term) -> None:
    with pytest.raises(InputError, match="needs the concentrations of a Dirichlet mixture"):
        replace(DRNAS, relaxation=Softmax(), terms=(term,))
