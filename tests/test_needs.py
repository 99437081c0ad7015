"""Declared needs: of each other in a method, and of the space, before anything long starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import oche
from oche.axes import AXES
from oche.errors import InputError
from oche.methods import METHODS, composed, method
from oche.mixture.dirichlet import Dirichlet
from oche.mixture.softmax import Softmax
from oche.needs import (
    CELLS,
    CONCENTRATIONS,
    KEPT_INPUTS,
    SHARED_LOGITS,
    TWICE_DIFFERENTIABLE,
    Feature,
    Needing,
    check_parts,
    declared,
)
from oche.nn.structure import NodeNorm
from oche.objective.terms import ConcentrationAnchor
from oche.objective.unrolled import Unrolled
from oche.optim import Adam
from oche.select.decorrelation import Decorrelation
from oche.spaces.module_space import ModuleSpace
from oche.spaces.registry import SPACES, space


class Mine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = oche.Choice({"linear": nn.Linear(3, 3), "skip": nn.Identity(), "tanh": nn.Tanh()})
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x))


def batches(n: int) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(6, 3), torch.arange(6) % 2) for _ in range(n)]


# -- of spaces ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
def test_spaces_offer_what_they_have(name: str) -> None:
    offers = space(name).offers
    assert (SHARED_LOGITS in offers) == space(name).shared
    assert (CELLS in offers) == (name != "recurrent")
    assert (KEPT_INPUTS in offers) == (space(name).domain.nodes[0].keep is not None)


def test_a_module_offers_nothing() -> None:
    assert ModuleSpace(Mine()).offers == frozenset()


@pytest.mark.parametrize(
    "part", [{"structure": "node-norm"}, {"structure": "skip-norm"}, {"selection": "decorrelation"}]
)
def test_what_needs_cells_is_refused_in_a_module_before_anything_is_read(part: dict[str, str]) -> None:
    class Unread:
        def __iter__(self) -> None:
            raise AssertionError("a batch was read")

    ((axis, name),) = part.items()
    with pytest.raises(
        InputError, match=rf"\({axis}\) needs cells with channels, which a module of your own does not have; choose"
    ):
        oche.search(Mine(), train=Unread(), valid=Unread(), method=f"darts/{axis}={name}")  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class OwnRule(Decorrelation):
    NEEDS_OF_SPACE: ClassVar[tuple[Feature, ...]] = (KEPT_INPUTS, SHARED_LOGITS)


def test_a_part_of_ones_own_is_checked_by_what_it_declares() -> None:
    own = composed("darts", selection=OwnRule())
    own.check(space("darts"))
    with pytest.raises(
        InputError, match=r"OwnRule \(selection\) needs nodes that keep some of their inputs, which space"
    ):
        own.check(space("nasbench201"))


# -- of each other -----------------------------------------------------------------------------------------------------


def test_a_need_is_met_by_any_other_part_and_the_parts_in_it() -> None:
    @dataclass(frozen=True)
    class Inner:
        OFFERS: ClassVar[tuple[Feature, ...]] = (CONCENTRATIONS,)
        NEEDS: ClassVar[tuple[Feature, ...]] = (TWICE_DIFFERENTIABLE,)

    @dataclass(frozen=True)
    class Outer:
        inner: Inner

    term, outer = Needing("terms", ConcentrationAnchor()), Needing("objective", Outer(Inner()))
    assert list(declared(outer.part, "OFFERS")) == [CONCENTRATIONS]
    check_parts("here", [term, outer, Needing("mixture", Softmax())])
    with pytest.raises(InputError, match=r"here: Outer \(objective\) needs a mixture that can be differentiated twice"):
        check_parts("here", [term, outer])
    with pytest.raises(InputError, match=r"ConcentrationAnchor \(terms\) needs the concentrations"):
        check_parts("here", [term])


def test_of_what_must_be_there_once_two_are_too_many() -> None:
    mixture, term = Needing("mixture", Dirichlet()), Needing("terms", ConcentrationAnchor())
    check_parts("here", [mixture, term])
    for terms, count in (([], 0), ([term, term], 2)):
        with pytest.raises(InputError, match=f"exactly one regularizer .* but there are {count}; give --terms"):
            check_parts("here", [mixture, *terms])


def test_an_optimizer_that_an_objective_cannot_look_ahead_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="needs plain SGD for the weights, but got Adam"):
        replace(METHODS["darts"], weight_optimizer=Adam(), objective=Unrolled())


# -- every pair of parts searches, or is refused -----------------------------------------------------------------------

TEXTS = {
    axis: [*places.registry] + (["none"] if places.many else [])
    for axis, places in AXES.items()
}  # fmt: skip
PAIRS = [
    {a: one, b: other}
    for a, b in combinations(TEXTS, 2)
    for one in TEXTS[a]
    for other in TEXTS[b]
]  # fmt: skip


@pytest.mark.parametrize("base", ["darts", "drnas"])
@pytest.mark.parametrize("axes", list(combinations(TEXTS, 2)), ids="-".join)
def test_every_pair_of_parts_searches_or_is_refused_with_the_cure(base: str, axes: tuple[str, str]) -> None:
    searched, refused = 0, []
    for pair in (p for p in PAIRS if tuple(p) == axes):
        try:
            chosen = composed(base, **pair)
            chosen.check(ModuleSpace(Mine()))
        except InputError as error:
            refused.append(str(error))
            continue
        result = oche.search(Mine(), train=batches(1), valid=batches(1), method=chosen, epochs=4)
        assert all(row == row for table in result.found.logits for values in table.values() for row in values)
        searched += 1
    assert searched
    assert all("needs" in message and "; " in message and "--" in message for message in refused)


@pytest.mark.parametrize("mixture", AXES["mixture"].registry)
def test_cells_take_parts_of_every_axis_at_once(mixture: str) -> None:
    text = f"amended/structure=node-norm/mixture={mixture}/perturbation=uniform/stages=freeze-logits"
    chosen = method(f"{text}/selection=decorrelation:images=16")
    assert isinstance(chosen.structure, NodeNorm)
    tiny = space("darts", nodes=1).replace(supernet_stack=oche.Stack(cells=1, channels=4))
    images = oche.load("digits", oche.DataOptions(limit=80))
    result = oche.search(tiny, data=images, method=chosen, epochs=2, batch=16, validation=0)
    assert result.method.name == chosen.name
    tiny.domain.restrict(result.found.logits[0]).check(result.architecture)
