"""The package of docs/extending.md is written, installed and searched with, exactly as the page has it."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import pytest

from oche.cli import main
from oche.errors import InputError
from oche.needs import KEPT_INPUTS, TWICE_DIFFERENTIABLE, Feature, Needing, check_parts, check_space

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES: dict[str, str] = dict(re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
TINY = ["--space.cells", "2", "--space.channels", "4", "--threads", "1", "--data.limit", "200"]
TINY += ["--search.epochs", "1", "--search.batch", "32"]
MOST_LINES = 40
TESTS = "tests/test_floor.py"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "target"))
    for name, text in FILES.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-index", "--no-deps"]
    command = [*pip, "--no-build-isolation", "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_the_page_has_short_and_whole_files() -> None:
    names = {"__init__", "mixture", "space", "needs"}
    assert set(FILES) == {*(f"oche_floor/{name}.py" for name in names), "pyproject.toml", TESTS}
    for name in ("oche_floor/mixture.py", "oche_floor/space.py"):
        assert FILES[name].count("\n") < MOST_LINES


def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_floor.py").write_text(FILES[TESTS], encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{installed}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_an_installed_mixture_and_space_search(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # In a process of its own, as a user does it.
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{installed}", "PYTHONSAFEPATH": "1"}
    parts = ["--space", "lean", *TINY, "--method", "sp-darts", "--mixture", "floor:share=0.1"]
    command = [sys.executable, "-W", "error", "-m", "oche.cli", "search", *parts, "--run", "out"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    method = json.loads((tmp_path / "out" / "method.json").read_text())
    assert method["name"] == "sp-darts/mixture=floor:share=0.1"
    assert method["relaxation"] == {"part": "Floor", "share": 0.1}
    assert json.loads((tmp_path / "out" / "space.json").read_text())["name"] == "lean"
    candidates = set(json.loads((tmp_path / "out" / "architecture.json").read_text())["choices"].values())
    assert candidates <= {"skip_connect", "avg_pool_3x3", "sep_conv_3x3"}

    # Every command knows the run and the names, and says what is wrong with a number.
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(installed))
    assert main(["resume", "out"]) == 0
    assert "complete already" in capsys.readouterr().out
    assert main(["parts", "mixture", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"axis": "mixture", "name": "floor", "numbers": {"share": "0.3"}, "papers": []} in listed
    assert main(["spaces", "--quiet"]) == 0
    assert "lean" in capsys.readouterr().out.split()
    assert main(["search", "--space", "lean", "--mixture", "floor:share=1"]) == 2
    assert "0 <= share < 1 must hold, but got 1.0" in capsys.readouterr().err
    assert main(["search", "--space", "lean", "--mixture", "flor"]) == 2
    assert "did you mean 'floor'" in capsys.readouterr().err


def test_a_declared_need_is_checked(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed))
    needs = import_module("oche_floor.needs")

    @dataclass(frozen=True)
    class Rule(needs.MyRule):  # type: ignore[misc, name-defined]
        pass

    @dataclass(frozen=True)
    class Greedy:
        OFFERS: ClassVar[tuple[Feature, ...]] = (needs.GREEDY, TWICE_DIFFERENTIABLE)

    rule = Needing("selection", Rule())
    check_parts("here", [rule, Needing("stages", Greedy())])
    with pytest.raises(InputError, match=r"here: Rule \(selection\) needs a mixture that can be differentiated twice"):
        check_parts("here", [rule])
    with pytest.raises(InputError, match=r"needs a stage that decides edges, .*; give --stages greedy"):
        check_parts("here", [rule], [TWICE_DIFFERENTIABLE])
    check_space("here", [rule], "space 'x'", [KEPT_INPUTS])
    with pytest.raises(InputError, match="nodes that keep some of their inputs, which space 'x' does not have"):
        check_space("here", [rule], "space 'x'", [])
