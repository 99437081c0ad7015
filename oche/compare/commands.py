"""The command `oche compare`."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from oche.campaign.executors import make_executor, worker_count
from oche.campaign.ledger import Entry, Ledger
from oche.campaign.run import run_campaign
from oche.campaign.task import Done, cell_slug
from oche.campaign.watch import CampaignProgress
from oche.compare.plan import KIND, Comparison, settled, work_directory
from oche.compare.statistics import default_baseline, rows
from oche.config.options import CompareCommand, OutputOptions, ReportOptions
from oche.errors import InputError
from oche.files import write_whole, writing
from oche.recipe import Recipe
from oche.report.comparison import as_csv, as_markdown, print_comparison
from oche.report.words import duration_text, new_console, print_json, print_line


def compare(path: Path, options: CompareCommand, report: ReportOptions, output: OutputOptions) -> None:
    """Compute the cells that are missing, and report on all.

    Args:
        path: the results file.
        options: what to compare and where; what is not given is as in the file.
        report: files to write.
        output: what to print.

    Raises:
        InputError: something in the options cannot be used; nothing was computed then.
        Interrupted: it was stopped, and can go on.
    """
    before = Ledger.read(path, KIND).header if path.exists() else None
    config = settled(options, before and before["config"])
    comparison = Comparison.of(config, options, path)
    baseline = str(Recipe.of(options.baseline)) if options.baseline else default_baseline(comparison)
    if baseline not in comparison.methods:
        raise InputError(f"--baseline {baseline} is not compared; give one of {', '.join(comparison.methods)}")
    if before is None:
        ledger = Ledger.begin(path, KIND, {"config": config})
    else:
        ledger = Ledger.take(path, KIND, {}, retry_failed=options.retry_failed)
    with ledger.lock():
        ledger.rewrite(ledger.header | {"config": config})
        _compute(comparison, ledger, options, quiet=output.quiet or output.json)
    if report.csv is not None:
        _write(report.csv, as_csv(comparison, ledger))
    if report.markdown is not None:
        _write(report.markdown, as_markdown(comparison, ledger, baseline))
    if report.figure is not None:
        from oche.report.anytime import draw_comparison  # Matplotlib takes a second to import

        draw_comparison(report.figure, comparison, ledger)
    if output.json:
        print_json(_as_json(comparison, ledger, baseline))
    elif not output.quiet:
        print_comparison(new_console(), comparison, ledger, baseline)


def _compute(comparison: Comparison, ledger: Ledger, options: CompareCommand, *, quiet: bool) -> None:
    console = Console()
    missing = comparison.cells - len(ledger.entries)
    if missing <= 0:
        return
    watcher = _Watcher(ledger.path, CampaignProgress(console, missing, _words, quiet=quiet), options.keep_supernets)

    def scored(done: Done) -> dict[str, Any]:
        entry = {"cell": done.cell, **done.value}
        return {**done.value, "test_accuracy": comparison.arena(entry).judge.accuracy(entry)}

    with watcher.shown.shown():
        executor = make_executor(options, watcher.shown.report)
        usage = run_campaign(ledger, comparison.ready, executor, watcher, finish=scored)
    if not quiet:
        at_once = worker_count(options)
        print_line(
            console,
            f"{duration_text(usage.wall)} with {at_once} cells at a time; the processes used {usage.share:.0%} of "
            f"{usage.cores} cores\n",
        )


class _Watcher:
    """Shows each finished cell, and keeps or removes what it has left on the disk for going on."""

    def __init__(self, results: Path, shown: CampaignProgress, keep_supernets: bool) -> None:
        self._results, self.shown, self._keep_supernets = results, shown, keep_supernets

    def finished(self, entry: Entry) -> None:
        """See `oche.campaign.run.Watcher`."""
        if entry["status"] == "done":
            self._tidy(cell_slug(entry["cell"]))
        self.shown.finished(entry)

    def _tidy(self, name: str) -> None:
        work = work_directory(self._results)
        with writing(work):
            newest = max((work / name).glob("*.pt"), default=None)  # searches by query have none
            if self._keep_supernets and newest is not None:
                kept = self._results.with_name(f"{self._results.name}.supernets")
                kept.mkdir(exist_ok=True)
                os.replace(newest, kept / f"{name}-{newest.name}")  # whose end is a digest of the content
            shutil.rmtree(work / name, ignore_errors=True)
            (work / f"{name}.jsonl").unlink(missing_ok=True)
            if work.is_dir() and not any(work.iterdir()):
                work.rmdir()


def _words(entry: Entry) -> str:
    return f"test accuracy {entry['test_accuracy']:.2f} %, {duration_text(entry['wall'])}"


def _write(path: Path, text: str) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())


def _as_json(comparison: Comparison, ledger: Ledger, baseline: str) -> list[dict[str, Any]]:
    return [
        {**arena.setting.names, "judge": arena.judge.label, "baseline": baseline, "methods": found}
        for arena in comparison.arenas
        for found in [[asdict(row) for row in rows(comparison, arena, ledger, baseline)]]
    ]
