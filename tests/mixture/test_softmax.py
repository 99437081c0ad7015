import math

import pytest
import torch

from oche.errors import InputError
from oche.mixture.softmax import Softmax
from oche.moment import Moment

NOW = Moment(epoch=0, epochs=1)
LOGITS = {"a": torch.randn(3, dtype=torch.float64), "b": 5 * torch.randn(8, dtype=torch.float64)}


@pytest.mark.parametrize("temperature", [0.1, 1.0, 7.0])
def test_draw_is_the_softmax_at_the_temperature(temperature: float) -> None:
    drawn = Softmax(temperature=temperature).draw(LOGITS, NOW)
    assert list(drawn) == list(LOGITS)
    for key, a in drawn.items():
        exponentials = [math.exp(x / temperature) for x in LOGITS[key].tolist()]
        assert a.tolist() == pytest.approx([e / sum(exponentials) for e in exponentials])


def test_the_mean_is_the_draw() -> None:
    softmax = Softmax(temperature=0.5)
    assert all(torch.equal(a, softmax.mean(LOGITS)[k]) for k, a in softmax.draw(LOGITS, NOW).items())


def test_the_gradient_of_a_draw_is_that_of_the_softmax() -> None:
    # d a_i / d A_j = a_i (1[i = j] - a_j) / T
    temperature = 0.7
    value = LOGITS["a"].clone().requires_grad_()
    (a,) = Softmax(temperature=temperature).draw({"a": value}, NOW).values()
    v = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(a, value, v)
    a = a.detach()
    torch.testing.assert_close(gradient, (torch.diag(a) - torch.outer(a, a)) @ v / temperature)


def test_strengths_tell_edges_apart_where_the_softmax_saturates() -> None:
    logits = {"weak": torch.tensor([1000.0, 0.0]), "strong": torch.tensor([1001.0, 0.0])}
    softmax = Softmax()
    drawn = softmax.draw(logits, NOW)
    assert torch.equal(drawn["weak"], drawn["strong"])
    strength = softmax.log_strength(logits)
    assert strength["weak"].dtype == torch.float64
    assert strength["weak"][1] > strength["strong"][1]


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_strengths_are_logarithms_of_the_mean(temperature: float) -> None:
    softmax = Softmax(temperature=temperature)
    for key, strength in softmax.log_strength(LOGITS).items():
        torch.testing.assert_close(strength.exp(), softmax.mean(LOGITS)[key])


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_the_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature > 0"):
        Softmax(temperature=temperature)
