"""A search from its results file: cut off after every line, with real trainings and in several processes."""

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oche.campaign.executors import make_executor
from oche.campaign.ledger import Entry, Ledger
from oche.campaign.local import LocalProcesses
from oche.campaign.run import run_campaign
from oche.campaign.task import Workplace
from oche.clock import Deadline
from oche.config.options import CampaignOptions
from oche.errors import InputError
from oche.interrupt import Interrupted
from oche.nosh.backend import CurveBackend
from oche.nosh.campaign import KIND, Campaign, Here, explained, facts
from oche.nosh.proposals import Ranked
from oche.nosh.schedule import Nosh
from oche.nosh.search import NOSH, RANK_NOSH, Course, QuerySearch, Rounds, run_here
from oche.nosh.training import TrainingBackend
from oche.optim import SGD
from oche.predict.ranking import RankingSettings
from oche.schedule import Constant

QUICK = replace(
    RANK_NOSH,
    shape=Rounds(width=4, epochs=(2, 5), ratio=2.0),
    proposals=Ranked(ranking=RankingSettings(members=2, steps=5)),
)
SMALL = replace(NOSH, shape=Rounds(width=4, epochs=(1, 2, 4), ratio=2.0))


class Silent:
    def finished(self, entry: Entry) -> None:
        pass


class Stops:
    """Wants to stop after so many questions."""

    def __init__(self, after: int) -> None:
        self._left = after

    @property
    def received(self) -> int | None:
        self._left -= 1
        return None if self._left > 0 else signal.SIGINT


class Never:
    received = None


def begun(path: Path, course: Course) -> Ledger:
    return Ledger.take(path, KIND, facts(course, course.nosh.budget, 0))


def finished(path: Path, course: Course) -> Nosh:
    ledger = begun(path, course)
    with ledger.lock():
        run_campaign(ledger, Campaign(course).ready, Here(), Silent())
    return course.nosh


