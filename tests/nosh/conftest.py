"""A search small enough for a test: by the tables, and by trainings of two cells of two nodes on a hundred digits."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from oche.bench.curves import CurveTable
from oche.bench.table import Table
from oche.campaign.data import CampaignData
from oche.campaign.task import Workplace
from oche.config.options import NamedData
from oche.nn.network import Stack
from oche.nosh.backend import CurveBackend, ScheduleBackend
from oche.nosh.training import TrainingBackend
from oche.spaces.staged_space import StagedSpace
from oche.training.protocol import protocol

STACK = Stack(cells=1, channels=2, reductions=0)
TINY = StagedSpace(
    name="tiny",
    nodes=3,
    candidates=("none", "skip_connect", "nor_conv_1x1"),
    supernet_stack=STACK,
    network_stack=STACK,
)


class NoStop:
    received = None


@pytest.fixture(scope="session")
def place() -> Workplace:
    return Workplace(stop=NoStop(), report=lambda share, text: None)


@pytest.fixture(scope="session")
def curves() -> CurveBackend:
    return CurveBackend(CurveTable.embedded(), 0)


@pytest.fixture(scope="session")
def schedules() -> ScheduleBackend:
    return ScheduleBackend(Table.embedded(), "cifar10")


@pytest.fixture(scope="session")
def training() -> Callable[[Path], TrainingBackend]:
    """A backend of trainings of four epochs that keeps its checkpoints in a directory."""
    data = CampaignData.of(NamedData(name="digits", limit=120))
    rules = replace(protocol("bench125"), name="tiny", stack=STACK, epochs=4, batch=20, keep_best=False)
    return lambda work: TrainingBackend(
        searched=TINY,
        data=data,
        protocol=rules,
        validation=0.1,
        split=0,
        seed=0,
        device="cpu",
        fit=True,
        work=work,
    )
