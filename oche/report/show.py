"""What `oche show` prints: a run from its options to what it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from shlex import quote
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from oche.architecture import Architecture
from oche.config.options import OutputOptions
from oche.probe.findings import Finding, evidence_lines
from oche.report.queries import print_levels
from oche.report.sparkline import sparkline
from oche.report.words import (
    FOUR_DIGITS,
    NONE,
    SHOWN_TIME,
    counted,
    disk_use,
    drawn,
    duration_text,
    new_console,
    new_table,
    print_block,
    print_json,
    print_line,
    size_text,
    status_text,
)
from oche.runs.record import TIME_FORMAT, Record, RunRecord
from oche.score import percent, score_called, score_in

LABEL_WIDTH = 24
"""Characters, before a curve, of what it is; `train, 150 of 600 epochs` fits."""

NUMBER_WIDTH = 9
"""Characters of each number behind it; `1.235e+06` fits."""

LONGEST_CURVE = 60
"""Characters; longer ones are no easier to read."""


def show_run(path: Path, output: OutputOptions) -> None:
    """Print what was run, what was found, how the numbers went, how it scored and what it cost.

    Raises:
        InputError: there is no readable run at this path.
    """
    run = RunRecord.read(path)
    if output.json:
        print_json(_as_json(run))
    elif output.quiet:
        print(_essence(run))
    else:
        console = new_console()
        for section in (
            _header,
            _cells,
            print_levels,
            _search_curves,
            _training_curves,
            _verdict,
            _tries,
            _networks,
            _cost,
            _how_to_go_on,
        ):
            section(console, run)


def _essence(run: RunRecord) -> str:
    if run.tested is not None and run.status == "complete":
        score, value = run.tested
        return f"test {score.name} {score.text(value)}"
    return status_text(run)


def _header(console: Console, run: RunRecord) -> None:
    print_line(console, f"{run.path}: {status_text(run)}")
    facts = Table.grid(Column(), Column(overflow="fold"), padding=(0, 2, 0, 0))  # a composed method is a long word
    last = run.sessions[-1]
    rows = [("command", run.command), *_what(run)]
    rows += [("data", _data(run)), *(("", note) for note in run.data["notes"])]
    rows += [("seed", str(run.options["seed"])), ("preset", run.options.get("preset") or "by device")]
    rows.append(("started", f"{run.started:{SHOWN_TIME}}"))
    if len(run.sessions) > 1:
        began = datetime.strptime(last["started"], TIME_FORMAT)
        rows.append(("sessions", f"{len(run.sessions)}, the last one started {began:{SHOWN_TIME}}"))
        rows += [("", change) for change in _changes(run)]
    name = f" ({last['device_name']})" if last["device_name"] else ""
    rows.append(("device", f"{last['device']}{name}, {counted(last['threads'], 'thread')}"))
    versions = [f"{package} {last['packages'][package]}" for package in ("oche", "torch")]
    rows.append(("versions", ", ".join([*versions, f"Python {last['python']}"])))
    if last.get("git"):
        rows.append(("commit", last["git"]["commit"][:12] + (", with changes" if last["git"]["dirty"] else "")))
    for label, text in rows:
        facts.add_row(label, text)
    print_block(console, facts)


def _changes(run: RunRecord) -> Iterator[str]:
    """What has changed from one session to the next."""
    from oche.runs.provenance import changes  # imports torch

    for number, (before, now) in enumerate(pairwise(run.sessions), 2):
        found = changes(before, now)
        if found:
            yield f"session {number}: {', '.join(found)}"


def _what(run: RunRecord) -> Iterator[tuple[str, str]]:
    """The method, the space and the training, as far as the command has them."""
    parts = run.parts
    if run.method is not None:
        yield "method", run.method
    if "space" in run.options:
        yield "space", run.options["space"]["name"] + _sizes(parts.get("space", {}))
    elif run.architecture:
        yield "space", run.architecture.space
    if "protocol" in parts:
        rules = parts["protocol"]
        yield (
            "training",
            f"{rules['name']}: {counted(rules['epochs'], 'epoch')} in batches of {rules['batch']}, "
            f"network of {_stack(rules['stack'])}",
        )


def _sizes(space: Mapping[str, Any]) -> str:
    """What is known of a space's sizes; not every space has a number of nodes to choose."""
    nodes = f"{counted(space['nodes'], 'node')} per cell, " if "nodes" in space else ""
    return f": {nodes}supernet of {_stack(space['supernet_stack'])}" if space else ""


def _stack(sizes: Mapping[str, Any]) -> str:
    return f"{counted(sizes['cells'], 'cell')} and {counted(sizes['channels'], 'channel')}"


def _data(run: RunRecord) -> str:
    limit = run.options["data"].get("limit")
    cut = f", at most {limit:,} training images" if limit else ""
    return f"{run.data['name']}{cut}, fingerprint {run.data['fingerprint'][:12]}"


