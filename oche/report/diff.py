"""What `oche diff` prints: two runs side by side where they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from oche.architecture import Architecture
from oche.config.options import OutputOptions
from oche.report.difference import Difference, Pairs, compare
from oche.report.words import (
    NONE,
    counted,
    drawn,
    new_console,
    new_table,
    print_block,
    print_json,
    print_line,
    status_text,
)
from oche.runs.record import RunRecord
from oche.score import ACCURACY, percent

SECTIONS = {
    "options": "option",
    "parts": "what the options came to",
    "environment": "environment",
    "data": "data",
    "result": "result",
}
"""The sections of a difference that are tables, and what stands above their names."""


def diff_runs(a: Path, b: Path, output: OutputOptions) -> None:
    """Print what differs between two runs, apart from times.

    Raises:
        InputError: one of them is no readable run.
    """
    runs = RunRecord.read(a), RunRecord.read(b)
    difference = compare(*runs)
    if output.json:
        print_json({"a": str(a), "b": str(b), "equal": not difference.sections, **asdict(difference)})
    elif output.quiet:
        print(f"differ in {', '.join(difference.sections)}" if difference.sections else "no difference")
    else:
        _print_difference(new_console(), runs, difference)


def _print_difference(console: Console, runs: tuple[RunRecord, RunRecord], difference: Difference) -> None:
    for letter, run in zip("AB", runs, strict=True):
        print_line(console, f"{letter}  {run.path}: {status_text(run)}")
    if runs[0].format != runs[1].format:
        print_line(console, f"formats {runs[0].format} and {runs[1].format}: compared is what both say")
    console.print()
    if not difference.sections:
        print_line(console, "no difference (times apart)")
        return
    for name, title in SECTIONS.items():
        pairs: Pairs = getattr(difference, name)
        if pairs:
            print_block(console, _pair_table(title, pairs))
    if difference.architecture:
        table = new_table("architecture, only in A", "only in B")
        table.add_row(*(_own_edges(run, side, difference.architecture) for side, run in enumerate(runs)))
        print_block(console, table)
    for line in _metrics_lines(runs, difference):
        print_line(console, line)


def _own_edges(run: RunRecord, side: int, pairs: Pairs) -> str:
    """The edges that the other run does not have, or not with the same candidate."""
    assert run.architecture is not None  # a difference compares architectures where both runs have one
    own = {key: pair[side] for key, pair in pairs.items() if pair[side] is not None}
    return drawn(run, Architecture.of(run.architecture.space, own)) if own else NONE


def _pair_table(title: str, pairs: Pairs) -> Table:
    table = new_table(title)
    for letter in "AB":
        table.add_column(letter, overflow="fold")
    for key, pair in pairs.items():
        texts = [_value(key, value, other) for value, other in (pair, pair[::-1])]
        if isinstance(pair[0], float) and texts[0] == texts[1]:  # rounded to the same digits
            texts = [repr(value) for value in pair]
        table.add_row(key, *texts)
    return table


def _value(name: str, value: Any, other: Any) -> str:
    """One side of a pair, in words that make sense beside the other side."""
    if value is None:
        return NONE
    if isinstance(value, float):
        return percent(value) if name.endswith(ACCURACY.name) else f"{value:.6g}"
    if isinstance(value, Mapping):  # an architecture of 16 lines: where it differs matters less than whether
        return f"{counted(len(value), 'edge')}, {len(set(value.items()) - set(other.items()))} of its own"
    return value if isinstance(value, str) else json.dumps(value)


def _metrics_lines(runs: tuple[RunRecord, RunRecord], difference: Difference) -> Iterator[str]:
    if not difference.metrics:
        yield "metrics are bit-identical"
        return
    for phase in {**runs[0].records, **runs[1].records}:
        found = difference.metrics.get(phase)
        if found is None:
            yield f"{phase}: metrics are bit-identical"
        elif found.names:
            yield f"{phase}: first difference in epoch {found.epoch}: {', '.join(found.names)}"
        elif min(found.epochs) == 0:
            yield f"{phase}: only in {'A' if found.epochs[0] else 'B'}"
        else:
            a, b = found.epochs
            yield f"{phase}: metrics are bit-identical as far as both go; A has {counted(a, 'epoch')}, B has {b}"
