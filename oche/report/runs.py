"""What the commands `show`, `list` and `diff` print of run directories.

The drawing of cells needs torch, which takes seconds to import; it is imported where something is drawn, so that
`oche list` is quick.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from oche.architecture import Architecture
from oche.config import OutputOptions
from oche.errors import InputError
from oche.plain import finite
from oche.report.difference import Difference, Pairs, compare
from oche.report.sparkline import sparkline
from oche.run_record import TIME_FORMAT, Record, RunRecord, is_run

LABEL_WIDTH = 24
"""Characters, before a curve, of what it is; `train, 150 of 600 epochs` fits."""

NUMBER_WIDTH = 9
"""Characters of each number behind it; `1.235e+06` fits."""

LONGEST_CURVE = 60
"""Characters; longer ones are no easier to read."""

SHOWN_TIME = "%Y-%m-%d %H:%M:%S %z"

WIDE = 100
"""Columns from which a list of runs has room for the times."""

FOUR_DIGITS = "{:#.4g}".format
"""As much of a number as a reader can use, with its trailing zeros, so that a column stays even."""

NONE = "-"


# -- show --------------------------------------------------------------------------------------------------------------


def show_run(path: Path, output: OutputOptions) -> None:
    """Print what was run, what was found, how the numbers went, how it scored and what it cost.

    Raises:
        InputError: there is no readable run at this path.
    """
    run = RunRecord.read(path)
    if output.json:
        _print_json(_as_json(run))
    elif output.quiet:
        print(_essence(run))
    else:
        console = _console()
        for section in (_header, _cells, _search_curves, _training_curves, _verdict, _networks, _cost, _how_to_go_on):
            section(console, run)


def _essence(run: RunRecord) -> str:
    if run.accuracy is not None and run.status == "complete":
        return f"test accuracy {_percent(run.accuracy)}"
    return _status(run)


def _header(console: Console, run: RunRecord) -> None:
    _line(console, f"{run.path}: {_status(run)}")
    facts = Table.grid(padding=(0, 2, 0, 0))
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
    rows.append(("device", f"{last['device']}{name}, {_count(last['threads'], 'thread')}"))
    versions = [f"{package} {last['packages'][package]}" for package in ("oche", "torch")]
    rows.append(("versions", ", ".join([*versions, f"Python {last['python']}"])))
    if last.get("git"):
        rows.append(("commit", last["git"]["commit"][:12] + (", with changes" if last["git"]["dirty"] else "")))
    for label, text in rows:
        facts.add_row(label, text)
    _block(console, facts)


def _changes(run: RunRecord) -> Iterator[str]:
    """What has changed from one session to the next."""
    from oche.provenance import changes  # imports torch

    for number, (before, now) in enumerate(pairwise(run.sessions), 2):
        found = changes(before, now)
        if found:
            yield f"session {number}: {', '.join(found)}"


def _what(run: RunRecord) -> Iterator[tuple[str, str]]:
    """The method, the space and the training, as far as the command has them."""
    parts = run.parts
    if "method" in run.options:
        yield "method", run.options["method"]
    if "space" in run.options:
        space = parts.get("space")
        sizes = (
            f": {_count(space['nodes'], 'node')} per cell, supernet of {_stack(space['supernet_stack'])}"
            if space
            else ""
        )
        yield "space", run.options["space"]["name"] + sizes
    elif run.architecture:
        yield "space", run.architecture.space
    if "protocol" in parts:
        rules = parts["protocol"]
        yield (
            "training",
            f"{rules['name']}: {_count(rules['epochs'], 'epoch')} in batches of {rules['batch']}, "
            f"network of {_stack(rules['stack'])}",
        )


def _stack(sizes: Mapping[str, Any]) -> str:
    return f"{_count(sizes['cells'], 'cell')} and {_count(sizes['channels'], 'channel')}"


def _data(run: RunRecord) -> str:
    limit = run.options["data"].get("limit")
    cut = f", at most {limit:,} training images" if limit else ""
    return f"{run.data['name']}{cut}, fingerprint {run.data['fingerprint'][:12]}"


def _cells(console: Console, run: RunRecord) -> None:
    if run.architecture is not None:
        _line(console, _drawn(run, run.architecture) + "\n")
    elif run.space is not None and "search" in run.records:
        last = run.records["search"][-1]
        drawn = _drawn(run, Architecture.of(run.space.name, last["architecture"]))
        _line(console, f"what epoch {last['epoch']} of the search would select\n{drawn}\n")
    else:
        _line(console, "no architecture has been selected yet\n")


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
        if name.endswith("_loss"):
            curves.append(_Curve(label, values, FOUR_DIGITS, min))
        elif name.endswith("_accuracy"):
            curves.append(_Curve(label, values, _percent, max))
        else:  # a user's metric: which direction is better is not written down
            curves.append(_Curve(label, values, FOUR_DIGITS, None))
    return curves


def _search_curves(console: Console, run: RunRecord) -> None:
    records = run.records.get("search")
    if not records:
        return
    entropies = tuple(r["entropy"] for r in records)
    # Logits start within a few thousandths of 0, so their mean absolute value is how far they have travelled.
    travels = tuple(mean(abs(v) for row in r["logits"].values() for v in row) for r in records)
    curves = _scored_curves(records)
    curves.append(_Curve("entropy (IES), nats", entropies, FOUR_DIGITS, None))
    curves.append(_Curve("mean |logit|", travels, FOUR_DIGITS, None))
    table, width = _curve_table(console, run, _title(run, "search")), _curve_width(console, run)
    for curve in curves:
        _add_curve(table, width, curve.label, curve)
    console.print(table)
    _line(console, _stability([r["architecture"] for r in records]) + "\n")


def _stability(selections: Sequence[Mapping[str, Any]]) -> str:
    """Since when the selection has been what it is at the end."""
    since = next((i for i in range(len(selections) - 1, 0, -1) if selections[i] != selections[i - 1]), 0)
    if since == 0:
        return "the selection has not changed since epoch 1"
    edges = sum(selections[since - 1].get(key) != candidate for key, candidate in selections[since].items())
    return f"the selection last changed in epoch {since + 1}, on {_count(edges, 'edge')}"


def _training_curves(console: Console, run: RunRecord) -> None:
    phases = [phase for phase in run.records if phase != "search"]
    if not phases:
        return
    width = _curve_width(console, run)
    if "train" in phases:
        table = _curve_table(console, run, _title(run, "train"))
        for curve in _scored_curves(run.records["train"]):
            _add_curve(table, width, curve.label, curve)
        _block(console, table)
    random = {phase: _scored_curves(run.records[phase])[-1] for phase in phases if phase != "train"}
    if random:
        label = next(iter(random.values())).label
        table = _curve_table(console, run, f"random, {label}")
        for phase, curve in random.items():
            _add_curve(table, width, phase, curve)
        _block(console, table)


def _title(run: RunRecord, phase: str) -> str:
    """The phase with its epochs, such as `search, 8 epochs` or `search, 3 of 8 epochs`."""
    done, planned = len(run.records[phase]), run.epochs(phase)
    return f"{phase}, " + (f"{done} of {planned} epochs" if planned not in (None, done) else _count(done, "epoch"))


def _curve_table(console: Console, run: RunRecord, title: str) -> Table:
    """The same widths for every phase, so that the curves and numbers of a run stand below each other."""
    table = _table()
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
    for phase in ("search", *(p for p in run.records if p != "search")):
        scores = run.scores(phase)
        if scores and scores["stopped"]:
            _line(console, f"{phase} stopped: {scores['stopped']}\n")
    if "search" in run.result:
        # In a terminal the words are wrapped; a pipe gets the line as it is.
        console.print(f"verdict: {run.result['search']['verdict']}", soft_wrap=not console.is_terminal)
        console.print()


def _networks(console: Console, run: RunRecord) -> None:
    names = {"train": "found" if "method" in run.options else "network"}
    phases = [("train", run.scores("train")), *((p, run.scores(p)) for p in run.records if p.startswith("random "))]
    scored = [(names.get(phase, phase), scores) for phase, scores in phases if scores]
    if not scored:
        return
    table = _table("network")
    for column in ("test accuracy", "validation", "best epoch", "parameters", "time"):
        table.add_column(column, justify="right")
    for name, scores in scored:
        validation = _percent(scores["validation"]["accuracy"]) if scores["validation"] else NONE
        best = f"{scores['best_epoch']} of {scores['epochs']}"
        size, time = f"{scores['parameters']:,}", _duration(scores["seconds"])
        table.add_row(name, _percent(scores["test"]["accuracy"]), validation, best, size, time)
    console.print(table)
    comparison = _comparison(run)
    if comparison is not None:
        _line(console, comparison)
    console.print()


def _comparison(run: RunRecord) -> str | None:
    """The random networks' mean and spread, and where the found one lies."""
    accuracies = [scores["test"]["accuracy"] for scores in run.result.get("random", ())]
    if not accuracies or run.accuracy is None:
        return None
    spread = f" ± {100 * stdev(accuracies):.2f} (standard deviation)" if len(accuracies) > 1 else ""
    ahead = 100 * (run.accuracy - mean(accuracies))
    return (
        f"random: mean {_percent(mean(accuracies))}{spread}, n = {len(accuracies)}; "
        f"the found network lies {abs(ahead):.2f} points {'above' if ahead >= 0 else 'below'} it"
    )