def _cells(console: Console, run: RunRecord) -> None:
    if run.architecture is not None:
        print_line(console, drawn(run, run.architecture) + "\n")
    elif run.space is not None and run.search_phase in run.records:
        last = run.records[run.search_phase][-1]
        drawing = drawn(run, Architecture.of(run.space.name, last["architecture"]))
        print_line(console, f"what epoch {last['epoch']} of the search would select\n{drawing}\n")
    else:
        print_line(console, "no architecture has been selected yet\n")


@dataclass(frozen=True)
class _Curve:
    """A series of numbers, one per epoch.

    Attributes:
        label: what it is.
        values: None where an epoch has no such number.
        show: a number as text, with its unit.
        best: which of the numbers is the best one; None if none is better than another.
    """

    label: str
    values: tuple[float | None, ...]
    show: Callable[[float], str]
    best: Callable[[Iterable[float]], float] | None


def _scored_curves(records: Sequence[Record]) -> list[_Curve]:
    """The losses and metrics of the training and validation parts, the losses first."""
    names = dict.fromkeys(
        name for r in records for name in r if name.startswith(("train_", "valid_")) and not name.endswith("_rate")
    )
    curves = []
    for name in sorted(names, key=lambda n: (not n.endswith("_loss"), n.partition("_")[2], n)):
        values = tuple(r.get(name) for r in records)
        label = name.replace("_", " ")
        score = score_called(name)
        if name.endswith("_loss"):
            curves.append(_Curve(label, values, FOUR_DIGITS, min))
        elif score is not None:
            curves.append(_Curve(label, values, score.text, score.best))
        else:  # a user's metric: which direction is better is not written down
            curves.append(_Curve(label, values, FOUR_DIGITS, None))
    return curves


def _search_curves(console: Console, run: RunRecord) -> None:
    records = run.records.get(run.search_phase)
    if not records:
        return
    entropies = tuple(r["entropy"] for r in records)
    # Logits start within a few thousandths of 0, so their mean absolute value is how far they have travelled.
    travels = tuple(mean(abs(v) for row in r["logits"].values() for v in row) for r in records)
    curves = _scored_curves(records)
    curves.append(_Curve("entropy (IES), nats", entropies, FOUR_DIGITS, None))
    curves.append(_Curve("mean |logit|", travels, FOUR_DIGITS, None))
    table, width = _curve_table(console, run, _title(run, run.search_phase)), _curve_width(console, run)
    for curve in curves:
        _add_curve(table, width, curve.label, curve)
    console.print(table)
    print_line(console, _stability([r["architecture"] for r in records]) + "\n")


def _stability(selections: Sequence[Mapping[str, Any]]) -> str:
    """Since when the selection has been what it is at the end."""
    since = next((i for i in range(len(selections) - 1, 0, -1) if selections[i] != selections[i - 1]), 0)
    if since == 0:
        return "the selection has not changed since epoch 1"
    edges = sum(selections[since - 1].get(key) != candidate for key, candidate in selections[since].items())
    return f"the selection last changed in epoch {since + 1}, on {counted(edges, 'edge')}"


def _training_curves(console: Console, run: RunRecord) -> None:
    phases = [phase for phase in run.records if phase.partition(" ")[0] != "search"]
    if not phases:
        return
    width = _curve_width(console, run)
    if "train" in phases:
        table = _curve_table(console, run, _title(run, "train"))
        for curve in _scored_curves(run.records["train"]):
            _add_curve(table, width, curve.label, curve)
        print_block(console, table)
    for kind in ("try", "random"):
        curves = {p: _scored_curves(run.records[p])[-1] for p in phases if p.partition(" ")[0] == kind}
        if curves:
            label = next(iter(curves.values())).label
            table = _curve_table(console, run, f"{kind}, {label}")
            for phase, curve in curves.items():
                _add_curve(table, width, phase, curve)
            print_block(console, table)


def _title(run: RunRecord, phase: str) -> str:
    """The phase with its epochs, such as `search, 8 epochs` or `search, 3 of 8 epochs`."""
    done, planned = len(run.records[phase]), run.epochs(phase)
    return f"{phase}, " + (f"{done} of {planned} epochs" if planned not in (None, done) else counted(done, "epoch"))


def _curve_table(console: Console, run: RunRecord, title: str) -> Table:
    """The same widths for every phase, so that the curves and numbers of a run stand below each other."""
    table = new_table()
    table.add_column(title, min_width=LABEL_WIDTH)
    table.add_column("", min_width=_curve_width(console, run))
    for name in ("first", "last", "best"):
        table.add_column(name, justify="right", no_wrap=True, min_width=NUMBER_WIDTH)
    table.add_column("epoch", justify="right", no_wrap=True)
    return table


def _curve_width(console: Console, run: RunRecord) -> int:
    longest = max(len(records) for records in run.records.values())
    numbers = LABEL_WIDTH + 3 * NUMBER_WIDTH + len("epoch") + 2 * 5  # and the gaps between six columns
    return max(1, min(LONGEST_CURVE, longest, console.width - numbers))


def _add_curve(table: Table, width: int, label: str, curve: _Curve) -> None:
    present = [v for v in curve.values if v is not None]
    if not present:
        return
    best = curve.best(present) if curve.best else None
    numbers = [curve.show(v) if v is not None else "" for v in (present[0], present[-1], best)]
    epoch = str(curve.values.index(best) + 1) if best is not None else ""
    table.add_row(label, sparkline(curve.values, width), *numbers, epoch)


