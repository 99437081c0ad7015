"""No search can reach a test accuracy: not from its table, not by its imports, not through a file."""

import ast
import gc
import subprocess
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from oche.bench.build import Plan, write_table
from oche.bench.curves import METRICS, CurveTable
from oche.bench.embedded import embedded_columns
from oche.bench.table import Table
from oche.campaign.ledger import Ledger, key_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "oche"
TRUTHS = ("oche.bench.truth", "oche.bench.curve_truth")

# What a search consists of (the axes of a method, the loop, its task in a comparison), and the tables it may ask.
SEARCH = (
    "loop.py",
    "methods.py",
    "domain.py",
    "bench/table.py",
    "bench/curves.py",
    "compare/tasks.py",
    "compare/query.py",
    *("nosh", "predict"),
    *("mixture", "nn", "objective", "probe", "select", "spaces", "stages"),
)


def reachable(start: object) -> Iterator[object]:
    """Everything that an object refers to, however deep, but not the code that is the same for all."""
    shared = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
    seen: set[int] = set()
    todo = [start]
    while todo:
        found = todo.pop()
        if id(found) in seen or isinstance(found, shared):
            continue
        seen.add(id(found))
        yield found
        todo += gc.get_referents(found)
        if isinstance(found, np.ndarray) and found.base is not None:
            todo.append(found.base)  # the array that a view looks into


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports(path: Path) -> set[str]:
    """The modules of the package that a file names in an import, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: imports are absolute here"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names & MODULES.keys()


def closure(roots: Iterable[str]) -> set[str]:
    found: set[str] = set()
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += imports(MODULES[name])
    return found


def search_modules() -> list[str]:
    paths = [
        p for name in SEARCH for p in ([PACKAGE / name] if name.endswith(".py") else (PACKAGE / name).glob("*.py"))
    ]
    return [module_name(path) for path in paths]


@pytest.fixture(scope="module")
def user_file(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "mine.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("source", ["embedded", "file"])
def test_nothing_in_a_table_is_a_test_accuracy(source: str, user_file: Path) -> None:
    table = Table.embedded() if source == "embedded" else Table.read(user_file)
    table.accuracy(0, "cifar10")
    hidden = embedded_columns("test.npy")
    arrays = 0
    for found in reachable(table):
        if isinstance(found, str):
            assert "test" not in found, f"a table refers to {found!r}"
        if isinstance(found, np.ndarray):
            arrays += 1
            assert found.shape == (15_625,)
            assert found.dtype == np.float64  # no records that hold more than one column
            for name, values in hidden.items():
                assert not np.array_equal(found, values, equal_nan=True), f"a table refers to the values of {name}"
    assert arrays == 8, "six validation accuracies, seconds, parameters"


def test_the_search_through_a_table_finds_what_is_there() -> None:
    """Were the test accuracies behind a view, `reachable` would find them."""
    hidden = np.zeros((2, 3))

    class Holder:
        def __init__(self) -> None:
            self.inner = {"rows": [hidden[1]]}

    assert any(found is hidden for found in reachable(Holder()))


def test_no_module_of_a_search_imports_the_truth() -> None:
    reached = closure(search_modules())
    assert {"oche.loop", "oche.bench.encoding", "oche.architecture", "oche.nn.cell"} <= reached
    for truth in TRUTHS:
        assert truth in MODULES
        assert truth not in reached
        assert truth in closure([truth])
    assert set(TRUTHS) <= closure(["oche.compare.judge"])


def test_a_search_on_a_table_never_opens_the_test_file() -> None:
    code = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import oche.loop, oche.api
from oche.bench.encoding import from_index
from oche.bench.table import Table
table = Table.embedded()
best = max(range(100), key=lambda i: table.accuracy(from_index(i), "cifar10", epochs=12))
table.accuracies("cifar100"), table.seconds(best), table.parameters(best)
assert any(name.endswith("valid.npy") for name in opened), "the hook sees what is opened"
assert not [name for name in opened if name.endswith("test.npy")]
assert "oche.bench.truth" not in sys.modules
from oche.bench.truth import Truth
assert not [name for name in opened if name.endswith("test.npy")], "importing is not opening"
Truth.embedded()
assert any(name.endswith("test.npy") for name in opened)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def curve_table(tiny_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """A table of curves, and its test accuracies."""
    directory = tmp_path_factory.mktemp("curves") / "table"
    plan = tiny_plan
    entries, hidden = {}, []
    for i, task in enumerate(plan.ready(Ledger(directory, {}, {}))):
        hidden.append(70.125 + i)
        curves = {name: [10.0 + i + epoch for epoch in range(plan.protocol.epochs)] for name in METRICS}
        entries[key_of(task.cell)] = {
            "cell": task.cell, "status": "done", "test": hidden[-1], "parameters": 7, "curves": curves
        }  # fmt: skip
    write_table(directory, plan, Ledger(directory, {}, entries), {})
    return directory, hidden


def test_nothing_in_a_table_of_curves_is_a_test_accuracy(curve_table: tuple[Path, list[float]]) -> None:
    directory, hidden = curve_table
    table = CurveTable.read(directory)
    table.accuracy(table.architectures[0])
    sizes = set()  # of arrays, and of those that they are views of
    for found in reachable(table):
        if isinstance(found, np.ndarray):
            sizes.add(found.size)
            assert not np.isin(hidden, found).any()
        assert not (isinstance(found, float) and found in hidden)
        assert not (isinstance(found, bytes) and np.float32(hidden[0]).tobytes() in found)
    assert sizes == {table.space.size * table.seeds * table.epochs * len(METRICS), table.space.size}


def test_a_table_of_curves_never_opens_the_test_file(curve_table: tuple[Path, list[float]]) -> None:
    code = f"""
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import oche.compare.tasks
from oche.bench.curves import METRICS, CurveTable
table = CurveTable.read({str(curve_table[0])!r})
best = max(table.architectures, key=table.accuracy)
table.accuracies(), table.seconds(best), table.parameters(best), [table.curve(best, m, seed=0) for m in METRICS]
repr(table), dict(table.about)
assert any(name.endswith("curves.npy") for name in opened), "the hook sees what is opened"
assert not [name for name in opened if name.endswith("test.npy")]
assert not {{"oche.bench.truth", "oche.bench.curve_truth"}} & sys.modules.keys()
from oche.bench.curve_truth import CurveTruth
assert not [name for name in opened if name.endswith("test.npy")], "importing is not opening"
CurveTruth.read({str(curve_table[0])!r})
assert any(name.endswith("test.npy") for name in opened)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