def _cost(console: Console, run: RunRecord) -> None:
    table = _table("cost")
    for column in ("steps", "time", "steps per second"):
        table.add_column(column, justify="right")
    total = 0.0
    for phase in run.records:
        steps, seconds = run.steps(phase), run.seconds(phase)
        total += seconds
        rate = f"{steps / seconds:.3g}" if steps is not None and seconds > 0 else NONE
        table.add_row(phase, f"{steps:,}" if steps is not None else NONE, _duration(seconds), rate)
    if len(run.records) > 1:
        table.add_row("in all", "", _duration(total), "")
    if run.records:
        console.print(table)
    saved = run.result.get("checkpoints")
    if saved:
        share = f", {_percent(saved['seconds'] / total)} of the time" if total > 0 else ""
        _line(console, f"checkpoints: {saved['count']:,} saved in {_duration(saved['seconds'])}{share}")
    kept = _disk_use(run.path / "checkpoints")
    _line(console, f"on disk: {_size(_disk_use(run.path))}" + (f", checkpoints {_size(kept)} of it" if kept else ""))


def _how_to_go_on(console: Console, run: RunRecord) -> None:
    if run.status == "interrupted" and run.format > 1:
        _line(console, f"\ngo on with: oche resume {run.path}")


def _as_json(run: RunRecord) -> dict[str, Any]:
    """Everything that a run says, and what it comes to."""
    return {
        "path": str(run.path),
        "format": run.format,
        "command": run.command,
        "status": run.status,
        "position": run.position and asdict(run.position),
        "started": run.started.strftime(TIME_FORMAT),
        "test_accuracy": run.accuracy,
        "options": run.options,
        "data": run.data,
        "sessions": run.sessions,
        "parts": run.parts,
        "architecture": dict(run.architecture.items) if run.architecture else None,
        "records": run.records,
        "result": run.result,
        "seconds": {phase: run.seconds(phase) for phase in run.records},
        "disk_bytes": _disk_use(run.path),
    }


