"""Tasks on a Ray cluster of this machine, started once for all of these tests."""

import sys
import time
from collections.abc import Iterator

import pytest
from sample_tasks import Double, Killed, Raises, Refuses, Sleeps, Threads

from oche.campaign.executors import make_executor
from oche.campaign.ray_cluster import RayCluster
from oche.campaign.task import Done, Failed, Outcome
from oche.config.options import CampaignOptions
from oche.errors import InputError

PATIENCE = 60.0
"""Seconds after which something hangs."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    pytest.importorskip("ray", reason="Ray is optional")
    cluster = make_executor(CampaignOptions(executor="ray", workers=2, threads=2), lambda *words: None)
    assert isinstance(cluster, RayCluster)
    yield cluster
    cluster.close()


def outcomes(cluster: RayCluster, wanted: int) -> dict[str, Outcome]:
    found: list[Outcome] = []
    end = time.monotonic() + PATIENCE
    while len(found) < wanted:
        assert time.monotonic() < end, f"only {found} came"
        found += cluster.outcomes()
    return {str(outcome.cell["kind"]): outcome for outcome in found}


def test_results_and_errors_come_back_as_values(cluster: RayCluster) -> None:
    assert (cluster.free, cluster.running) == (2, 0)
    assert pytest.importorskip("ray").cluster_resources()["CPU"] == 4, "whatever this machine has"
    cluster.start(Double(21))
    cluster.start(Raises())
    assert (cluster.free, cluster.running) == (0, 2)
    found = outcomes(cluster, 2)
    assert (cluster.free, cluster.running) == (2, 0)
    done, raised = found["Double"], found["Raises"]
    assert isinstance(done, Done)
    assert done.value["double"] == 42
    assert isinstance(raised, Failed)
    assert raised.error == "ZeroDivisionError: first line second line"
    assert "Traceback" in raised.trace
    cluster.start(Refuses())
    cluster.start(Threads())
    found = outcomes(cluster, 2)
    assert found["Refuses"] == Failed(Refuses().cell, "give --cure")
    assert isinstance(found["Threads"], Done)
    assert found["Threads"].value == {"threads": 2}


def test_a_process_that_dies_is_one_failure(cluster: RayCluster) -> None:
    cluster.start(Killed())
    cluster.start(Double(1))
    found = outcomes(cluster, 2)
    assert isinstance(found["Killed"], Failed)
    assert "Ray lost it" in found["Killed"].error
    assert "\n" not in found["Killed"].error
    assert isinstance(found["Double"], Done)


def test_stopping_ends_the_tasks(cluster: RayCluster) -> None:
    cluster.start(Sleeps())
    assert cluster.outcomes() == []
    cluster.stop()
    assert (cluster.free, cluster.running) == (2, 0)
    cluster.start(Double(5))
    done = outcomes(cluster, 1)["Double"]
    assert isinstance(done, Done), "its place is free again"


def test_without_ray_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"needs Ray.*pip install 'oche\[ray\]', or use --executor local"):
        make_executor(CampaignOptions(executor="ray"), lambda *words: None)