def _verdict(console: Console, run: RunRecord) -> None:
    for phase in dict.fromkeys((run.search_phase, *run.records)):
        scores = run.scores(phase)
        if scores and scores["stopped"]:
            print_line(console, f"{phase} stopped: {scores['stopped']}\n")
    if "search" in run.result:
        # In a terminal the words are wrapped; a pipe gets the line as it is.
        wide = not console.is_terminal
        console.print(f"verdict: {run.result['search']['verdict']}", soft_wrap=wide)
        evidence = [Finding.from_plain(finding) for finding in run.result["search"].get("evidence", ())]
        for line in evidence_lines(evidence):
            console.print(f"  {line}", soft_wrap=wide)
        console.print()


def _tries(console: Console, run: RunRecord) -> None:
    """The searches of which one is chosen, as far as they are."""
    done = run.result.get("tries", ())
    if not done:
        return
    table = new_table("try", "what is its own", "verdict")
    for column in ("validation", "best epoch"):
        table.add_column(column, justify="right")
    table.add_column("")
    chosen = run.result.get("search", {}).get("try")
    for number, entry in enumerate(done, 1):
        scores = entry.get("training")
        shown = (NONE, NONE)
        if scores is not None:
            shown = (_scored(scores["validation"]), f"{scores['best_epoch']} of {scores['epochs']}")
        mark = "chosen" if number == chosen else ""
        table.add_row(str(number), entry["label"], entry["search"]["status"], *shown, mark)
    print_block(console, table)


def _networks(console: Console, run: RunRecord) -> None:
    names = {"train": "found" if "method" in run.options else "network"}
    phases = [("train", run.scores("train")), *((p, run.scores(p)) for p in run.records if p.startswith("random "))]
    scored = [(names.get(phase, phase), scores) for phase, scores in phases if scores]
    if not scored:
        return
    table = new_table("network")
    judged = score_in(scored[0][1]["test"])
    test = "test" if judged is None else f"test {judged.name}"
    for column in (test, "validation", "best epoch", "parameters", "time"):
        table.add_column(column, justify="right")
    for name, scores in scored:
        best = f"{scores['best_epoch']} of {scores['epochs']}"
        size, time = f"{scores['parameters']:,}", duration_text(scores["seconds"])
        table.add_row(name, _scored(scores["test"]), _scored(scores["validation"]), best, size, time)
    console.print(table)
    comparison = _comparison(run)
    if comparison is not None:
        print_line(console, comparison)
    console.print()


def _scored(values: Mapping[str, float]) -> str:
    """What counts of some scores."""
    score = score_in(values)
    return NONE if score is None else score.text(values[score.name])


def _comparison(run: RunRecord) -> str | None:
    """The random networks' mean and spread, and where the found one lies."""
    if run.tested is None or not run.result.get("random"):
        return None
    score, found = run.tested
    return score.compared(found, [scores["test"][score.name] for scores in run.result["random"]], "random")


def _cost(console: Console, run: RunRecord) -> None:
    table = new_table("cost")
    for column in ("steps", "time", "steps per second"):
        table.add_column(column, justify="right")
    total = 0.0
    for phase in run.records:
        steps, seconds = run.steps(phase), run.seconds(phase)
        total += seconds
        rate = f"{steps / seconds:.3g}" if steps is not None and seconds > 0 else NONE
        table.add_row(phase, f"{steps:,}" if steps is not None else NONE, duration_text(seconds), rate)
    if len(run.records) > 1:
        table.add_row("in all", "", duration_text(total), "")
    if run.records:
        console.print(table)
    saved = run.result.get("checkpoints")
    if saved:
        share = f", {percent(saved['seconds'] / total)} of the time" if total > 0 else ""
        print_line(console, f"checkpoints: {saved['count']:,} saved in {duration_text(saved['seconds'])}{share}")
    kept = disk_use(run.path / "checkpoints")
    print_line(
        console,
        f"on disk: {size_text(disk_use(run.path))}" + (f", checkpoints {size_text(kept)} of it" if kept else ""),
    )


def _how_to_go_on(console: Console, run: RunRecord) -> None:
    if run.status == "interrupted" and run.format > 1:
        print_line(console, f"\ngo on with: oche resume {quote(str(run.path))}")


def _as_json(run: RunRecord) -> dict[str, Any]:
    """Everything that a run says, and what it comes to."""
    return {
        "path": str(run.path),
        "format": run.format,
        "command": run.command,
        "status": run.status,
        "position": run.progress and asdict(run.progress),
        "started": run.started.strftime(TIME_FORMAT),
        **run.test_scores,
        "options": run.options,
        "data": run.data,
        "sessions": run.sessions,
        "parts": run.parts,
        "architecture": dict(run.architecture.items) if run.architecture else None,
        "records": run.records,
        "result": run.result,
        "seconds": {phase: run.seconds(phase) for phase in run.records},
        "disk_bytes": disk_use(run.path),
    }
