"""What a part of a method must change, axis by axis: a part that does nothing does not pass.

The method is compared with itself without the part, from the same seed:
- *structure*: the supernet gives other outputs under the same mixture;
- *regularization*: the search takes another course;
- *mixture*: the logits take another course;
- *perturbation*: the first step moves the logits to the same bits and the weights to others;
- *objective*: the first gradient of the logits is another one;
- *terms*: the first gradient of the logits differs by the gradient of the terms;
- *stages*: the search takes another course;
- *selection*: the search takes the same course to the bit, and ends in another architecture with some seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from oche.api import SearchResult, search
from oche.consistency import Regularization
from oche.domain import Domain
from oche.methods import Method
from oche.mixture.perturbation import Unperturbed
from oche.mixture.softmax import Softmax
from oche.moment import Moment
from oche.needs import CONCENTRATIONS, NEXT_SHARE, declared
from oche.nn.structure import Plain
from oche.nn.supernet import logits
from oche.objective.first_order import FirstOrder
from oche.objective.terms import Term
from oche.select.magnitude import Magnitude
from oche.spaces.space import Space
from oche.stages.base import Course, EpochPlan, Stage
from oche.testing.battery import started, trajectory
from oche.testing.settings import setting

EPOCHS = 4
SEEDS = 12
"""Tries of a selection to differ from magnitude. At these sizes an architecture is close to chance, so that two rules
that look at different things agree in all of them with a probability far below 1e-6."""

NOW = Moment(epoch=1, epochs=2)


def check_effect(method: Method, axis: str, space: Space | nn.Module) -> None:
    """Without its part on an axis, a method does something else, in the way that the axis says.

    Args:
        method: with the part.
        axis: `structure`, `regularization`, `mixture`, `perturbation`, `objective`, `terms`, `stages` or `selection`.
        space: in which it shows.

    Raises:
        AssertionError: the part does nothing, or something that is not its business.
    """
    without = replace(method, **NEUTRAL[axis](method))
    CHECKS[axis](method, without, space)


def _structure(method: Method, without: Method, space: Space | nn.Module) -> None:
    (x, _), _ = setting(space).pair(0)
    outputs = []
    for other in (method, without):
        supernet, _ = started(other, space)
        mixture = {key: torch.softmax(value.detach(), 0) for key, value in logits(supernet).items()}
        outputs.append(supernet(x, mixture))
    assert not torch.equal(*outputs), f"under {method.structure} the supernet gives what it gives without"


def _mixture(method: Method, without: Method, space: Space | nn.Module) -> None:
    assert _course(method, space)[0] != _course(without, space)[0], (
        f"{method.relaxation} leaves the course of a softmax"
    )


def _regularization(method: Method, without: Method, space: Space | nn.Module) -> None:
    assert _course(method, space) != _course(without, space), f"{method.regularization} leaves the course as it is"


def _perturbation(method: Method, without: Method, space: Space | nn.Module) -> None:
    (one, first), (two, second) = _stepped(method, space), _stepped(without, space)
    assert all(torch.equal(one[key], two[key]) for key in one), f"{method.perturbation} changes the step of the logits"
    assert any(not torch.equal(first[name], second[name]) for name in first), f"{method.perturbation} changes nothing"


def _objective(method: Method, without: Method, space: Space | nn.Module) -> None:
    one, two = _gradient(method, space), _gradient(without, space)
    assert any(not torch.equal(one[key], two[key]) for key in one), f"{method.objective} gives the first-order gradient"


def _terms(method: Method, without: Method, space: Space | nn.Module) -> None:
    one, two = _gradient(method, space), _gradient(without, space)
    values = logits(started(method, space)[0])
    total = torch.stack([term.value(values, NOW) for term in method.terms]).sum()
    expected = torch.autograd.grad(total, list(values.values()), allow_unused=True, materialize_grads=True)
    assert any(g.abs().max() > 0 for g in expected), f"{method.terms} have no gradient"
    for key, g in zip(values, expected, strict=True):
        torch.testing.assert_close(one[key] - two[key], g, msg=f"{method.terms} add something else to {key}")


def _stages(method: Method, without: Method, space: Space | nn.Module) -> None:
    assert _course(method, space) != _course(without, space), f"{method.stages} leave the course as it is"


def _selection(method: Method, without: Method, space: Space | nn.Module) -> None:
    different = 0
    for seed in range(SEEDS):
        one, two = _search(method, space, seed), _search(without, space, seed)
        shared = [{k: v for k, v in record.items() if k != "architecture"} for record in trajectory(two)]
        mine = [{k: v for k, v in record.items() if k != "architecture"} for record in trajectory(one)]
        assert mine[: len(shared)] == shared, f"{method.selection} changes the course of the search"
        different += one.architecture != two.architecture
        if different:
            return
    raise AssertionError(f"{method.selection} selects what magnitude selects, with {SEEDS} seeds")


CHECKS: Mapping[str, Callable[[Method, Method, Space | nn.Module], None]] = {
    "structure": _structure,
    "regularization": _regularization,
    "mixture": _mixture,
    "perturbation": _perturbation,
    "objective": _objective,
    "terms": _terms,
    "stages": _stages,
    "selection": _selection,
}


@dataclass(frozen=True, kw_only=True)
class _Silent:
    """A term that is always zero, and has for other parts what the real one has."""

    term: Term

    NEEDS: ClassVar[tuple[Any, ...]] = ()

    def value(self, logits: Mapping[str, Tensor], now: Moment) -> Tensor:
        return 0 * self.term.value(logits, now)


@dataclass(frozen=True, kw_only=True)
class _Idle:
    """A stage that does nothing, and has for other parts what the real one has."""

    stage: Stage

    NEEDS: ClassVar[tuple[Any, ...]] = ()
    restarts: ClassVar[bool] = False

    def logits(self, domain: Domain) -> Mapping[str, int]:
        return {}

    def plan(self, plan: EpochPlan, epoch: int, epochs: int) -> EpochPlan:
        return plan

    def act(self, course: Course, now: Moment) -> None:
        pass


def _plain(method: Method) -> dict[str, Any]:
    """A plain supernet, without the stages that are about another one."""
    kept = tuple(stage for stage in method.stages if NEXT_SHARE not in declared(stage, "NEEDS"))
    return {"structure": Plain(), "stages": kept}


def _with_softmax(method: Method) -> dict[str, Any]:
    """A softmax, without what is about another mixture."""
    kept = tuple(term for term in method.terms if CONCENTRATIONS not in declared(term, "NEEDS"))
    return {"relaxation": Softmax(), "terms": kept}


NEUTRAL: Mapping[str, Callable[[Method], dict[str, Any]]] = {
    "structure": _plain,
    "mixture": _with_softmax,
    "regularization": lambda method: {"regularization": Regularization()},
    "perturbation": lambda method: {"perturbation": Unperturbed()},
    "objective": lambda method: {"objective": FirstOrder()},
    "terms": lambda method: {"terms": tuple(_Silent(term=term) for term in method.terms)},
    "stages": lambda method: {"stages": tuple(_Idle(stage=stage) for stage in method.stages)},
    "selection": lambda method: {"selection": Magnitude()},
}
"""By axis, the fields of a method without its part there."""


def _search(method: Method, space: Space | nn.Module, seed: int = 0) -> SearchResult:
    of = setting(space)
    return search(
        space,
        data=of.data(),
        method=method,
        epochs=EPOCHS,
        batch=of.batch,
        bptt=of.bptt,
        validation=0,
        protocol=of.protocol,
        seed=seed,
    )


def _course(method: Method, space: Space | nn.Module) -> tuple[Any, ...]:
    """The logits after each epoch, what remained undecided, and the last supernet, as comparable values."""
    result = _search(method, space)
    remaining = [record.get("remaining") for record in result.found.records]
    weights = {name: value.tolist() for name, value in result.supernet.body.state_dict().items()}
    return result.found.logits, remaining, weights


def _stepped(method: Method, space: Space | nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Logits and weights after one step."""
    supernet, step = started(method, space)
    step(*setting(space).pair(0), seed=0, now=NOW)
    return dict(logits(supernet)), dict(supernet.body.named_parameters())


def _gradient(method: Method, space: Space | nn.Module) -> dict[str, Tensor]:
    """The gradient of the logits in the first step."""
    supernet, step = started(method, space)
    step(*setting(space).pair(0), seed=0, now=NOW)
    found = {}
    for key, value in logits(supernet).items():
        assert value.grad is not None
        found[key] = value.grad
    return found
