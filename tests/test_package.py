"""The wheel is complete and works away from the checkout; starting it is quick."""

import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Seconds. The design's limit for `oche --help`; the best of three counts.
HELP_LIMIT = 0.5
# Seconds that `import oche` may cost beyond `import torch`.
IMPORT_MARGIN = 0.3


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("oche-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--no-index"]
    done = subprocess.run([*pip, "--target", str(target), str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture
def away(installed: Path, tmp_path: Path):
    """Run a command away from the checkout, with the wheel before everything else on the path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1", "COLUMNS": "100"}

    def run(command: Sequence[str]) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


def best_of_three(*runs) -> list[float]:
    """The shortest time of each of `runs`, taken in turn so that a slow moment strikes all alike."""
    best = [float("inf")] * len(runs)
    for _ in range(3):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            run()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def test_wheel_holds_the_whole_package(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.py", "py.typed", "spaces/*.json", "bench/nasbench201/*", "bench/bench125/*")
        for path in (ROOT / "oche").rglob(pattern)
    }
    assert "oche/py.typed" in expected
    assert expected <= inside, f"missing from the wheel: {sorted(expected - inside)}"
    outside = {name for name in inside if not name.startswith("oche")}
    assert not outside, f"only oche/ and its metadata belong into the wheel, but got {sorted(outside)}"
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_wheel_is_what_gets_imported(away, installed):
    found = Path(away([sys.executable, "-c", "import oche; print(oche.__file__)"]).strip())
    assert found.is_relative_to(installed)


def test_wheel_lists_methods(away):
    names = away([sys.executable, "-c", "from oche.cli import main; main(['methods'])"])
    assert "darts" in names
    assert "darts-2nd" in names


def test_wheel_builds_what_it_lists(away):
    # Needs the package data: the known architectures are files of the wheel.
    assert "darts" in away([sys.executable, "-c", "from oche.cli import main; main(['spaces'])"])


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["search", "--help"]], ids=" ".join)
def test_help_imports_no_torch(away, arguments):
    code = f"""
import sys
from oche.cli import main
try:
    status = main({arguments!r})
except SystemExit as end:
    status = end.code
assert not status, status
heavy = {{"torch", "torchvision", "sklearn"}} & set(sys.modules)
assert not heavy, heavy
"""
    assert "oche" in away([sys.executable, "-c", code])


def test_unknown_option_ends_with_status_2(away, installed):
    code = "import sys; from oche.cli import main; sys.exit(main(['run', '--metod', 'darts']))"
    with pytest.raises(AssertionError, match="ended with 2") as caught:
        away([sys.executable, "-c", code])
    assert "--method" in str(caught.value)


def test_help_is_quick(away, installed):
    script = installed / "bin" / "oche"
    (best,) = best_of_three(lambda: away([str(script), "--help"]))
    assert best < HELP_LIMIT, f"`oche --help` must take less than {HELP_LIMIT} s, but took {best:.2f} s"


def test_import_is_quick(away):
    ours, torch = best_of_three(
        lambda: away([sys.executable, "-c", "import oche"]),
        lambda: away([sys.executable, "-c", "import torch"]),
    )
    assert ours < torch + IMPORT_MARGIN, f"import oche took {ours:.2f} s, import torch {torch:.2f} s"
