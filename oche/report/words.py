"""What the reports of runs share: tables and lines, and numbers with their units."""

from __future__ import annotations

import json
import math
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from oche.architecture import Architecture
from oche.plain import finite
from oche.runs.record import RunRecord

SHOWN_TIME = "%Y-%m-%d %H:%M:%S %z"

FOUR_DIGITS = "{:#.4g}".format
"""As much of a number as a reader can use, with its trailing zeros, so that a column stays even."""

NONE = "-"

PIPE_WIDTH = 160
"""Columns where the output is no terminal, so that a line of a table is a line for `grep`."""


def new_console() -> Console:
    """A console that prints words as they are."""
    # Names and paths may hold what the library would take for markup or for the name of an emoji.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


def new_table(*columns: str) -> Table:
    """Columns of text, flush with the left margin."""
    folded = (Column(name, overflow="fold") for name in columns)  # the library would cut long words
    return Table(*folded, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def print_block(console: Console, table: Table) -> None:
    """A table and an empty line."""
    console.print(table)
    console.print()


def print_line(console: Console, text: str) -> None:
    """Text that is printed as it is, whatever the width and whatever is in it."""
    console.print(text, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document."""
    print(json.dumps(finite(value), indent=1))


def drawn(run: RunRecord, architecture: Architecture) -> str:
    """An architecture of a run, drawn; torch, which takes seconds to import, is imported here and not before."""
    from oche.spaces.drawing import draw

    assert run.space is not None  # it is there wherever there is an architecture
    return draw(run.space, architecture)


def status_text(run: RunRecord) -> str:
    """The status, and of an unfinished run how far it is."""
    if run.status == "complete":
        return run.status
    return f"{run.status}, " + (f"last finished: {run.progress}" if run.progress else "no epoch finished yet")


def counted(number: int, noun: str) -> str:
    """`1 edge`, `1,438 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration_text(seconds: float) -> str:
    """`0.15 s`, `3.4 s`, `75 s`, `12 min 05 s`, `2 h 05 min`."""
    if seconds < 120:
        return f"{seconds:.{0 if seconds >= 10 else 1 if seconds >= 1 else 2}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size_text(count: float) -> str:
    """Bytes in decimal units, as disks are sold."""
    power = min(int(math.log10(count)) // 3, 4) if count >= 1 else 0
    return f"{count / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"


def disk_use(directory: Path) -> int:
    """Bytes of all files below a directory, in which a run may be replacing files at this moment."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(place) / name).lstat().st_size
    return total
