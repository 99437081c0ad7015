import math
from itertools import pairwise

import pytest
import torch

from oche.errors import InputError
from oche.moment import Moment
from oche.schedule import Constant, Cosine, Epochs, ExponentialCosine, Linear, Scaled, Share, starting_at

FRACTIONS = [i / 20 for i in range(21)]


def test_constant_is_constant() -> None:
    assert {Constant(0.3).at(f) for f in FRACTIONS} == {0.3}


def test_linear_is_linear() -> None:
    line = Linear(0.2, 1.0)
    assert (line.at(0), line.at(1)) == pytest.approx((0.2, 1.0))
    steps = [line.at(b) - line.at(a) for a, b in pairwise(FRACTIONS)]
    assert steps == pytest.approx([0.8 / 20] * 20)


def test_cosine_equals_that_of_pytorch() -> None:
    epochs, start, end = 20, 0.025, 0.001
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=start)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs, eta_min=end)
    ours = Cosine(start, end)
    for epoch in range(epochs + 1):
        assert ours.at(epoch / epochs) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_cosine_falls_to_zero_where_nothing_else_is_said() -> None:
    values = [Cosine(0.1).at(f) for f in FRACTIONS]
    assert values[0] == 0.1
    assert values[-1] == pytest.approx(0, abs=1e-12)
    assert values == sorted(values, reverse=True)


def test_scaled_multiplies() -> None:
    inner = Cosine(0.1, 0.01)
    assert [Scaled(inner, 3.0).at(f) for f in FRACTIONS] == pytest.approx([3 * inner.at(f) for f in FRACTIONS])


def test_another_start_leaves_the_shape_and_the_end() -> None:
    for shape in (Cosine(0.2, 0.1), ExponentialCosine(0.2, 0.1)):
        other = starting_at(shape, 0.5)
        assert (other.at(0), other.at(1)) == (pytest.approx(0.5), pytest.approx(0.1))
        for i in range(11):
            fallen = (shape.at(i / 10) - 0.1) / 0.1
            assert (other.at(i / 10) - 0.1) / 0.4 == pytest.approx(fallen)
    assert [starting_at(Linear(0.2, 0.1), 0.5).at(f) for f in (0, 1)] == pytest.approx([0.5, 0.25])
    assert starting_at(Constant(0.2), 0.5).at(0.7) == pytest.approx(0.5)


def test_the_exponential_cosine_falls_sooner_than_the_cosine() -> None:
    ours, cosine = ExponentialCosine(0.025, 0.001), Cosine(0.025, 0.001)
    assert (ours.at(0), ours.at(1)) == pytest.approx((0.025, 0.001))
    values = [ours.at(f) for f in FRACTIONS]
    assert all(b < a for a, b in pairwise(values))
    assert all(ours.at(f) < cosine.at(f) for f in FRACTIONS[1:-1])
    # (sqrt(e) - 1) / (e - 1) = 1 / (1 + sqrt(e)) at half the way.
    assert (ours.at(0.5) - 0.001) / 0.024 == pytest.approx(1 / (1 + math.sqrt(math.e)))


def test_the_exponential_cosine_as_it_is_printed_begins_far_below() -> None:
    literal = ExponentialCosine(0.025, 0.0, literal=True)
    assert literal.at(0) == pytest.approx(0.025 * (math.exp(0.025) - 1) / (math.e - 1))
    assert literal.at(0) < 0.02 * 0.025
    unit = ExponentialCosine(1.0, 0.0, literal=True)
    assert [unit.at(f) for f in FRACTIONS] == [ExponentialCosine(1.0, 0.0).at(f) for f in FRACTIONS]


def test_epochs_are_what_they_say_in_a_search_of_any_length() -> None:
    assert [Epochs(3).of(epochs) for epochs in (1, 10, 600)] == [3, 3, 3]
    with pytest.raises(InputError, match=r"epochs >= 0.*-2"):
        Epochs(-2)


def test_a_share_is_rounded_up_and_spared_the_rounding_of_floats() -> None:
    for total in range(1, 601):
        for part in (1, 7, 10, 15, 25, 50):
            # The exact ceiling of a fraction of whole numbers.
            assert Share(part / 50).of(total) == -(-part * total // 50)
    assert Share(0.28).of(25) == 7  # in floats the product is 7.000000000000001
    assert (Share(0.0).of(9), Share(1.0).of(9)) == (0, 9)
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="share of the epochs"):
            Share(share)


def test_a_moment_knows_the_finished_share() -> None:
    assert [Moment(epoch=epoch, epochs=4).fraction for epoch in range(4)] == [0.0, 0.25, 0.5, 0.75]
