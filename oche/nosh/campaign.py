"""A search as a campaign: its measurements are tasks, its results file is its memory.

Every line of the results file is a measurement, `{"architecture": number, "level": level}`, or what a round has added,
`{"round": number}`. A search that is taken up tells its pyramid the lines that are there again, so that nothing is
proposed or measured twice; trainings under way go on from their checkpoints.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from oche.architecture import Architecture
from oche.campaign.ledger import Ledger, key_of
from oche.campaign.run import entry_of
from oche.campaign.task import Cell, Outcome, Stopped, Task, Workplace
from oche.campaign.work import work
from oche.clock import Deadline
from oche.errors import InputError
from oche.interrupt import Interrupted
from oche.nosh.backend import Backend
from oche.nosh.schedule import Job
from oche.nosh.search import Course
from oche.plain import described

KIND = "query search"
"""Of its results file."""


@dataclass(frozen=True)
class Measurement:
    """A candidate is taken to its next level.

    Attributes:
        job: which candidate, and which level.
        architecture: of the candidate.
        backend: measures.
        before: epochs that it was trained for so far.
        epochs: until which it is trained now.
    """

    job: Job
    architecture: Architecture
    backend: Backend
    before: int
    epochs: int

    @property
    def cell(self) -> Cell:
        """See `Task`."""
        return cell_of(self.job)

    def run(self, workplace: Workplace) -> dict[str, Any]:
        """See `Task`."""
        measured = self.backend.measure(self.architecture, self.job.number, self.before, self.epochs, workplace)
        return {"epochs": self.epochs, "valid_accuracy": measured.accuracy, "seconds": measured.seconds}


def cell_of(job: Job) -> Cell:
    """How a results file calls a measurement."""
    return {"architecture": job.number, "level": job.level}


def facts(course: Course, budget: int, seed: int) -> dict[str, Any]:
    """What must be the same when a search goes on."""
    return {
        "search": described(course.search),
        "levels": described(course.nosh.levels),
        "space": json.loads(course.backend.space.to_json()),
        "backend": course.backend.label,
        "budget": budget,
        "seed": seed,
    }


class Campaign:
    """Feeds a search from its results file, and the results file from the search.

    Args:
        course: the search; it is brought to where the results are.
        deadline: after which nothing new is begun; None: never.

    Attributes:
        course: the search.
    """

    def __init__(self, course: Course, deadline: Deadline | None = None) -> None:
        self.course = course
        self._deadline = deadline or Deadline()
        self._rounds = 0

    def ready(self, ledger: Ledger) -> Iterator[Task]:
        """The measurements that can be made now; new rounds are proposed, and written down, where they are due."""
        course, nosh = self.course, self.course.nosh
        self._catch_up(ledger)
        for job in () if self._deadline.passed else nosh.jobs:
            architecture = nosh.candidates[job.number].architecture
            before, until = course.epochs(job.level - 1), course.epochs(job.level)
            yield Measurement(job, architecture, course.backend, before, until)

    def _catch_up(self, ledger: Ledger) -> None:
        nosh = self.course.nosh
        while not nosh.over:
            if nosh.wants:
                added = self._round(ledger)
                if added is None:
                    return
                nosh.add(added)
            told = [(job, ledger.entries.get(key_of(cell_of(job)))) for job in nosh.jobs]
            there = [(job, entry) for job, entry in told if entry is not None]
            for job, entry in there:
                if entry["status"] == "done":
                    nosh.tell(job, entry["valid_accuracy"], entry["seconds"])
                else:
                    nosh.tell(job, None, 0.0)
            if not there:
                return

    def _round(self, ledger: Ledger) -> list[Architecture] | None:
        """What this round adds: as written down, or as proposed and written down now; None: the time is up."""
        cell: Cell = {"round": self._rounds}
        entry = ledger.done(cell)
        if entry is None:
            if self._deadline.passed:
                return None
            proposed = [json.loads(a.to_json()) for a in self.course.propose()]
            ledger.append({"cell": cell, "status": "done", "architectures": proposed})
            entry = ledger.entries[key_of(cell)]
        self._rounds += 1
        return [Architecture.from_json(json.dumps(value)) for value in entry["architectures"]]


class _Never:
    """Nobody asks to stop."""

    received = None


ALONE = Workplace(stop=_Never(), report=lambda share, text: None)
"""Where what takes no time is done: nobody asks it to stop, and nobody listens."""


class Here:
    """An executor that does each task at once in this process, for what is only looked up."""

    def __init__(self) -> None:
        self._found: list[Outcome] = []

    @property
    def free(self) -> int:
        """One task at a time."""
        return 0 if self._found else 1

    @property
    def running(self) -> int:
        """Tasks whose outcome was not taken yet."""
        return len(self._found)

    def start(self, task: Task) -> None:
        """Do it."""
        self._found.append(work(task, ALONE))

    def outcomes(self) -> Sequence[Outcome]:
        """What has become of it."""
        found, self._found = self._found, []
        return found

    def stop(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """There is nothing to end."""


def work_through(campaign: Campaign, ledger: Ledger, place: Workplace) -> None:
    """Do the whole search in this process, one measurement after the other.

    Args:
        campaign: the search.
        ledger: its results file, whose lock the caller holds.
        place: tells when to stop.

    Raises:
        Interrupted: it was told to stop; what it had measured is in the file.
    """
    while tasks := list(campaign.ready(ledger)):
        for task in tasks:
            outcome = work(task, place)
            if isinstance(outcome, Stopped):
                raise Interrupted(place.stop.received or signal.SIGINT, "stopped between two measurements")
            ledger.append(entry_of(outcome))
            nosh = campaign.course.nosh
            place.report(min(nosh.spent.epochs / nosh.budget, 1.0), f"{len(nosh.candidates)} architectures")


def explained(ledger: Ledger, error: InputError) -> InputError:
    """The error of a search in which everything has failed, with the first reason."""
    failed = [entry["error"] for entry in ledger.entries.values() if entry["status"] == "failed"]
    return InputError(f"{error}; the first reason: {failed[0]}") if failed else error
