"""What a person sees of a search by query: in a terminal a bar of the epochs, and the best of each level."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from oche.campaign.ledger import Entry, Key, key_of
from oche.campaign.task import Cell
from oche.nosh.search import Course


class CourseProgress:
    """Shows how a search goes.

    Args:
        console: where.
        course: the search.
        quiet: show nothing.
    """

    def __init__(self, console: Console, course: Course, *, quiet: bool) -> None:
        self._console, self._course, self._quiet = console, course, quiet
        self._bar: Progress | None = None
        self._running: dict[Key, float] = {}
        self._best: dict[int, float] = {}
        self._done = 0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it inside."""
        if self._quiet or not self._console.is_terminal:
            yield
            return
        self._bar = Progress(
            TextColumn("search {task.completed:,.0f}/{task.total:,} epochs"),
            BarColumn(20),
            TimeRemainingColumn(),
            TextColumn("left  {task.fields[words]}", markup=False),
            console=self._console,
        )
        with self._bar:
            self._bar.add_task("", total=self._course.nosh.budget, words="")
            yield
        self._bar = None

    def report(self, cell: Cell, share: float, text: str) -> None:
        """A training says how far it is."""
        self._running[key_of(cell)] = share * self._course.nosh.levels.cost(int(cell["level"]))
        self._refresh()

    def finished(self, entry: Entry) -> None:
        """See `Watcher`."""
        self._running.pop(key_of(entry["cell"]), None)
        level = int(entry["cell"]["level"])
        self._done += self._course.nosh.levels.cost(level)
        if entry["status"] == "done":
            self._best[level] = max(self._best.get(level, 0.0), entry["valid_accuracy"])
        elif not self._quiet:
            self._console.print(f"architecture {entry['cell']['architecture']}: failed: {entry['error']}", markup=False)
        self._refresh()

    def _refresh(self) -> None:
        if self._bar is not None:
            best = "; ".join(
                f"{accuracy:.2f} % after {self._course.epochs(level)}" for level, accuracy in sorted(self._best.items())
            )
            done = max(self._course.nosh.spent.epochs, self._done) + sum(self._running.values())
            self._bar.update(self._bar.tasks[0].id, completed=done, words=f"best {best}" if best else "")
