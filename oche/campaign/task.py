"""What a campaign is made of: tasks, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from oche.checkpoint import Checkpoints
from oche.files import slug
from oche.interrupt import Stop

Cell: TypeAlias = Mapping[str, str | int]
"""What tells a task from all others of its campaign, such as `{"method": "darts", "seed": 0}`."""


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What a task is given where it runs.

    Attributes:
        stop: tells when the task should save and stop.
        report: takes the share of the work that is done (0 to 1) and a word on how it goes.
    """

    stop: Stop
    report: Callable[[float, str], None]

    def checkpoints(self, directory: Path | None, name: str) -> Checkpoints | None:
        """Checkpoints that notice the wish to stop; None where there is no directory for them."""
        return None if directory is None else Checkpoints(directory, name, interrupts=self.stop)


class Task(Protocol):
    """A piece of work that can be sent to another process."""

    @property
    def cell(self) -> Cell:
        """Which one it is."""
        ...

    def run(self, workplace: Workplace) -> dict[str, Any]:
        """Do it, and return plain values.

        Raises:
            Interrupted: it was told to stop; what it had done is saved.
        """
        ...


@dataclass(frozen=True)
class Done:
    """A task has come to its end.

    Attributes:
        cell: which one.
        value: plain values.
        wall: seconds it took.
        busy: seconds of computing in the process that did it, over all of its threads.
    """

    cell: Cell
    value: Mapping[str, Any]
    wall: float
    busy: float


@dataclass(frozen=True)
class Failed:
    """A task has raised an error, or its process has died.

    Attributes:
        cell: which one.
        error: one line.
        trace: where it happened; empty for errors of the user's and for processes that died.
    """

    cell: Cell
    error: str
    trace: str = ""


@dataclass(frozen=True)
class Stopped:
    """A task has saved and stopped."""

    cell: Cell


Outcome: TypeAlias = Done | Failed | Stopped


def cell_name(cell: Cell) -> str:
    """`darts, nasbench201, cifar10, seed 0`."""
    return ", ".join(f"{key} {value}" if isinstance(value, int) else value for key, value in cell.items())


def cell_slug(cell: Cell) -> str:
    """`darts-nasbench201-cifar10-0`, for names of files."""
    return slug("-".join(map(str, cell.values())))
