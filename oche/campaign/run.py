"""Work through a campaign: what is done is not done again, and what fails is written down and does not end the rest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from oche.campaign.ledger import Entry, Ledger, key_of
from oche.campaign.task import Done, Failed, Outcome, Stopped, Task
from oche.interrupt import Interrupted, Interrupts


class Executor(Protocol):
    """Where tasks are done."""

    @property
    def free(self) -> int:
        """How many more tasks can be started."""
        ...

    @property
    def running(self) -> int:
        """How many tasks are being done."""
        ...

    def start(self, task: Task) -> None:
        """Begin a task."""
        ...

    def outcomes(self) -> Sequence[Outcome]:
        """What has become of tasks since the last call; waits a moment where nothing has."""
        ...

    def stop(self) -> None:
        """Ask all tasks to save and stop."""
        ...

    def close(self) -> None:
        """End everything at once."""
        ...


class Watcher(Protocol):
    """Who shows how a campaign goes."""

    def finished(self, entry: Entry) -> None:
        """A cell is in the results file."""
        ...


@dataclass(frozen=True)
class Usage:
    """How well the machine was used.

    Attributes:
        wall: seconds from the first task to the last.
        busy: seconds of computing in all processes.
        cores: of the machine.
    """

    wall: float
    busy: float
    cores: int

    @property
    def share(self) -> float:
        """Of the cores' time that was used (0 to 1)."""
        return self.busy / (self.wall * self.cores) if self.wall else 0.0


def run_campaign(
    ledger: Ledger,
    ready: Callable[[Ledger], Iterable[Task]],
    executor: Executor,
    watcher: Watcher,
    *,
    finish: Callable[[Done], dict[str, Any]] | None = None,
) -> Usage:
    """Do all tasks, several at a time, until none is left that can be done.

    Args:
        ledger: what is done already; each cell is appended when it is finished. The caller holds its lock.
        ready: the tasks that can be done at a moment, the next one first; a task may need the results of others.
            Cells that are done or have failed are left out by this function. Where no task needs results of others,
            one iterator for all calls is enough.
        executor: does them; it is closed at the end.
        watcher: hears of each finished cell.
        finish: adds to a result what the process of the task must not know, such as test accuracies.

    Raises:
        Interrupted: the user has stopped it; tasks that can save have saved.
    """
    began, busy = time.monotonic(), 0.0
    started, changed = set(ledger.entries), True
    with Interrupts() as interrupts:
        try:
            while True:
                if interrupts.received is not None:
                    executor.stop()
                elif changed:  # asking what is ready may take long in a large campaign
                    _start(ledger, ready, executor, started)
                if not executor.running:
                    break
                outcomes = executor.outcomes()
                changed = bool(outcomes)
                for outcome in outcomes:
                    if isinstance(outcome, Stopped):
                        continue
                    entry = entry_of(outcome, finish)
                    busy += outcome.busy if isinstance(outcome, Done) else 0.0
                    ledger.append(entry)
                    watcher.finished(entry)
        except KeyboardInterrupt:  # the second Ctrl-C: what is in the ledger is safe
            if interrupts.received is None:
                raise
        finally:
            executor.close()
        if interrupts.received is not None:
            kept = f"stopped; {len(ledger.entries)} cells are in {ledger.path}"
            raise Interrupted(interrupts.received, f"{kept}; the same command goes on")
    return Usage(time.monotonic() - began, busy, os.cpu_count() or 1)


def _start(
    ledger: Ledger,
    ready: Callable[[Ledger], Iterable[Task]],
    executor: Executor,
    started: set[Any],
) -> None:
    if not executor.free:
        return
    for task in ready(ledger):
        key = key_of(task.cell)
        if key not in started:
            started.add(key)
            executor.start(task)
        if not executor.free:  # asked before the next task is taken from an iterator
            return


def entry_of(outcome: Done | Failed, finish: Callable[[Done], dict[str, Any]] | None = None) -> Entry:
    """The line of the results file that says what became of a task; `finish` as of `run_campaign`."""
    if isinstance(outcome, Failed):
        return {"cell": dict(outcome.cell), "status": "failed", "error": outcome.error, "trace": outcome.trace}
    value = finish(outcome) if finish is not None else dict(outcome.value)
    return {"cell": dict(outcome.cell), "status": "done", "wall": outcome.wall, "busy": outcome.busy, **value}


def without(tasks: Iterable[Task], ledger: Ledger) -> list[Task]:
    """The tasks about which the ledger says nothing."""
    return [task for task in tasks if key_of(task.cell) not in ledger.entries]
