"""What `oche list` prints: the runs in a directory. Without torch, so it is quick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oche.config.options import OutputOptions
from oche.errors import InputError
from oche.report.words import NONE, new_console, new_table, print_json, print_line
from oche.runs.record import TIME_FORMAT, RunRecord, is_run

WIDE = 100
"""Columns from which a list of runs has room for the times."""


def list_runs(directory: Path, output: OutputOptions) -> None:
    """Print the runs in a directory, the newest first. What is no run is left out.

    Raises:
        InputError: there is no such directory.
    """
    try:
        paths = sorted(path for path in directory.iterdir() if is_run(path) and not path.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"cannot list the runs in {str(directory)!r}: {error.strerror}; a run makes it, for example: "
            f"oche run --run {directory / 'first'}"
        ) from None
    runs, unreadable = [], dict[Path, str]()
    for path in paths:
        try:
            runs.append(RunRecord.read(path))
        except InputError as error:
            unreadable[path] = str(error)
    runs.sort(key=lambda run: run.started, reverse=True)
    if output.json:
        listed = [_listed(run) for run in runs]
        print_json([*listed, *({"path": str(path), "error": reason} for path, reason in unreadable.items())])
    elif output.quiet:
        for path in (*(run.path for run in runs), *unreadable):
            print(path)
    else:
        _print_runs(directory, runs, unreadable)


def _print_runs(directory: Path, runs: Sequence[RunRecord], unreadable: Mapping[Path, str]) -> None:
    console = new_console()
    if not runs and not unreadable:
        first = directory / "first"
        print_line(console, f"there are no runs in {directory}; make one, for example: oche run --run {first}")
        return
    if runs:
        table = new_table()
        table.add_column("run", no_wrap=True)
        for name in ("command", "method", "data", "status"):
            table.add_column(name, overflow="fold")
        table.add_column("test", justify="right", no_wrap=True)
        if console.width >= WIDE:
            table.add_column("started", no_wrap=True)
        for run in runs:
            tested = NONE if run.tested is None else run.tested[0].text(run.tested[1])
            cells = [run.path.name, run.command, run.method or NONE, run.data["name"], _progress(run)]
            started = [f"{run.started:%Y-%m-%d %H:%M}"] if console.width >= WIDE else []
            table.add_row(*cells, tested, *started)
        console.print(table)
    for path, reason in unreadable.items():
        print_line(console, f"unreadable: {path.name}: {reason}")


def _progress(run: RunRecord) -> str:
    """The status in few words, such as `interrupted, search 3/8`."""
    if run.status == "complete":
        return run.status
    at = run.progress
    return f"{run.status}, {at.phase} {at.epoch}/{at.epochs or '?'}" if at else f"{run.status}, no epoch yet"


def _listed(run: RunRecord) -> dict[str, Any]:
    return {
        "path": str(run.path),
        "command": run.command,
        "method": run.method,
        "data": run.data["name"],
        "status": run.status,
        "position": run.progress and asdict(run.progress),
        **run.test_scores,
        "started": run.started.strftime(TIME_FORMAT),
    }
