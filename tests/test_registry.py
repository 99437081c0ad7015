"""Registries with real packages on the search path: directories with metadata, as an installer leaves them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oche.axes import AXES
from oche.cli import main
from oche.errors import InputError
from oche.methods import METHODS, method
from oche.mixture.base import Relaxation
from oche.mixture.registry import MIXTURES
from oche.mixture.softmax import Softmax
from oche.recipe import AXES as NAMES
from oche.registry import Registry, part_of
from oche.spaces.registry import SPACES, TYPES, space, space_from_json
from oche.training.protocol import PROTOCOLS, protocol

Install = Callable[..., None]

GOOD = """
from dataclasses import dataclass
from oche.mixture.softmax import Softmax

warm = Softmax(temperature=2.0)

def cool():
    return Softmax(temperature=0.5)

@dataclass(frozen=True)
class Half:
    temperature: float = 0.5

number = 3
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package on the search path: its name, the text of its one module, and its entry points by group."""

    def put(package: str, text: str, **groups: dict[str, str]) -> None:
        place = tmp_path / package
        metadata = place / f"{package}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (place / f"{package}.py").write_text(text)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = []
        for group, entries in groups.items():
            lines += [f"[oche.{group}]", *(f"{name} = {package}:{target}" for name, target in entries.items())]
        (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(place))

    before = set(sys.modules)
    yield put
    for name in set(sys.modules) - before:
        if name.startswith("givers_"):
            del sys.modules[name]


def test_the_axes_of_recipes_are_those_with_registries() -> None:
    assert tuple(AXES) == NAMES


def test_values_classes_and_functions_are_parts(install: Install) -> None:
    install("givers_good", GOOD, mixtures={"warm": "warm", "cool": "cool", "plain": "Softmax"})
    assert [MIXTURES[name] for name in ("warm", "cool", "plain")] == [Softmax(temperature=t) for t in (2.0, 0.5, 1.0)]
    assert set(MIXTURES) >= {"softmax", "warm", "cool", "plain"}
    assert len(MIXTURES) == len(set(MIXTURES))
    assert method("darts/mixture=warm:temperature=3").relaxation == Softmax(temperature=3.0)
    with pytest.raises(InputError, match="did you mean 'warm'"):
        method("darts/mixture=warn")


def test_nothing_is_imported_before_it_is_asked_for(install: Install) -> None:
    install("givers_lazy", GOOD, mixtures={"warm": "warm"}, terms={"t": "number"})
    assert "warm" in MIXTURES
    assert "warm" in list(MIXTURES)
    assert MIXTURES["softmax"] == Softmax()
    assert "givers_lazy" not in sys.modules
    assert MIXTURES["warm"] == Softmax(temperature=2.0)
    assert "givers_lazy" in sys.modules


@pytest.mark.parametrize(
    ("text", "target", "parts"),
    [
        ("import nothing_like_it", "x", ["cannot be loaded", "ModuleNotFoundError", "nothing_like_it"]),
        ("1 / 0", "x", ["cannot be loaded", "ZeroDivisionError"]),
        (GOOD, "absent", ["cannot be loaded", "AttributeError", "absent"]),
        (GOOD, "number", ["cannot be used", "a part is a frozen dataclass", "int"]),
        (GOOD, "Half", ["cannot be used", "Half lacks draw, log_strength, mean, scale, views, which Relaxation has"]),
        ("def x(y): pass", "x", ["cannot be loaded", "TypeError"]),
    ],
)
def test_a_broken_package_is_named_and_leaves_others_alone(
    install: Install, capsys: pytest.CaptureFixture[str], text: str, target: str, parts: list[str]
) -> None:
    install("givers_broken", text, mixtures={"bad": target})
    install("givers_fine", GOOD, mixtures={"warm": "warm"})
    with pytest.raises(InputError) as caught:
        MIXTURES.named("bad")
    for part in ["mixture 'bad'", "givers_broken", *parts]:
        assert part in str(caught.value)
    assert MIXTURES["warm"] == Softmax(temperature=2.0)
    working, errors = MIXTURES.working()
    assert {"softmax", "warm"} <= set(working)
    assert "bad" not in working
    assert [str(error) for error in errors] == [str(caught.value)]
    # A list has all others, and a warning beside it.
    assert main(["parts", "mixture", "--quiet"]) == 0
    shown = capsys.readouterr()
    assert "warm" in shown.out.split()
    assert "givers_broken" in shown.err
    assert main(["search", "--mixture", "bad"]) == 2
    assert "givers_broken" in capsys.readouterr().err


def test_a_name_that_is_given_twice_is_refused_with_both_givers(install: Install) -> None:
    install("givers_a", GOOD, mixtures={"warm": "warm", "softmax": "warm", "mine": "warm"})
    install("givers_b", GOOD, mixtures={"warm": "cool"})
    with pytest.raises(InputError, match=r"'warm' is given by givers_. and by givers_.; uninstall all but one"):
        MIXTURES["warm"]
    with pytest.raises(InputError, match="'softmax' is given by oche and by givers_a"):
        MIXTURES.named("softmax")
    assert MIXTURES["mine"] == Softmax(temperature=2.0)


def test_a_program_has_names_of_its_own() -> None:
    registry = Registry[Relaxation]("mixture", "oche.nobodys", {"softmax": Softmax()}, made=part_of(Relaxation))
    registry["mine"] = Softmax(temperature=3.0)
    assert registry.named("mine") == Softmax(temperature=3.0)
    assert dict(registry) == {"softmax": Softmax(), "mine": Softmax(temperature=3.0)}
    del registry["mine"]
    assert "mine" not in registry
    with pytest.raises(InputError, match="unknown mixture 'mine'; known: softmax"):
        registry.named("mine")


METHODS_OF_OTHERS = """
from dataclasses import replace
from oche.methods import DARTS
mine = replace(DARTS, name="mine", epochs=7)
other = replace(DARTS, name="other")
"""


def test_packages_give_methods(install: Install) -> None:
    install("givers_methods", METHODS_OF_OTHERS, methods={"mine": "mine", "misnamed": "other"})
    assert method("mine").epochs == 7
    assert method("mine/selection=decorrelation").name == "mine/selection=decorrelation"
    with pytest.raises(InputError, match=r"givers_methods.*calls itself 'other'"):
        METHODS.named("misnamed")


SPACES_OF_OTHERS = """
from dataclasses import replace
from oche.spaces.bench125 import bench125
from oche.spaces.cell_space import CellSpace
from oche.training.protocol import TINY

