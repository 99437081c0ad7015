"""Working through a campaign, with tasks that are done in this process."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sample_tasks import LONG, Double, Killed, Raises, Sleeps, Waits

from oche.campaign.ledger import Entry, Ledger
from oche.campaign.local import LocalProcesses
from oche.campaign.run import Usage, run_campaign, without
from oche.campaign.task import Cell, Done, Failed, Outcome, Stopped, Task, Workplace, cell_name, cell_slug
from oche.campaign.work import work
from oche.interrupt import Interrupted

KIND = "test"


@dataclass
class Here:
    """An executor that does its tasks when it is asked for outcomes, the last one first."""

    places: int = 2
    queue: list[Task] = field(default_factory=list)
    begun: list[Cell] = field(default_factory=list)
    most: int = 0
    told: bool = False
    closed: bool = False
    before: Callable[[], None] = lambda: None

    @property
    def received(self) -> int | None:
        return signal.SIGINT if self.told else None

    @property
    def free(self) -> int:
        return self.places - len(self.queue)

    @property
    def running(self) -> int:
        return len(self.queue)

    def start(self, task: Task) -> None:
        assert self.free > 0
        assert not self.told
        self.begun.append(task.cell)
        self.queue.append(task)
        self.most = max(self.most, len(self.queue))

    def outcomes(self) -> list[Outcome]:
        self.before()
        return [work(self.queue.pop(), Workplace(stop=self, report=lambda share, text: None))] if self.queue else []

    def stop(self) -> None:
        self.told = True

    def close(self) -> None:
        self.closed = True


class Seen(list[Entry]):
    def finished(self, entry: Entry) -> None:
        self.append(entry)


class Sum(Double):
    """Depends on the results of others."""

    def run(self, workplace: Workplace) -> dict[str, Any]:
        return {"sum": self.number}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.take(tmp_path / "results", KIND, {})
    with ledger.lock():
        yield ledger


def test_every_cell_once_and_none_that_is_done_or_has_failed(ledger: Ledger, tmp_path: Path) -> None:
    tasks = [Double(n) for n in range(5)]
    ledger.append({"cell": tasks[1].cell, "status": "done", "double": -1})
    ledger.append({"cell": tasks[2].cell, "status": "failed", "error": "before", "trace": ""})
    assert without(tasks, ledger) == [tasks[0], *tasks[3:]]
    executor, seen = Here(), Seen()
    usage = run_campaign(ledger, lambda ledger: tasks, executor, seen)
    assert executor.begun == [task.cell for task in without_numbers(tasks, {1, 2})]
    assert executor.most == 2
    assert executor.closed
    assert sorted(entry["double"] for entry in seen) == [0, 6, 8]
    assert ledger.done(tasks[1].cell) == {"cell": tasks[1].cell, "status": "done", "double": -1}
    assert ledger.failed(tasks[2].cell) is not None
    assert Ledger.read(tmp_path / "results", KIND).entries == ledger.entries
    assert usage.wall > 0
    assert usage.cores >= 1

    again = Here()
    run_campaign(ledger, lambda ledger: tasks, again, Seen())
    assert again.begun == []
    assert again.closed


def without_numbers(tasks: Iterable[Double], numbers: set[int]) -> list[Double]:
    return [task for task in tasks if task.number not in numbers]


def test_tasks_become_ready_by_the_results_of_others(ledger: Ledger) -> None:
    def ready(ledger: Ledger) -> Iterator[Task]:
        parts: list[Task] = [Double(n) for n in range(3)]
        yield from parts
        results = [ledger.done(part.cell) for part in parts]
        if all(results):
            yield Sum(sum(entry["double"] for entry in results if entry))

    executor = Here(places=5)
    run_campaign(ledger, ready, executor, Seen())
    assert ledger.done(Sum(6).cell) is not None
    assert executor.begun[-1] == Sum(6).cell
    assert len(executor.begun) == 4


def test_what_is_ready_is_asked_only_when_something_has_changed(ledger: Ledger) -> None:
    asked = []
    executor = Here(places=3)
    glances = iter(range(10))
    outcomes = executor.outcomes

    def now_and_then() -> list[Outcome]:
        return [] if next(glances, None) is not None else outcomes()

    executor.outcomes = now_and_then  # type: ignore[method-assign]

    def ready(ledger: Ledger) -> list[Task]:
        asked.append(1)
        return [Double(0)]

    run_campaign(ledger, ready, executor, Seen())
    assert len(asked) == 2


def test_failures_are_written_down_and_do_not_end_the_rest(ledger: Ledger) -> None:
    seen = Seen()
    run_campaign(ledger, lambda ledger: [Double(0), Raises(1), Double(2)], Here(), seen)
    assert [entry["status"] for entry in seen].count("failed") == 1
    failed = ledger.failed(Raises(1).cell)
    assert failed is not None
    assert "ZeroDivisionError" in failed["error"]
    assert "Traceback" in failed["trace"]
    assert ledger.done(Double(2).cell) is not None


def test_finish_adds_what_the_task_must_not_know(ledger: Ledger) -> None:
    def finish(done: Done) -> dict[str, Any]:
        return {**done.value, "test": 100 + done.value["double"]}

    run_campaign(ledger, lambda ledger: [Double(4), Raises()], Here(), Seen(), finish=finish)
    entry = ledger.done(Double(4).cell)
    assert entry is not None
    assert (entry["double"], entry["test"]) == (8, 108)
    assert entry["wall"] >= 0
    assert "test" not in (ledger.failed(Raises().cell) or {})


def test_an_error_in_finish_closes_the_executor(ledger: Ledger) -> None:
    def finish(done: Done) -> dict[str, Any]:
        raise LookupError

    executor = Here()
    with pytest.raises(LookupError):
        run_campaign(ledger, lambda ledger: [Double(4)], executor, Seen(), finish=finish)
    assert executor.closed
    assert not ledger.entries


def test_ctrl_c_lets_tasks_stop_and_writes_what_is_done(ledger: Ledger) -> None:
    def press() -> None:
        if not executor.told:
            os.kill(os.getpid(), signal.SIGINT)

    executor = Here(places=3, before=press)
    tasks = [Double(0), Waits(1), Double(2), Double(3)]
    with pytest.raises(Interrupted) as caught:
        run_campaign(ledger, lambda ledger: tasks, executor, Seen())
    assert caught.value.signal == signal.SIGINT
    assert "2 cells" in caught.value.hint
    assert str(ledger.path) in caught.value.hint
    assert executor.closed
    assert executor.begun == [task.cell for task in tasks[:3]]
    assert [bool(ledger.done(task.cell)) for task in tasks] == [True, False, True, False]
    assert not ledger.failed(tasks[1].cell)


def test_the_second_ctrl_c_ends_at_once_and_keeps_what_is_written(ledger: Ledger) -> None:
    def press() -> None:
        if len(ledger.entries) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    executor = Here(before=press)
    executor.stop = lambda: os.kill(os.getpid(), signal.SIGTERM)  # type: ignore[method-assign]
    with pytest.raises(Interrupted) as caught:
        run_campaign(ledger, lambda ledger: [Double(n) for n in range(4)], executor, Seen())
    assert caught.value.signal == signal.SIGTERM
    assert executor.closed
    assert 1 <= len(Ledger.read(ledger.path, KIND).entries) <= 2


def test_usage_is_the_share_of_all_cores() -> None:
    assert Usage(wall=10, busy=5, cores=2).share == 0.25
    assert Usage(wall=0, busy=0, cores=2).share == 0


def test_one_iterator_is_enough_where_no_task_needs_another(ledger: Ledger) -> None:
    taken = []

    def all_tasks() -> Iterator[Task]:
        for number in range(7):
            taken.append(number)
            yield Double(number)

    def look() -> None:
        assert len(taken) - len(ledger.entries) <= executor.places

    remaining, executor = all_tasks(), Here(places=3, before=look)
    run_campaign(ledger, lambda ledger: remaining, executor, Seen())
    assert all(ledger.done(Double(number).cell) for number in range(7))


def test_real_processes_one_of_which_dies_and_one_is_ended_by_ctrl_c(ledger: Ledger) -> None:
    """Twice at once, while a task is at work that would take a minute."""

    def press(*words: Any) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    processes = set(multiprocessing.active_children())
    tasks = [Killed(0), Double(1), Double(2), Sleeps(3), Double(4)]
    executor = LocalProcesses(1, 1, press)
    with pytest.raises(Interrupted) as caught:
        run_campaign(ledger, lambda ledger: tasks, executor, Seen())
    assert caught.value.signal == signal.SIGINT
    assert time.monotonic() - began < LONG / 2
    assert set(multiprocessing.active_children()) == processes
    assert executor.running == 0
    assert [bool(ledger.done(task.cell)) for task in tasks] == [False, True, True, False, False]
    failed = ledger.failed(tasks[0].cell)
    assert failed is not None
    assert "SIGKILL" in failed["error"]
    assert failed["trace"] == ""
    assert not ledger.failed(tasks[3].cell)
    assert Ledger.read(ledger.path, KIND).entries == ledger.entries


def test_errors_and_stops_as_values() -> None:
    place = Workplace(stop=Here(told=True), report=lambda share, text: None)
    assert work(Waits(), place) == Stopped(Waits().cell)
    assert isinstance(work(Raises(), place), Failed)
    done = work(Double(2), place)
    assert isinstance(done, Done)
    assert replace(done, wall=0.0, busy=0.0) == Done(Double(2).cell, done.value, 0.0, 0.0)
    assert place.checkpoints(None, "search") is None


def test_names_of_cells() -> None:
    cell = {"method": "darts", "space": "bench125", "seed": 0}
    assert cell_name(cell) == "darts, bench125, seed 0"
    assert cell_slug(cell) == "darts-bench125-0"
