import pytest
import torch

from oche.errors import InputError
from oche.methods import DARTS, METHODS, method
from oche.objective.first_order import FirstOrder
from oche.objective.unrolled import Unrolled


def test_darts_has_the_published_numbers() -> None:
    # methods.md, "Search".
    w = DARTS.weight_optimizer.build([torch.zeros(1)]).param_groups[0]
    assert (w["lr"], w["momentum"], w["weight_decay"]) == (0.025, 0.9, 3e-4)
    assert DARTS.weight_optimizer.lr.at(1) == pytest.approx(0.001)
    a = DARTS.logit_optimizer.build([torch.zeros(1)]).param_groups[0]
    assert (a["lr"], a["betas"], a["weight_decay"]) == (3e-4, (0.5, 0.999), 1e-3)
    assert (DARTS.logit_optimizer.lr.at(0), DARTS.logit_optimizer.lr.at(1)) == (3e-4, 3e-4)
    assert (DARTS.epochs, DARTS.batch, DARTS.clip, DARTS.logit_std) == (50, 64, 5.0, 1e-3)
    assert DARTS.steps == DARTS.epochs * (25_000 // DARTS.batch)
    assert isinstance(DARTS.objective, FirstOrder)


def test_second_order_darts_differs_in_its_objective_alone() -> None:
    second = method("darts-2nd")
    assert second.objective == Unrolled(radius=0.01)
    for name in ("relaxation", "stages", "selection", "weight_optimizer", "logit_optimizer", "epochs", "batch", "clip"):
        assert getattr(second, name) == getattr(DARTS, name)


def test_methods_are_found_by_their_names() -> None:
    assert all(method(name).name == name for name in METHODS)
    assert all(m.summary and m.reference for m in METHODS.values())
    with pytest.raises(InputError, match="did you mean 'darts"):
        method("dart")
