"""What `oche compare` prints and writes: tables for the terminal and as Markdown, one line per cell as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console

from oche.campaign.ledger import Ledger
from oche.campaign.task import cell_name
from oche.compare.plan import Arena, Comparison
from oche.compare.statistics import LEVEL, Row, Sample, references, rows
from oche.compare.tasks import RANDOM
from oche.report.words import NONE, duration_text, new_table, print_line

ACCURACY_COLUMNS = (
    "method",
    "n",
    "test accuracy, %",
    "each seed",
    "collapsed",
    "difference to {baseline}",
    "random, same seconds",
    "random, same table cost",
)
COST_COLUMNS = ("method", "search", "steps", "rate of the logits", "logits moved", "IES at the end")

CSV_COLUMNS = (
    "method",
    "space",
    "data",
    "seed",
    "status",
    "test_accuracy",
    "collapsed",
    "search_seconds",
    "steps",
    "paper_steps",
    "logit_rate",
    "entropy",
    "travel",
    "architecture",
    "error",
)

DECIMALS = "{:.2f}".format


def print_comparison(console: Console, comparison: Comparison, ledger: Ledger, baseline: str) -> None:
    """The tables of every arena, for a terminal."""
    for arena in comparison.arenas:
        found = rows(comparison, arena, ledger, baseline)
        print_line(console, _title(arena))
        for columns, cells in _tables(found, baseline):
            table = new_table(*columns)
            for row in cells:
                table.add_row(*row)
            console.print(table)
            console.print()
        for line in _notes(arena, ledger, found):
            print_line(console, line)
        console.print()


def as_markdown(comparison: Comparison, ledger: Ledger, baseline: str) -> str:
    """The same as Markdown."""
    lines: list[str] = []
    for arena in comparison.arenas:
        found = rows(comparison, arena, ledger, baseline)
        lines += [f"### {_title(arena)}", ""]
        for columns, cells in _tables(found, baseline):
            lines += [_markdown_row(columns), _markdown_row(["---"] * len(columns)), *map(_markdown_row, cells), ""]
        lines += [f"- {note}" for note in _notes(arena, ledger, found)] + [""]
    return "\n".join(lines)


def as_csv(comparison: Comparison, ledger: Ledger) -> str:
    """One line per cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for arena in comparison.arenas:
        ranking = arena.judge.ranking(references(arena, ledger))
        for entry in ledger.entries.values():
            if not arena.is_mine(entry) or "method" not in entry["cell"]:
                continue
            line: dict[str, Any] = {**entry["cell"], "status": entry["status"], "error": entry.get("error", "")}
            if entry["status"] == "done":
                accuracy = arena.judge.accuracy(entry)
                line |= {"test_accuracy": DECIMALS(accuracy), "search_seconds": f"{entry['seconds']:.1f}"}
                line["collapsed"] = "" if ranking is None else int(ranking.collapsed(accuracy))
                line |= {name: entry.get(name, "") for name in ("steps", "paper_steps", "logit_rate", "travel")}
                line["entropy"] = entry["entropy"][-1] if "entropy" in entry else ""
                line["architecture"] = " ".join(f"{key}={value}" for key, value in entry["architecture"].items())
            writer.writerow(line)
    return text.getvalue()


def _title(arena: Arena) -> str:
    stack = arena.setting.space.supernet_stack
    size = f"supernet of {stack.cells} cells, {stack.channels} channels, {arena.setting.epochs} epochs"
    return f"{arena.setting.space.name} on {arena.setting.data.name} ({size}; scored by: {arena.judge.label})"


def _tables(found: Sequence[Row], baseline: str) -> list[tuple[list[str], list[list[str]]]]:
    accuracy = [name.format(baseline=baseline) for name in ACCURACY_COLUMNS]
    return [
        (accuracy, [_accuracy_cells(row) for row in found]),
        (list(COST_COLUMNS), [_cost_cells(row) for row in found]),
    ]


def _accuracy_cells(row: Row) -> list[str]:
    n = len(row.score.by_seed)
    against = NONE
    if row.against is not None:
        d = row.against
        against = f"{d.difference:+.2f} [{d.low:+.2f}, {d.high:+.2f}]"
    return [
        row.method,
        f"{n}" + (f" ({row.failed} failed)" if row.failed else ""),
        _mean(row.score),
        ", ".join(map(DECIMALS, row.score.by_seed.values())),
        NONE if row.collapsed is None else f"{row.collapsed} of {n}",
        against,
        _reference(row.same_time, row.same_time_count),
        _reference(row.same_cost, row.same_cost_count),
    ]


def _cost_cells(row: Row) -> list[str]:
    return [
        row.method,
        duration_text(row.seconds),
        NONE if row.ratio is None else f"1/{_ratio(row.ratio)} of the paper's",
        NONE if row.logit_rate is None else f"{row.logit_rate:.2g}",
        ", ".join(map(DECIMALS, row.travel)) or NONE,
        ", ".join(map(DECIMALS, row.entropy)) or NONE,
    ]


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _mean(sample: Sample) -> str:
    return DECIMALS(sample.mean) + ("" if sample.spread is None else f" +- {sample.spread:.2f}")


def _reference(sample: Sample | None, count: float | None) -> str:
    return NONE if sample is None or count is None else f"{_mean(sample)} ({count:.3g} trained)"


def _notes(arena: Arena, ledger: Ledger, found: Sequence[Row]) -> Iterator[str]:
    """What the numbers mean, and what is missing."""
    ranking = arena.judge.ranking(references(arena, ledger))
    if ranking is not None:
        lower, median, upper = ranking.quartiles
        of = "all architectures" if arena.judge.everything is not None else f"{len(ranking.accuracies)} random ones"
        yield f"quartiles of {of}: {lower:.2f}, {median:.2f}, {upper:.2f} %; below the lowest is called collapsed"
    yield (
        "+- is the standard deviation over the seeds; differences are means over common seeds with a bootstrap "
        f"interval of {LEVEL:.0%}, coarse for few seeds"
    )
    if any(row.same_time for row in found):
        yield (
            "random, same seconds: architectures drawn uniformly, trained here on the same images, one after the other "
            f"in the seconds that the search took ({arena.setting.random_epochs} epochs each), the best by validation"
        )
    if any(row.same_cost for row in found) and arena.judge.costs is not None:
        yield (
            f"random, same table cost: the same with the table's validation accuracies and cost "
            f"({arena.judge.costs.label}), so the seconds are of another machine"
        )
    for entry in ledger.entries.values():
        if entry["status"] == "failed" and arena.is_mine(entry):
            yield f"failed: {cell_name(entry['cell'])}: {entry['error']}"
        elif entry.get("stopped"):
            yield f"stopped early: {cell_name(entry['cell'])}: {entry['stopped']}"
    if not any(row.method != RANDOM for row in found):
        yield "no search has finished yet"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
