"""The part of `oche show` about a search by query: how many architectures were trained how far."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from oche.report.words import duration_text, new_table, print_line
from oche.runs.record import RunRecord

MEASUREMENTS = "measurements.jsonl"
"""In the run directory of a search by query."""


def print_levels(console: Console, run: RunRecord) -> None:
    """Print one line per level; nothing for other searches."""
    if not (run.path / MEASUREMENTS).exists():
        return
    table = new_table("level")
    for column in ("epochs", "architectures", "best validation", "mean"):
        table.add_column(column, justify="right")
    for row in level_rows(run.path):
        numbers = (f"{row['epochs']:,}", f"{row['measured']:,}", f"{row['best']:.2f} %", f"{row['mean']:.2f} %")
        table.add_row(str(row["level"]), *numbers)
    console.print(table)
    if "search" in run.result:
        search = run.result["search"]
        print_line(
            console,
            f"{search['epochs']:,} of {search['budget']:,} epochs, {duration_text(search['training_seconds'])} of "
            f"training; the search took {duration_text(search['seconds'])}",
        )
    console.print()


def level_rows(path: Path) -> list[Mapping[str, Any]]:
    """What a run's measurements say per level: epochs, how many were measured, the best and the mean accuracy.

    Raises:
        InputError: the file is broken.
    """
    from oche.campaign.ledger import Entry, Ledger  # imports torch
    from oche.nosh.campaign import KIND

    ledger = Ledger.read(path / MEASUREMENTS, KIND)
    measured: dict[int, list[Entry]] = {}
    for entry in ledger.entries.values():
        if "level" in entry["cell"] and entry["status"] == "done":
            measured.setdefault(entry["cell"]["level"], []).append(entry)
    return [
        {
            "level": level,
            "epochs": entries[0]["epochs"],
            "measured": len(entries),
            "best": max(e["valid_accuracy"] for e in entries),
            "mean": sum(e["valid_accuracy"] for e in entries) / len(entries),
        }
        for level, entries in sorted(measured.items())
    ]
