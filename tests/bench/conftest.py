"""The embedded table written back as CSV, so that the readers are tested without the file it came from."""

import csv
import importlib.util
import io
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from oche.bench import columns
from oche.bench.build import Plan
from oche.bench.embedded import embedded_columns
from oche.bench.encoding import SIZE, string_of_index
from oche.campaign.data import CampaignData
from oche.config.options import NamedData
from oche.nn.network import Stack
from oche.spaces.staged_space import StagedSpace
from oche.training.protocol import protocol

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def sample() -> list[dict[str, str]]:
    """Rows copied from the table that was embedded: the bests, all-skip, first, last, some at random."""
    with (Path(__file__).parent / "nasbench201_sample.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def header(sample: list[dict[str, str]]) -> list[str]:
    return list(sample[0])


@pytest.fixture(scope="session")
def lines(header: list[str]) -> list[str]:
    """The lines of the table as CSV, the header first; row `i` is line `i + 2` of a file."""
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


@pytest.fixture(scope="session")
def script() -> ModuleType:
    """benchmarks/embed_nasbench201.py as a module."""
    spec = importlib.util.spec_from_file_location("embed_nasbench201", ROOT / "benchmarks" / "embed_nasbench201.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_plan() -> Plan:
    """A table of three architectures, twice two epochs on a hundred images."""
    stack = Stack(cells=1, channels=2, reductions=0)
    return Plan(
        name="tiny",
        space=StagedSpace(
            name="two",
            nodes=2,
            candidates=("none", "skip_connect", "nor_conv_1x1"),
            supernet_stack=stack,
            network_stack=stack,
        ),
        data=CampaignData.of(NamedData(name="digits", limit=100)),
        protocol=replace(protocol("bench125"), stack=stack, epochs=2, batch=10, validation=0.5),
        seeds=2,
        device="cpu",
    )
