"""Searches by query on both tables: accuracy against budget, and what NOSH saves.

Every search of `oche.nosh.search` runs at every budget with every seed on NAS-Bench-201 (CIFAR-10) and on bench125; the
architecture it chooses by validation is scored by the table's test accuracy, after the search. Budgets are epochs of
training; a promotion on NAS-Bench-201 costs 12 + 200. Each result is appended to the results file as it comes, and
what is there is not computed again.

Then, from that file: means with bootstrap intervals, a figure, and the check of the five-fold reduction on bench125,
whose curves are true ones: `rank-nosh` at a fifth of the budget against the same predictor with every architecture
trained to the end (`rank-full`), paired by seed.

Usage: python benchmarks/rank_nosh.py RESULTS.jsonl [--seeds 10] [--figure FILE.png] [--report]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

import oche
from oche.architecture import Architecture
from oche.bench.curve_truth import CurveTruth
from oche.bench.curves import CurveTable
from oche.bench.table import Table
from oche.bench.truth import Truth
from oche.campaign.ledger import Entry, Ledger
from oche.campaign.run import run_campaign
from oche.campaign.task import Cell, Done, Task, Workplace, cell_name
from oche.compare.statistics import bootstrapped
from oche.nosh.backend import TASKS, Backend, CurveBackend, ScheduleBackend
from oche.nosh.campaign import Here
from oche.nosh.search import RANK_NOSH, SEARCHES, Course, run_here
from oche.predict.proxies import SynFlow
from oche.report.anytime import COLOURS

KIND = "query searches"

COMPARED = {**SEARCHES, "rank-nosh + synflow": replace(RANK_NOSH, proxy=SynFlow())}
"""The named searches, and `rank-nosh` with 200 untrained architectures labelled by a proxy."""

BUDGETS = {"nasbench201": (1000, 1500, 2000, 3000, 5000), "bench125": (200, 400, 600, 1000, 1600)}
"""Epochs: 5 to 25 full trainings on NAS-Bench-201, 5 to 40 on bench125."""

FOLD = 5
"""The reduction that the paper states (Wang-2021, Sec. 4.1.2.1; on the DARTS space, against arch2vec)."""

FULL_BUDGETS = (1000, 2000, 3000)
"""Of `rank-full` on bench125, in the check of that: 25 to 75 of the 125 architectures trained to the end."""


@dataclass(frozen=True)
class Cells:
    """One search on one table."""

    table: str
    search: str
    budget: int
    seed: int

    @property
    def cell(self) -> Cell:
        return {"table": self.table, "search": self.search, "budget": self.budget, "seed": self.seed}

    def run(self, workplace: Workplace) -> dict[str, Any]:
        began = time.perf_counter()
        untrained = level_zero(self.search, self.table, self.seed)
        where = backend(self.table, self.seed)
        course = Course(COMPARED[self.search], where, self.budget, self.seed, untrained=untrained)
        found = run_here(course, workplace)
        return {
            "architecture": dict(found.architecture.items),
            "valid_accuracy": found.labels[-1],
            "epochs": course.nosh.spent.epochs,
            "table_seconds": round(course.nosh.spent.seconds, 1),
            "candidates": len(course.nosh.candidates),
            "search_seconds": round(time.perf_counter() - began, 3),
        }


def backend(table: str, seed: int) -> Backend:
    """On bench125 a search sees one training of each architecture; seeds take turns."""
    if table == "nasbench201":
        return ScheduleBackend(Table.embedded(), "cifar10")
    curves = CurveTable.embedded(table)
    return CurveBackend(curves, seed % curves.seeds)


@cache
def level_zero(search: str, table: str, seed: int) -> Mapping[Architecture, float]:
    """Scores of untrained architectures, at 3 cells and 8 channels; the same at every budget."""
    space = oche.space(table)
    size = space.replace(supernet_stack=replace(space.supernet_stack, cells=3, channels=8))
    digits = oche.ImageTask(channels=1, height=8, width=8, classes=10)
    task, by = TASKS["cifar10"] if table == "nasbench201" else digits, COMPARED[search]
    return by.level_zero(by.scorer(size, task, None, seed))


def test_accuracy(table: str, architecture: Architecture) -> float:
    """The truth, which no search sees."""
    if table == "nasbench201":
        return Truth.embedded().accuracy(architecture, "cifar10")
    return CurveTruth.embedded(table).accuracy(architecture)


def tasks(seeds: int) -> Iterator[Task]:
    for table, budgets in BUDGETS.items():
        for budget in budgets:
            for search in COMPARED:
                yield from (Cells(table, search, budget, seed) for seed in range(seeds))
    for budget in FULL_BUDGETS:
        for seed in range(seeds):
            yield Cells("bench125", "rank-full", budget, seed)
            yield Cells("bench125", "rank-nosh", budget // FOLD, seed)


class Printed:
    """One line per finished cell."""

    def finished(self, entry: Entry) -> None:
        print(f"{cell_name(entry['cell'])}: {entry.get('test_accuracy', entry.get('error'))}", flush=True)


def scored(done: Done) -> dict[str, Any]:
    """With the test accuracy of what was found."""
    table = str(done.cell["table"])
    found = Architecture.of(table, done.value["architecture"])
    return {**done.value, "test_accuracy": round(test_accuracy(table, found), 4)}


def by_seed(ledger: Ledger, name: str, table: str, search: str, budget: int) -> dict[int, float]:
    """A value of the results, by seed."""
    wanted = {"table": table, "search": search, "budget": budget}
    found = ledger.select(lambda entry: wanted.items() <= entry["cell"].items())
    return {entry["cell"]["seed"]: entry[name] for entry in found}


def accuracies(ledger: Ledger, table: str, search: str, budget: int) -> dict[int, float]:
    """Test accuracy by seed."""
    return by_seed(ledger, "test_accuracy", table, search, budget)


def interval(values: list[float]) -> tuple[float, float]:
    """A percentile bootstrap interval of the mean; of equal values, that value."""
    if min(values) == max(values):
        return values[0], values[0]
    return bootstrapped(values)


def report(ledger: Ledger) -> None:
    """Print the tables."""
    for table, budgets in BUDGETS.items():
        print(f"\n{table}: test accuracy, mean [95 % interval of the mean], n by seed")
        print("| search | " + " | ".join(f"{b:,} epochs" for b in budgets) + " | seconds per search |")
        print("|---" * (len(budgets) + 2) + "|")
        for search in COMPARED:
            cells = []
            for budget in budgets:
                values = list(accuracies(ledger, table, search, budget).values())
                low, high = interval(values)
                cells.append(f"{mean(values):.2f} [{low:.2f}, {high:.2f}]")
            seconds = by_seed(ledger, "search_seconds", table, search, budgets[-1])
            print(f"| {search} | {' | '.join(cells)} | {mean(seconds.values()):.1f} |")
    print(f"\nbench125: rank-nosh at 1/{FOLD} of the budget of rank-full")
    for budget in FULL_BUDGETS:
        full = accuracies(ledger, "bench125", "rank-full", budget)
        nosh = accuracies(ledger, "bench125", "rank-nosh", budget // FOLD)
        differences = [nosh[seed] - full[seed] for seed in sorted(full.keys() & nosh.keys())]
        low, high = interval(differences)
        spread = stdev(differences) if len(differences) > 1 else 0.0
        print(
            f"{budget:,} epochs: {mean(full.values()):.2f}; {budget // FOLD:,} epochs: {mean(nosh.values()):.2f}; "
            f"difference {mean(differences):+.2f} +- {spread:.2f} [{low:+.2f}, {high:+.2f}], n={len(differences)}"
        )


def draw(ledger: Ledger, path: Path) -> None:
    """Accuracy against budget: means and intervals."""
    figure = Figure(figsize=(13, 5), layout="constrained")
    axes: Any = figure.subplots(1, len(BUDGETS))
    for axis, (table, budgets) in zip(axes, BUDGETS.items(), strict=True):
        for number, search in enumerate(COMPARED):
            colour, style = COLOURS[number % len(COLOURS)], "-" if number < len(COLOURS) else "--"
            values = [list(accuracies(ledger, table, search, budget).values()) for budget in budgets]
            means = np.array([mean(v) for v in values])
            ends = np.array([interval(v) for v in values]).T
            shifted = np.array(budgets) * 1.02 ** (number - len(COMPARED) / 2)  # so that bars do not hide each other
            errors = np.abs(ends - means)
            axis.errorbar(shifted, means, errors, label=search, color=colour, ls=style, marker="o", ms=4, capsize=3)
        axis.set_xscale("log")
        axis.set_xticks(budgets, [f"{b:,}" for b in budgets])
        axis.minorticks_off()
        axis.set_xlabel("epochs of training that the search may spend")
        axis.set_ylabel("test accuracy of the chosen architecture, %")
        axis.set_title(table)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description="Searches by query on both tables.")
    parser.add_argument("results", type=Path, help="the results file")
    parser.add_argument("--seeds", type=int, default=10, help="of each search at each budget (default: 10)")
    parser.add_argument("--figure", type=Path, help="draw accuracy against budget to this file")
    parser.add_argument("--report", action="store_true", help="compute nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    ledger = Ledger.take(args.results, KIND, {})
    if not args.report:
        remaining = tasks(args.seeds)
        with ledger.lock():
            run_campaign(ledger, lambda ledger: remaining, Here(), Printed(), finish=scored)
    report(ledger)
    if args.figure:
        draw(ledger, args.figure)


if __name__ == "__main__":
    main()
