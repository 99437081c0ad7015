"""Figures of a comparison: the true accuracy of the current selection along each search, and what goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oche.campaign.ledger import Ledger
from oche.compare.plan import Arena, Comparison
from oche.compare.statistics import anytime, references
from oche.files import writing

DASHES = ("-", "--", ":")
"""Of the means of methods that share a colour."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Okabe and Ito's, which people with any kind of colour vision tell apart."""

LEGEND_COLUMNS = 6

FAINTEST, STRONGEST = 0.12, 0.45
"""Opacity of the lines of single seeds: the more there are, the fainter each."""

SEEDS_AT_FULL_STRENGTH = 9

MARGIN = 1.0
"""Percentage points around the curves."""

PANELS = ("test accuracy of the selection, %", "supernet validation accuracy, %", "IES, share of the start")


def draw_comparison(path: Path, comparison: Comparison, ledger: Ledger) -> None:
    """Draw one row of panels per arena: thin lines are seeds, thick ones their means.

    Raises:
        InputError: the file cannot be written.
    """
    arenas = comparison.arenas
    figure = Figure(figsize=(15, 4.4 * len(arenas)), layout="constrained")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(len(arenas), len(PANELS), squeeze=False)
    for arena, axes in zip(arenas, grid, strict=True):
        _draw_arena(axes, arena, comparison, ledger)
    shown = {
        label: handle for axis in grid.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    if shown:
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=LEGEND_COLUMNS, fontsize=9)
    with writing(path):
        figure.savefig(path, dpi=120)


def _draw_arena(axes: Sequence[Any], arena: Arena, comparison: Comparison, ledger: Ledger) -> None:
    space = arena.setting.space
    lines_in_all = len(comparison.searches) * len(comparison.seeds)
    alpha = max(STRONGEST * min(SEEDS_AT_FULL_STRENGTH / lines_in_all, 1.0), FAINTEST)
    for number, name in enumerate(comparison.searches):
        entries = [entry for entry in ledger.select(arena.is_mine) if entry["cell"].get("method") == name]
        lines = (
            [anytime(space, arena.judge, entry) for entry in entries],
            [entry.get("valid_accuracy", []) for entry in entries],  # searches by query have no such curves
            [_relative(entry.get("entropy", [])) for entry in entries],
        )
        for axis, curves, first in zip(axes, lines, (0, 1, 1), strict=True):
            _draw_curves(axis, curves, first, name, number, alpha)
    ranking = arena.judge.ranking(references(arena, ledger))
    if ranking is not None:
        lower, median, _ = ranking.quartiles
        axes[0].axhspan(ranking.accuracies.min(), lower, color="0.5", alpha=0.12, lw=0, label="collapsed")
        axes[0].axhline(median, color="0.5", lw=0.8, ls="--", label="median architecture")
        axes[0].axhline(ranking.accuracies.max(), color="0.5", lw=0.8, ls=":", label="best architecture")
        # The worst architectures of a space may be far below everything that is of interest.
        shown = [y for line in axes[0].get_lines() for y in line.get_ydata()]
        axes[0].set_ylim(min(*shown, lower) - MARGIN, ranking.accuracies.max() + MARGIN)
    for axis, title in zip(axes, PANELS, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("epoch of the search")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"{space.name} on {arena.setting.data.name}")


def _draw_curves(
    axis: Any, curves: Sequence[Sequence[float]], first: int, name: str, number: int, alpha: float
) -> None:
    """The curves of a method and their mean, in a colour of its own, and when these are used up with other dashes."""
    colour, dashes = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
    curves = [curve for curve in curves if curve]
    for curve in curves:
        axis.plot(range(first, first + len(curve)), curve, color=colour, lw=0.8, alpha=alpha)
    if curves:
        common = min(map(len, curves))
        mean = np.mean([curve[:common] for curve in curves], axis=0)
        label = f"{name}, mean of {len(curves)}"
        axis.plot(range(first, first + common), mean, color=colour, ls=dashes, lw=2.2, label=label)


def _relative(entropy: Sequence[float]) -> list[float]:
    return [value / entropy[0] for value in entropy] if entropy and entropy[0] else []