class Wide(CellSpace):
    pass

value = bench125().replace(name="value")
wide = Wide(name="wide", normal=(("skip_connect", "sep_conv_3x3"),) * 2,
            reduction=(("skip_connect", "sep_conv_3x3"),) * 2, nodes=1)
short = replace(TINY, name="short", epochs=1)
"""


def test_packages_give_spaces_types_of_spaces_and_protocols(install: Install) -> None:
    given = {"value": "value", "wide": "wide", "misnamed": "bench125", "number": "__name__"}
    install(
        "givers_spaces", SPACES_OF_OTHERS, spaces=given, space_types={"Wide": "Wide", "Odd": "Wide"},
        protocols={"short": "short"},
    )  # fmt: skip
    assert space("value").size == 125
    assert space_from_json(space("wide").to_json()) == space("wide")
    assert type(space_from_json(space("wide").to_json())).__name__ == "Wide"
    with pytest.raises(InputError, match="'misnamed' is registered under this name"):
        space("misnamed")
    with pytest.raises(InputError, match="givers_spaces cannot be used: a Space, or a function"):
        space("number")
    with pytest.raises(InputError, match="called Odd is needed"):
        TYPES.named("Odd")
    assert set(SPACES) >= {"darts", "value"}
    assert protocol("short").epochs == 1
    assert PROTOCOLS["tiny"].name == "tiny"
