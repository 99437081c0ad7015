"""A comparison small enough to be computed in a test: digits, scored as if they were CIFAR-10, which no test minds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from oche.cli import main

TINY = (
    *("--space", "nasbench201", "--space.cells", "1", "--space.channels", "2", "--data", "digits"),
    *("--data.limit", "120", "--truth", "cifar10", "--search.epochs", "2", "--search.batch", "30"),
    *("--device", "cpu", "--workers", "2"),
)


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Options and values of the tiny comparison, but for its methods and seeds."""
    return TINY


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a finished comparison; copy the file to change it."""
    path = tmp_path_factory.mktemp("comparison") / "results.jsonl"
    assert main(["compare", str(path), *TINY, "--methods", "darts,random", "--seeds", "2", "--quiet"]) == 0
    return path


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, in a directory of its own."""
    path = tmp_path / finished.name
    path.write_bytes(finished.read_bytes())
    return path


@pytest.fixture
def compare() -> Callable[..., int]:
    """`oche compare` with a results file and further words."""
    return lambda path, *words: main(["compare", str(path), *map(str, words)])