# -- list --------------------------------------------------------------------------------------------------------------


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
        _print_json([*listed, *({"path": str(path), "error": reason} for path, reason in unreadable.items())])
    elif output.quiet:
        for path in (*(run.path for run in runs), *unreadable):
            print(path)
    else:
        _print_runs(directory, runs, unreadable)


def _print_runs(directory: Path, runs: Sequence[RunRecord], unreadable: Mapping[Path, str]) -> None:
    console = _console()
    if not runs and not unreadable:
        first = directory / "first"
        _line(console, f"there are no runs in {directory}; make one, for example: oche run --run {first}")
        return
    if runs:
        table = _table()
        table.add_column("run", no_wrap=True)
        for name in ("command", "method", "data", "status"):
            table.add_column(name)
        table.add_column("test", justify="right", no_wrap=True)
        if console.width >= WIDE:
            table.add_column("started", no_wrap=True)
        for run in runs:
            accuracy = _percent(run.accuracy) if run.accuracy is not None else NONE
            cells = [run.path.name, run.command, run.options.get("method", NONE), run.data["name"], _progress(run)]
            started = [f"{run.started:%Y-%m-%d %H:%M}"] if console.width >= WIDE else []
            table.add_row(*cells, accuracy, *started)
        console.print(table)
    for path, reason in unreadable.items():
        _line(console, f"unreadable: {path.name}: {reason}")


