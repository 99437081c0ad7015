"""What every method and every part must do in every kind of space: what is new inherits all of it."""

import os
from itertools import combinations
from pathlib import Path

import pytest
from torch import nn

from oche.axes import AXES
from oche.errors import InputError
from oche.methods import METHODS, Method, composed
from oche.methods import method as named
from oche.recipe import EMPTY
from oche.spaces.module_space import ModuleSpace
from oche.testing import SPACES, check_effect, check_engines, check_search, covering
from oche.testing.pairs import Combination

NEUTRAL = {
    "structure": "plain",
    "regularization": "none",
    "mixture": "softmax",
    "perturbation": "none",
    "objective": "first-order",
    "selection": "magnitude",
}
"""What stands on an axis where nothing is done; of terms and stages it is an empty list."""

AT_ONCE = "selection=perturbation:interval=0"
"""With a step between two decisions, as many of which are made as ever."""

SEED = int(os.environ.get("OCHE_BATTERY_SEED", "0"))
"""Of the combinations; another one tries others."""

PARTS = [(axis, name) for axis, of in AXES.items() for name in of.registry if name != NEUTRAL.get(axis)]


def refusal(method: Method, space: object) -> str | None:
    """Why a method refuses a space; None: it does not."""
    try:
        method.check(ModuleSpace(space) if isinstance(space, nn.Module) else space)  # type: ignore[arg-type]
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", [*METHODS, f"darts/{AT_ONCE}", "sgas+pt"])
def test_a_method_searches_goes_on_and_builds(tmp_path: Path, name: str, space: str) -> None:
    method, there = named(name).fitted(space), SPACES[space]()
    reason = refusal(method, there)
    if reason is not None:
        assert "needs" in reason
        with pytest.raises(InputError, match="needs"):
            check_search(method, there, tmp_path)
        return
    one = check_search(method, there, tmp_path)
    other = check_search(method, there, tmp_path / "other", seed=4)
    assert one.found.logits != other.found.logits, "another seed makes another search"
    check_engines(method, there)


@pytest.mark.parametrize("space", ["darts", "recurrent"])
@pytest.mark.parametrize(("axis", "name"), PARTS)
def test_a_part_that_is_taken_away_is_missed(axis: str, name: str, space: str) -> None:
    method, there = with_part(axis, name), SPACES[space]()
    reason = refusal(method, there)
    if reason is None:
        check_effect(method, axis, there)
    else:
        assert space == "recurrent"
        assert "needs" in reason


def with_part(axis: str, name: str) -> Method:
    """A method that has the part, on the base that it suits."""
    for base in ("darts", "drnas"):
        try:
            return composed(base, **{axis: name})
        except InputError:
            continue
    return composed("drnas-progressive", **{axis: name})


def test_every_two_parts_go_together_or_are_refused(tmp_path: Path) -> None:
    """All pairs of axes; `benchmarks/battery.py` makes the full product."""
    axes = {axis: [*of.registry, *([EMPTY] if of.many else [])] for axis, of in AXES.items()}
    axes |= {"base": ["darts", "drnas"], "space": list(SPACES)}
    reasons = {}

    def works(combination: Combination) -> bool:
        try:
            reason = refusal(made(combination), SPACES[combination["space"]]())
        except InputError as error:
            reason = str(error)
        reasons[frozenset(combination.items())] = reason
        return reason is None

    found = covering(axes, works, SEED)
    print(f"OCHE_BATTERY_SEED={SEED}: {len(found.combinations)} combinations")
    for number, combination in enumerate(found.combinations):
        print(dict(combination))
        check_search(made(combination), SPACES[combination["space"]](), tmp_path / str(number))
    # What does not go together was refused because of a declared need, and by nothing else.
    print("never together:", *found.impossible, sep="\n")
    assert all(reason is None or "needs" in reason for reason in reasons.values())
    held = {pair for c in found.combinations for pair in combinations(sorted(c.items()), 2)}
    every = {pair for c in reasons for pair in combinations(sorted(c), 2)}
    assert every - held == set(found.impossible)


def made(combination: Combination) -> Method:
    """The method of a combination."""
    return composed(combination["base"], **{axis: combination[axis] for axis in AXES})