def what(path: Path) -> list[Mapping[str, Any]]:
    """The lines of a results file without times."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("wall", "busy", "seconds")} for line in lines]


def test_a_kill_after_any_line_changes_nothing(curves: CurveBackend, place: Workplace, tmp_path: Path) -> None:
    """The file is cut after every line, and in the middle of one; the search then ends in the same file."""
    whole = tmp_path / "whole.jsonl"
    nosh = finished(whole, Course(QUICK, curves, 60, 0))
    straight = Course(QUICK, curves, 60, 0)
    run_here(straight, place)
    assert nosh.candidates == straight.nosh.candidates
    assert nosh.spent == straight.nosh.spent
    lines = whole.read_text().splitlines(keepends=True)
    assert len(lines) > 15
    for cut in range(1, len(lines) + 1):
        path = tmp_path / f"{cut}.jsonl"
        path.write_text("".join(lines[:cut]) + '{"cell":{"arch')
        again = finished(path, Course(QUICK, curves, 60, 0))
        assert what(path) == what(whole)
        assert again.candidates == nosh.candidates
        assert again.spent == nosh.spent


def test_a_file_of_another_search_is_refused(curves: CurveBackend, tmp_path: Path) -> None:
    finished(tmp_path / "a.jsonl", Course(QUICK, curves, 60, 0))
    with pytest.raises(InputError, match=r"of another query search: its budget is 60, but now it is 70"):
        begun(tmp_path / "a.jsonl", Course(QUICK, curves, 70, 0))


def test_when_the_time_is_up_nothing_is_begun_and_what_is_there_counts(curves: CurveBackend, tmp_path: Path) -> None:
    whole = finished(tmp_path / "a.jsonl", Course(QUICK, curves, 60, 0))
    deadline = Deadline(1e-9)
    course = Course(QUICK, curves, 60, 0)
    ledger = begun(tmp_path / "b.jsonl", course)
    assert list(Campaign(course, deadline).ready(ledger)) == []
    assert ledger.entries == {}, "no round is proposed either"
    course = Course(QUICK, curves, 60, 0)
    assert list(Campaign(course, deadline).ready(begun(tmp_path / "a.jsonl", course))) == []
    assert course.nosh.candidates == whole.candidates
    lines = (tmp_path / "a.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "c.jsonl").write_text("".join(lines[:8]))
    course = Course(QUICK, curves, 60, 0)
    assert list(Campaign(course, deadline).ready(begun(tmp_path / "c.jsonl", course))) == []
    assert 0 < sum(c.level for c in course.nosh.candidates) == 6, "a header, a round, six measurements"


def reached(nosh: Nosh) -> list[list[float]]:
    return [c.labels for c in nosh.candidates]


def test_trainings_in_processes_and_cut_short_are_those_of_one_go(
    training: Callable[[Path], TrainingBackend], tmp_path: Path
) -> None:
    """In this process; in two; and here, stopped in the middle of a training again and again."""
    here = Course(SMALL, training(tmp_path / "here"), 20, 0)
    finished(tmp_path / "here.jsonl", here)
    assert here.nosh.spent.epochs <= 20
    assert max(len(labels) for labels in reached(here.nosh)) == 3

    there = Course(SMALL, training(tmp_path / "there"), 20, 0)
    ledger = begun(tmp_path / "there.jsonl", there)
    with ledger.lock():
        executor = make_executor(CampaignOptions(workers=2), lambda *words: None)
        assert isinstance(executor, LocalProcesses)
        run_campaign(ledger, Campaign(there).ready, executor, Silent())
    assert reached(there.nosh) == reached(here.nosh)

    backend, stops = training(tmp_path / "cut"), 0
    while True:
        cut = Course(SMALL, backend, 20, 0)
        ledger = begun(tmp_path / "cut.jsonl", cut)
        before = len(ledger.entries)
        with ledger.lock():
            campaign = Campaign(cut)
            for task in campaign.ready(ledger):
                try:
                    value = task.run(Workplace(stop=Stops(9), report=lambda share, text: None))
                except Interrupted:
                    stops += 1
                    break
                ledger.append({"cell": task.cell, "status": "done", **value})
            else:
                if len(ledger.entries) == before:
                    break
    assert stops > 2
    assert reached(cut.nosh) == reached(here.nosh)


def test_a_killed_process_loses_no_epoch(training: Callable[[Path], TrainingBackend], tmp_path: Path) -> None:
    """The result of a finished piece is lost, but its checkpoint is there: no epoch is trained again."""
    backend = training(tmp_path / "work")
    place = Workplace(stop=Never(), report=lambda share, text: None)
    first = Course(SMALL, backend, 20, 0)
    architecture = first.propose()[0]
    lost = backend.measure(architecture, 0, 0, 2, place)
    heard: list[str] = []
    again = backend.measure(
        architecture, 0, 0, 2, Workplace(stop=Never(), report=lambda share, text: heard.append(text))
    )
    assert again == lost, "its seconds too"
    assert heard == [], "no epoch was trained"


def test_failures_are_told_and_explained(training: Callable[[Path], TrainingBackend], tmp_path: Path) -> None:
    backend = training(tmp_path / "work")
    wild = replace(backend, protocol=replace(backend.protocol, optimizer=SGD(lr=Constant(1e30)), clip=None))
    search: QuerySearch = replace(SMALL, shape=Rounds(width=2, epochs=(1, 2), ratio=2.0))
    course = Course(search, wild, 3, 0)
    nosh = finished(tmp_path / "wild.jsonl", course)
    assert nosh.over
    ledger = Ledger.read(tmp_path / "wild.jsonl", KIND)
    assert [entry["status"] for entry in ledger.entries.values()] == ["done", "failed", "failed"], "the round, then two"
    assert [(c.failed, c.labels) for c in nosh.candidates] == [(True, []), (True, [])]
    with pytest.raises(InputError, match="all 2 trainings have failed") as error:
        _ = course.found
    assert "first reason: " in str(explained(ledger, error.value))
