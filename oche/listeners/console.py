"""Progress of a long job: a bar with time left in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from oche.listeners.base import Job, Listener
from oche.metrics import Meter
from oche.score import plainly

SECONDS_BETWEEN_READINGS = 1.0
"""Reading a meter waits for the device, so the numbers beside the bar are refreshed this often at most."""

BAR_WIDTH = 12
"""Characters; the rest of a line is for the numbers."""

LINES_PER_JOB = 10
"""Plain lines of a job; a log should stay readable."""


def progress(console: Console) -> Listener:
    """The listener that suits the console."""
    if console.is_terminal:
        return ProgressBar(console)
    return PlainLines(partial(console.print, highlight=False, markup=False, soft_wrap=True))


class ProgressBar(Listener):
    """A Rich progress bar; above it stands a line now and then, which stays."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines = PlainLines(partial(console.print, highlight=False, markup=False, soft_wrap=True))
        self._bar: Progress | None = None
        self._epochs = 1
        self._read_at = 0.0

    def start(self, job: Job) -> None:
        """Show the bar."""
        self._bar = Progress(
            TextColumn("{task.description} epoch {task.fields[epoch]}", table_column=Column(no_wrap=True)),
            BarColumn(BAR_WIDTH, table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("left", table_column=Column(no_wrap=True)),
            # The numbers take what is left of the line, and are cut where it is too short for them.
            TextColumn("{task.fields[numbers]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            console=self._console,
            expand=True,
        )
        self._lines.start(job)
        self._epochs = job.epochs
        numbers = _short(job.records[-1]) if job.records else ""
        epoch = f"{min(len(job.records) + 1, job.epochs)}/{job.epochs}"
        total = job.epochs * job.steps if job.total is None else job.total
        self._bar.add_task(job.name, total=total, completed=job.done, epoch=epoch, numbers=numbers)
        self._bar.start()

    def step(self, epoch: int, step: int, meter: Meter) -> None:
        """Move the bar, and refresh the numbers now and then."""
        assert self._bar is not None
        task = self._bar.tasks[0]
        fields: dict[str, Any] = {"epoch": f"{epoch + 1}/{self._epochs}"}
        if time.monotonic() - self._read_at > SECONDS_BETWEEN_READINGS:
            fields["numbers"] = _short({f"train_{k}": v for k, v in meter.means().items()})
            self._read_at = time.monotonic()
        self._bar.update(task.id, advance=1, **fields)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Show the epoch's numbers."""
        assert self._bar is not None
        self._bar.update(self._bar.tasks[0].id, numbers=_short(record))
        self._read_at = time.monotonic()
        self._lines.epoch(record)

    def finish(self) -> None:
        """Leave the bar as it is."""
        assert self._bar is not None
        self._lines.finish()
        self._bar.stop()


class PlainLines(Listener):
    """A line now and then, for logs and pipes.

    Args:
        say: hears each line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._job, self._epochs = "", 1
        self._held_back = ""

    def start(self, job: Job) -> None:
        """Say what begins, or goes on."""
        self._job, self._epochs = job.name, job.epochs
        done = f", {job.done} steps done before" if job.done else ""
        self._say(f"{job.name}: {job.epochs} epochs of {job.steps} steps{done}")

    def epoch(self, record: Mapping[str, Any]) -> None:
        """A line for about every tenth of the job."""
        epoch = int(record["epoch"])
        line = f"{self._job}: epoch {epoch}/{self._epochs}, {_numbers(record)}, {record['seconds']:.0f} s"
        if epoch % max(self._epochs // LINES_PER_JOB, 1) == 0:
            self._say(line)
            line = ""
        self._held_back = line

    def finish(self) -> None:
        """The last epoch's line, if it is still to come."""
        if self._held_back:
            self._say(self._held_back)
            self._held_back = ""


def _short(record: Mapping[str, Any]) -> str:
    """The same in little room: `loss 2.30/2.31, accuracy 9.4/8.9 %`, training before validation."""
    names = [k.removeprefix("train_") for k in record if k.startswith("train_") and isinstance(record[k], float)]
    parts = []
    for name in names:
        both = [record[key] for key in (f"train_{name}", f"valid_{name}") if key in record]
        percent = name.endswith("accuracy")
        parts.append(f"{name} " + "/".join(f"{100 * v:.1f}" if percent else plainly(v) for v in both) + " %" * percent)
    return ", ".join(parts)


def _numbers(record: Mapping[str, Any]) -> str:
    """The loss and metrics of a record, accuracies in percent."""
    parts = []
    for name in ("train", "valid"):
        for key, value in record.items():
            if key.startswith(f"{name}_") and isinstance(value, float) and key.removeprefix(f"{name}_") != "rate":
                label = key.replace("_", " ")
                parts.append(f"{label} {value:.1%}" if key.endswith("accuracy") else f"{label} {plainly(value, 3)}")
    if "entropy" in record:
        parts.append(f"IES {record['entropy']:.2f}")
    return ", ".join(parts)
