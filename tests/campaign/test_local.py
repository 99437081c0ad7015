"""Tasks in processes of this machine: whatever becomes of one, it is a value, and no process is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sample_tasks import (
    EPOCHS,
    Double,
    Exits,
    HasChild,
    Indescribable,
    Killed,
    Large,
    Raises,
    Refuses,
    Reports,
    Searches,
    Sleeps,
    Threads,
    Torn,
    Waits,
)

from oche.campaign.local import LocalProcesses
from oche.campaign.task import Cell, Done, Failed, Outcome, Stopped, Task

PATIENCE = 30.0
"""Seconds after which something hangs."""


class Place:
    """An executor, and what was reported to it."""

    def __init__(self, workers: int, threads: int = 1) -> None:
        self.reports: list[tuple[Cell, float, str]] = []
        self._before = set(multiprocessing.active_children())
        self.executor = LocalProcesses(workers, threads, lambda *words: self.reports.append(words))

    def outcomes(self, wanted: int, hook: Callable[[], None] = lambda: None) -> list[Outcome]:
        found: list[Outcome] = []
        end = time.monotonic() + PATIENCE
        while len(found) < wanted:
            assert time.monotonic() < end, f"only {found} came"
            found += self.executor.outcomes()
            hook()
        return found

    def processes(self) -> set[BaseProcess]:
        """What was started since."""
        return set(multiprocessing.active_children()) - self._before

    def until_reported(self, count: int = 1) -> None:
        end = time.monotonic() + PATIENCE
        while len(self.reports) < count:
            assert time.monotonic() < end, "no report came"
            assert not self.executor.outcomes()

    def do(self, *tasks: Task) -> dict[str, Outcome]:
        """All at once, as many as there are places; by kind and number."""
        for task in tasks:
            self.executor.start(task)
        return {f"{o.cell['kind']} {o.cell['number']}": o for o in self.outcomes(len(tasks))}


@pytest.fixture(scope="module")
def shared() -> Iterator[Place]:
    """Started once: a process takes two seconds to import torch."""
    place = Place(2)
    yield place
    place.executor.close()
    assert not place.processes()


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place(2)
    yield place
    place.executor.close()
    assert not place.processes()


def ended(pid: int) -> bool:
    """Whether a process is gone; one that nobody waits for any more is."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def test_results_and_errors_come_back_as_values(shared: Place) -> None:
    found = shared.do(Double(21), Raises())
    done, raised = found["Double 21"], found["Raises 0"]
    assert isinstance(done, Done)
    assert done.value["double"] == 42
    assert done.value["pid"] != os.getpid()
    assert done.busy >= 0
    assert 0 <= done.wall < PATIENCE
    assert isinstance(raised, Failed)
    assert raised.error == "ZeroDivisionError: first line second line"
    assert "sample_tasks.py" in raised.trace
    found = shared.do(Refuses(), Double(1))
    assert found["Refuses 0"] == Failed({"kind": "Refuses", "number": 0}, "give --cure", trace="")


def test_what_cannot_be_sent_is_a_failure_with_a_reason(shared: Place) -> None:
    found = shared.do(Indescribable(), Large())
    failed, large = found["Indescribable 0"], found["Large 0"]
    assert isinstance(failed, Failed)
    assert "cannot be sent" in failed.error
    assert isinstance(large, Done)
    assert len(large.value["text"]) == 5_000_000
    assert isinstance(shared.do(Double(3))["Double 3"], Done)


def test_reports_arrive_in_order_and_name_their_task(shared: Place) -> None:
    shared.reports.clear()
    assert isinstance(shared.do(Reports(5))["Reports 5"], Done)
    cell = Reports(5).cell
    assert shared.reports == [(cell, (step + 1) / 4, f"step {step}") for step in range(4)]


def test_a_task_may_start_processes(shared: Place) -> None:
    done = shared.do(HasChild())["HasChild 0"]
    assert isinstance(done, Done), done
    assert done.value == {"status": 3}


def test_places_are_counted_and_processes_used_again(shared: Place) -> None:
    pids = set()
    for number in range(4):
        assert (shared.executor.free, shared.executor.running) == (2, 0)
        shared.executor.start(Double(number))
        assert (shared.executor.free, shared.executor.running) == (1, 1)
        [done] = shared.outcomes(1)
        assert isinstance(done, Done)
        pids.add(done.value["pid"])
    assert len(pids) <= 2


def test_a_process_that_dies_is_one_failure(shared: Place) -> None:
    found = shared.do(Killed(), Double(1))
    killed = found["Killed 0"]
    assert isinstance(killed, Failed)
    assert "SIGKILL" in killed.error
    assert "memory" in killed.error
    assert isinstance(found["Double 1"], Done)
    found = shared.do(Exits(), Double(2))
    assert isinstance(found["Exits 0"], Failed)
    assert "exit status 7" in found["Exits 0"].error
    assert isinstance(found["Double 2"], Done)
    assert isinstance(shared.do(Double(3))["Double 3"], Done)


