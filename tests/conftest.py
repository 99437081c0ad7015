"""One thread per test process, so that several processes (and machines with few cores) do not fight."""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported, and inherited by every process that a test starts.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

# Reports are as wide as a pipe's, whatever a shell or pytest-xdist says of the terminal.
os.environ.pop("COLUMNS", None)

import numpy as np
import pytest
import torch
from hypothesis import settings

from oche.bench import columns
from oche.bench.embedded import embedded_columns
from oche.bench.encoding import SIZE, string_of_index
from oche.nn.fast.compiled.library import SWITCH, library

torch.set_num_threads(1)

# The same examples every time, however long one takes on a busy machine.
settings.register_profile("oche", deadline=None, derandomize=True)
settings.load_profile("oche")


def pytest_collectstart() -> None:
    """Random values that a test file makes while it is imported are the same in every session, too."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same random state, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(params=["pure", "compiled"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Without compiled kernels, and with them where there is a compiler."""
    library.cache_clear()
    if request.param == "pure":
        monkeypatch.setenv(SWITCH, "0")
    elif library() is None:
        pytest.skip("no compiler here")
    yield str(request.param)
    library.cache_clear()


@pytest.fixture(scope="session")
def sample() -> list[dict[str, str]]:
    """Rows copied from the table that was embedded: the bests, all-skip, first, last, some at random."""
    with (Path(__file__).parent / "bench" / "nasbench201_sample.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def header(sample: list[dict[str, str]]) -> list[str]:
    return list(sample[0])


@pytest.fixture(scope="session")
def lines(header: list[str]) -> list[str]:
    """The embedded table written back as CSV, so that readers are tested without the file it came from.

    The header comes first; row `i` is line `i + 2` of a file.
    """
    values = dict(embedded_columns("valid.npy")) | dict(embedded_columns("test.npy"))

    def cell(name: str, i: int) -> str:
        if name == columns.INDEX:
            return str(i)
        if name == columns.STRING:
            return string_of_index(i)
        value = values[name][i]
        if np.isnan(value):
            return ""
        return str(int(value)) if name == columns.PARAMETERS else f"{value:.4f}"

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([cell(name, i) for name in header] for i in range(SIZE))
    return out.getvalue().splitlines()
