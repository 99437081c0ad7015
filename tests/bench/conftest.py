"""The script that embeds the table, as a module; a table small enough to be built in a test."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from oche.bench.build import Plan
from oche.campaign.data import CampaignData
from oche.config.options import NamedData
from oche.nn.network import Stack
from oche.spaces.staged_space import StagedSpace
from oche.training.protocol import protocol

ROOT = Path(__file__).resolve().parents[2]


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
