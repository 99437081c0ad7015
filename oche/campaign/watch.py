"""What a person sees of a running campaign: a bar with time left in a terminal, a line per finished cell elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from oche.campaign.ledger import Entry, Key, key_of
from oche.campaign.task import Cell, cell_name

STEPS = 1000
"""Parts of a cell that the bar can show."""

SHOWN = 3
"""Running cells whose last words stand beside the bar."""


class CampaignProgress:
    """Shows how a campaign goes.

    Args:
        console: where.
        cells: how many there are to do.
        words: one line about a finished cell.
        quiet: show nothing.
    """

    def __init__(self, console: Console, cells: int, words: Callable[[Entry], str], *, quiet: bool) -> None:
        self._console, self._cells, self._words, self._quiet = console, cells, words, quiet
        self._bar: Progress | None = None
        self._running: dict[Key, tuple[float, str]] = {}
        self._finished = 0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar inside."""
        if self._quiet or not self._console.is_terminal:
            yield
            return
        self._bar = Progress(
            TextColumn("{task.fields[cells]}", markup=False),
            BarColumn(20),
            TimeRemainingColumn(),
            TextColumn("left  {task.fields[running]}", markup=False),
            console=self._console,
        )
        with self._bar:
            self._bar.add_task("", total=self._cells * STEPS, cells=f"0/{self._cells}", running="")
            yield
        self._bar = None

    def report(self, cell: Cell, share: float, text: str) -> None:
        """A running cell says how far it is."""
        self._running[key_of(cell)] = (share, f"{cell_name(cell)}: {text}")
        self._refresh()

    def finished(self, entry: Entry) -> None:
        """See `Watcher`."""
        self._running.pop(key_of(entry["cell"]), None)
        self._finished += 1
        if not self._quiet:
            failed = f"failed: {entry['error']}" if entry["status"] == "failed" else self._words(entry)
            line = f"{self._finished}/{self._cells}  {cell_name(entry['cell'])}: {failed}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._refresh()

    def _refresh(self) -> None:
        if self._bar is not None:
            done = self._finished + sum(share for share, _ in self._running.values())
            running = "; ".join(text for _, text in list(self._running.values())[-SHOWN:])
            cells = f"{self._finished}/{self._cells}"
            self._bar.update(self._bar.tasks[0].id, completed=done * STEPS, cells=cells, running=running)