def _progress(run: RunRecord) -> str:
    """The status in few words, such as `interrupted, search 3/8`."""
    if run.status == "complete":
        return run.status
    at = run.position
    return f"{run.status}, {at.phase} {at.epoch}/{at.epochs or '?'}" if at else f"{run.status}, no epoch yet"


def _listed(run: RunRecord) -> dict[str, Any]:
    return {
        "path": str(run.path),
        "command": run.command,
        "method": run.options.get("method"),
        "data": run.data["name"],
        "status": run.status,
        "position": run.position and asdict(run.position),
        "test_accuracy": run.accuracy,
        "started": run.started.strftime(TIME_FORMAT),
    }


# -- diff --------------------------------------------------------------------------------------------------------------

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
        _print_json({"a": str(a), "b": str(b), "equal": not difference.sections, **asdict(difference)})
    elif output.quiet:
        print(f"differ in {', '.join(difference.sections)}" if difference.sections else "no difference")
    else:
        _print_difference(_console(), runs, difference)


def _print_difference(console: Console, runs: tuple[RunRecord, RunRecord], difference: Difference) -> None:
    for letter, run in zip("AB", runs, strict=True):
        _line(console, f"{letter}  {run.path}: {_status(run)}")
    if runs[0].format != runs[1].format:
        _line(console, f"formats {runs[0].format} and {runs[1].format}: compared is what both say")
    console.print()
    if not difference.sections:
        _line(console, "no difference (times apart)")
        return
    for name, title in SECTIONS.items():
        pairs: Pairs = getattr(difference, name)
        if pairs:
            _block(console, _pair_table(title, pairs))
    if difference.architecture:
        table = _table("architecture, only in A", "only in B")
        table.add_row(*(_own_edges(run, side, difference.architecture) for side, run in enumerate(runs)))
        _block(console, table)
    for line in _metrics_lines(runs, difference):
        _line(console, line)


def _own_edges(run: RunRecord, side: int, pairs: Pairs) -> str:
    """The edges that the other run does not have, or not with the same candidate."""
    assert run.architecture is not None  # a difference compares architectures where both runs have one
    own = {key: pair[side] for key, pair in pairs.items() if pair[side] is not None}
    return _drawn(run, Architecture.of(run.architecture.space, own)) if own else NONE


def _pair_table(title: str, pairs: Pairs) -> Table:
    table = _table(title)
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
        return _percent(value) if name.endswith("accuracy") else f"{value:.6g}"
    if isinstance(value, Mapping):  # an architecture of 16 lines: where it differs matters less than whether
        return f"{_count(len(value), 'edge')}, {len(set(value.items()) - set(other.items()))} of its own"
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
            yield f"{phase}: metrics are bit-identical as far as both go; A has {_count(a, 'epoch')}, B has {b}"


# -- common ------------------------------------------------------------------------------------------------------------


def _console() -> Console:
    # Names and paths may hold what the library would take for markup or for the name of an emoji.
    return Console(highlight=False, markup=False, emoji=False)


def _table(*columns: str) -> Table:
    """Columns of text, flush with the left margin."""
    return Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def _block(console: Console, table: Table) -> None:
    console.print(table)
    console.print()


def _line(console: Console, text: str) -> None:
    """Text that is printed as it is, whatever the width and whatever is in it."""
    console.print(text, soft_wrap=True)


def _print_json(value: Any) -> None:
    print(json.dumps(finite(value), indent=1))


def _drawn(run: RunRecord, architecture: Architecture) -> str:
    from oche.report.drawing import draw

    assert run.space is not None  # it is there wherever there is an architecture
    return draw(run.space, architecture)


def _status(run: RunRecord) -> str:
    if run.status == "complete":
        return run.status
    return f"{run.status}, " + (f"last finished: {run.position}" if run.position else "no epoch finished yet")


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    """`0.15 s`, `3.4 s`, `75 s`, `12 min 05 s`, `2 h 05 min`."""
    if seconds < 120:
        return f"{seconds:.{0 if seconds >= 10 else 1 if seconds >= 1 else 2}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _size(count: float) -> str:
    """Bytes in decimal units, as disks are sold."""
    power = min(int(math.log10(count)) // 3, 4) if count >= 1 else 0
    return f"{count / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"


def _disk_use(directory: Path) -> int:
    """Bytes of all files below a directory, in which a run may be replacing files at this moment."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(place) / name).lstat().st_size
    return total