def test_a_process_that_dies_in_the_middle_of_its_result_is_one_failure(shared: Place) -> None:
    shared.reports.clear()
    shared.executor.start(Torn())
    shared.until_reported()
    wait_until(lambda: ended(int(shared.reports[0][2])), "it kills itself")
    [torn] = shared.outcomes(1)
    assert isinstance(torn, Failed)
    assert "SIGKILL" in torn.error
    assert isinstance(shared.do(Double(3))["Double 3"], Done)


def test_a_process_that_died_while_idle_costs_no_task(shared: Place) -> None:
    done = shared.do(Double(1))["Double 1"]
    assert isinstance(done, Done)
    pid = done.value["pid"]
    os.kill(pid, signal.SIGKILL)
    # Its first thread may be gone while others still end; its end is there to be noticed when it can be waited for.
    waitable = os.WEXITED | os.WNOHANG | os.WNOWAIT
    wait_until(lambda: os.waitid(os.P_PID, pid, waitable) is not None, "it was killed")
    after = shared.do(Double(2), Double(3))
    assert all(isinstance(outcome, Done) for outcome in after.values()), after
    assert pid not in {outcome.value["pid"] for outcome in after.values()}  # type: ignore[union-attr]


def test_stop_reaches_the_tasks_that_ask_and_threads_are_set() -> None:
    place = Place(2, threads=2)
    try:
        done = place.do(Threads())["Threads 0"]
        assert isinstance(done, Done)
        assert done.value == {"threads": 2}
        place.executor.start(Waits())
        place.until_reported()
        for _ in range(3):  # as often as one likes
            place.executor.stop()
        assert place.outcomes(1) == [Stopped(Waits().cell)]
    finally:
        place.executor.close()


def test_closing_ends_busy_and_idle_processes_soon(place: Place) -> None:
    assert isinstance(place.do(Double(1))["Double 1"], Done)
    place.executor.start(Sleeps())
    place.until_reported()
    pid = int(place.reports[-1][2])
    began = time.monotonic()
    place.executor.close()
    assert time.monotonic() - began < 4
    assert ended(pid)
    assert not place.processes()
    assert place.executor.running == 0


def test_a_stopped_search_goes_on_bit_for_bit(shared: Place, place: Place, tmp_path: Path) -> None:
    task = Searches(3, tmp_path / "search")
    place.executor.start(task)
    place.until_reported()
    place.executor.stop()
    assert place.outcomes(1) == [Stopped(task.cell)]
    assert place.reports[-1][2] != f"epoch {EPOCHS}"

    shared.reports.clear()  # another process
    first = shared.do(task)["Searches 3"]
    assert shared.reports[0][2] != "epoch 1"
    assert shared.reports[-1][2] == f"epoch {EPOCHS}"
    undisturbed = shared.do(Searches(3))["Searches 3"]
    assert isinstance(first, Done), first
    assert isinstance(undisturbed, Done), undisturbed
    assert first.value == undisturbed.value


DRIVER = """
from oche.campaign.local import LocalProcesses
from sample_tasks import Sleeps, Talks

executor = LocalProcesses(2, 1, lambda cell, share, text: print(text, flush=True))
executor.start(Sleeps())
executor.start(Talks())
while True:
    for outcome in executor.outcomes():
        print(outcome, flush=True)
"""


def test_processes_end_with_a_parent_that_was_killed() -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    pids: set[int] = set()
    while len(pids) < 2:
        line = driver.stdout.readline()
        assert line.strip().isdecimal(), line
        pids.add(int(line))
    assert not any(map(ended, pids))
    driver.kill()
    _, complaints = driver.communicate(timeout=PATIENCE)
    for pid in pids:
        wait_until(lambda pid=pid: ended(pid), f"process {pid} is an orphan")
    assert complaints == ""


def test_signals_of_a_terminal_do_not_end_a_process_at_any_time() -> None:
    """From its very start, when it does not even ignore them yet, until it waits for a task."""
    place = Place(1)
    try:
        place.executor.start(Double(1))
        [child] = place.processes()
        assert child.pid is not None
        found: list[Outcome] = []
        end = time.monotonic() + PATIENCE
        while not found:
            assert time.monotonic() < end
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(child.pid, number)
            found = place.executor.outcomes()
        assert isinstance(found[0], Done), found
        os.kill(child.pid, signal.SIGINT)
        assert isinstance(place.do(Double(2))["Double 2"], Done)
    finally:
        place.executor.close()
