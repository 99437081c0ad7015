"""The same search on a Ray cluster of this machine."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from oche.campaign.executors import make_executor
from oche.campaign.ledger import Entry, Ledger
from oche.campaign.run import run_campaign
from oche.config.options import CampaignOptions
from oche.nosh.campaign import KIND, Campaign, Here, facts
from oche.nosh.search import NOSH, Course, Rounds
from oche.nosh.training import TrainingBackend

SMALL = replace(NOSH, shape=Rounds(width=3, epochs=(1, 2), ratio=2.0))


class Silent:
    def finished(self, entry: Entry) -> None:
        pass


def test_a_cluster_finds_what_one_process_finds(training: Callable[[Path], TrainingBackend], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is optional")
    found = []
    for name in ("here", "ray"):
        course = Course(SMALL, training(tmp_path / name), 4, 0)
        ledger = Ledger.take(tmp_path / f"{name}.jsonl", KIND, facts(course, 4, 0))
        executor = (
            Here() if name == "here" else make_executor(CampaignOptions(executor="ray", workers=2), lambda *words: None)
        )
        with ledger.lock():
            run_campaign(ledger, Campaign(course).ready, executor, Silent())
        found.append([c.labels for c in course.nosh.candidates])
    assert found[0] == found[1]
    assert sorted(map(len, found[0])) == [1, 1, 2]
