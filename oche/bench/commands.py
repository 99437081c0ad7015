"""The commands `oche bench build` and `oche bench show`."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import kendalltau

from oche.api import resolve_device
from oche.bench.build import KIND, Plan, write_table
from oche.bench.curve_truth import CurveTruth
from oche.campaign.data import CampaignData
from oche.campaign.executors import make_executor
from oche.campaign.ledger import Entry, Ledger
from oche.campaign.run import run_campaign, without
from oche.campaign.watch import CampaignProgress
from oche.config.options import BuildCommand, OutputOptions
from oche.config.resolve import resolve_protocol, resolve_space
from oche.presets import preset
from oche.report.words import new_console, new_table, print_json, print_line
from oche.runs.provenance import this_machine

LEDGER = "trainings.jsonl"
"""Of a table that is being built; it stays beside the finished one."""

EMBEDDED = ("bench125",)
"""Tables of curves that come with the package."""

AGREEMENT = 0.6
"""Kendall's tau between the ranking by one seed and by the mean of the others, below which a table says little."""


def build(directory: Path, options: BuildCommand, output: OutputOptions) -> None:
    """Train every architecture of a space, and write the table; what is done already is not done again.

    Raises:
        InputError: something in the options cannot be used, or a training has failed.
        Interrupted: it was stopped, and can go on.
    """
    device = resolve_device(options.device)
    sizes = preset("paper")  # a space's own size, unless options say otherwise
    plan = Plan(
        name=directory.resolve().name,
        space=resolve_space(options.space, sizes),
        data=CampaignData.of(options.data),
        protocol=resolve_protocol(options.train, sizes),
        seeds=options.seeds,
        device=str(device),
    )
    plan.check()
    facts = plan.facts | {"threads": options.threads}
    path = directory / LEDGER
    ledger = Ledger.take(path, KIND, facts, retry_failed=options.retry_failed)
    console = Console()
    with ledger.lock():
        left = without(plan.ready(ledger), ledger)
        shown = CampaignProgress(console, len(left), _words, quiet=output.quiet or output.json)
        remaining = iter(left)  # of tens of thousands, none is looked at twice
        with shown.shown():
            usage = run_campaign(ledger, lambda ledger: remaining, make_executor(options, shown.report), shown)
        write_table(directory, plan, ledger, this_machine(device) | {"threads": options.threads})
    if not (output.quiet or output.json):
        print_line(console, f"wrote {directory}; the processes used {usage.share:.0%} of {usage.cores} cores")
    _show(str(directory), CurveTruth.read(directory), output)


def show(name: str, output: OutputOptions) -> None:
    """Show what a table holds and whether its seeds agree.

    Raises:
        InputError: there is no such table.
    """
    _show(name, CurveTruth.embedded(name) if name in EMBEDDED else CurveTruth.read(name), output)


def _show(name: str, truth: CurveTruth, output: OutputOptions) -> None:
    table = truth.table
    valid = np.stack([table.accuracies(seed=s) for s in range(table.seeds)], axis=1)
    test = np.array([truth.trials(a) for a in table.architectures])
    best = table.architectures[int(truth.ranking.accuracies.argmax())]
    facts: dict[str, Any] = {
        "table": name,
        "space": table.space.name,
        "data": table.about["data"],
        "architectures": len(table.architectures),
        "seeds": table.seeds,
        "epochs": table.epochs,
        "validation accuracy": _spread(valid.mean(axis=1)),
        "test accuracy": _spread(truth.ranking.accuracies),
        "seeds agree (validation)": agreement(valid),
        "seeds agree (test)": agreement(test),
        "validation agrees with test": float(kendalltau(valid.mean(axis=1), truth.ranking.accuracies).statistic),
        "best by test": dict(best.items),
        "hours of training": float(sum(table.seconds(a) for a in table.architectures)) * table.seeds / 3600,
        "machine": table.about["machine"]["device_name"],
    }
    if output.json:
        print_json(facts)
    elif not output.quiet:
        shown = new_table("", "")
        for key, value in facts.items():
            shown.add_row(key, _text(value))
        new_console().print(shown)
        if min(agreement(valid), default=1.0) < AGREEMENT:
            print_line(
                new_console(),
                f"the seeds agree by less than {AGREEMENT} (Kendall's tau): the table says little about its "
                "architectures; make the task harder, train longer, or give more seeds",
            )


def agreement(accuracies: NDArray[np.float64]) -> list[float]:
    """Kendall's tau-b between the ranking by each seed and by the mean of all others.

    Args:
        accuracies: architectures x seeds.

    Returns:
        One number for each seed; none where there is one seed only.
    """
    seeds = accuracies.shape[1]
    others = list(combinations(range(seeds), seeds - 1))[::-1]  # others[k] leaves out seed k
    return [
        float(kendalltau(accuracies[:, list(rest)].mean(axis=1), accuracies[:, k]).statistic)
        for k, rest in enumerate(others)
        if rest
    ]


def _spread(values: NDArray[np.float64]) -> list[float]:
    """Least, quartiles and largest."""
    return [float(v) for v in np.quantile(values, (0, 0.25, 0.5, 0.75, 1))]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "  ".join(f"{v:.2f}" for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _words(entry: Entry) -> str:
    return f"validation accuracy {entry['curves']['valid_accuracy'][-1]:.2f} %, {entry['wall']:.1f} s"
