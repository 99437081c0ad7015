"""What a look into a supernet has found, as text and as a figure (Wang-2021, Fig. 2.1 to 2.3, Table 2.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oche.files import writing
from oche.probe.strength import Advantage, Shuffle, Strength
from oche.report.anytime import COLOURS
from oche.report.words import counted, new_console, new_table, print_block, print_line
from oche.score import ACCURACY, Score, judged_by, percent

WEIGHT, STRENGTH = COLOURS[0], COLOURS[4]
"""Blue and orange, as in Fig. 2.1."""

PANELS_PER_ROW = 3


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What was looked at.

    Attributes:
        strengths: of the candidates of some edges, edge by edge.
        advantages: of skip connections along the search.
        shuffle: the supernet with exchanged edges; None: it was not looked at.
    """

    strengths: tuple[Strength, ...]
    advantages: tuple[Advantage, ...]
    shuffle: Shuffle | None

    @property
    def edges(self) -> list[list[Strength]]:
        """The strengths of each edge."""
        return [list(of_edge) for _, of_edge in groupby(self.strengths, lambda strength: strength.key)]

    @property
    def agreeing(self) -> int:
        """Edges whose candidate with the largest mixing weight is also the strongest; `none` competes."""
        return sum(_value(max(edge, key=lambda s: s.weight)) == _best(edge) for edge in self.edges)


def print_diagnosis(found: Diagnosis) -> None:
    """Print tables and one sentence on each question."""
    console = new_console()
    if found.strengths:
        score = _score(found.strengths)
        table = new_table("edge", "candidate", "mixing weight", f"{score.name}, discretized and trained on")
        for edge in found.edges:
            for i, s in enumerate(edge):
                mark = " *" if _value(s) == _best(edge) else ""
                row = (s.key if i == 0 else "", str(s.candidate), f"{s.weight:.3f}")
                table.add_row(*row, score.text(_value(s)) + mark)
        print_block(console, table)
        print_line(
            console,
            f"the largest mixing weight is on the strongest candidate (*) of {found.agreeing} of "
            f"{counted(len(found.edges), 'edge')}",
        )
    if found.advantages:
        first, last = found.advantages[0], found.advantages[-1]
        print_line(
            console,
            f"advantage of skip connections: {first.gap:+.3f} after epoch {first.epoch}, "
            f"{last.gap:+.3f} after epoch {last.epoch}",
        )
    if found.shuffle is not None:
        before, after = found.shuffle.before["accuracy"], [m["accuracy"] for m in found.shuffle.after]
        spread = f" +- {100 * stdev(after):.2f}" if len(after) > 1 else ""
        print_line(
            console,
            f"accuracy {percent(before)}, with two edges exchanged in every cell {100 * mean(after):.2f}{spread} % "
            f"(n={len(after)})",
        )


def draw_diagnosis(path: Path, found: Diagnosis) -> None:
    """Draw the strengths of each edge beside its mixing weights, and the advantage of skips along the search.

    Raises:
        InputError: the file cannot be written.
    """
    panels: list[Any] = [*found.edges, *([found.advantages] if found.advantages else [])]
    rows = max(-(-len(panels) // PANELS_PER_ROW), 1)
    figure = Figure(figsize=(5 * PANELS_PER_ROW, 3.8 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, PANELS_PER_ROW, squeeze=False).flat
    for axis, panel in zip(axes, panels, strict=False):
        if panel is found.advantages:
            _draw_advantages(axis, found.advantages)
        else:
            _draw_edge(axis, panel)
    for axis in list(axes)[len(panels) :]:
        axis.set_axis_off()
    with writing(path):
        figure.savefig(path, dpi=120)


def _draw_edge(axis: Any, edge: Sequence[Strength]) -> None:
    places = range(len(edge))
    axis.bar([i - 0.2 for i in places], [s.weight for s in edge], 0.4, color=WEIGHT)
    axis.set_ylabel("mixing weight", color=WEIGHT)
    axis.set_xticks(list(places), [str(s.candidate) for s in edge], rotation=40, ha="right", fontsize=8)
    axis.set_title(edge[0].key, fontsize=10)
    right = axis.twinx()
    score = _score(edge)
    values = [score.scale * _value(s) for s in edge]
    right.bar([i + 0.2 for i in places], values, 0.4, color=STRENGTH)
    margin, highest = max(max(values) - min(values), 1.0) / 2, 100.0 if score is ACCURACY else math.inf
    right.set_ylim(max(min(values) - margin, 0.0), min(max(values) + margin, highest))
    right.set_ylabel(f"{score.name} after training on" + ", %" * (score is ACCURACY), color=STRENGTH)


def _score(strengths: Sequence[Strength]) -> Score:
    """By what candidates are judged."""
    return judged_by(strengths[0].measured)


def _value(strength: Strength) -> float:
    return strength.measured[_score([strength]).name]


def _best(edge: Sequence[Strength]) -> float:
    return _score(edge).best(map(_value, edge))


def _draw_advantages(axis: Any, advantages: Sequence[Advantage]) -> None:
    shown = [a for a in advantages if "accuracy" in a.measured]
    points = axis.scatter(
        [100 * a.measured["accuracy"] for a in shown], [a.gap for a in shown], c=[a.epoch for a in shown], s=18
    )
    axis.figure.colorbar(points, ax=axis, label="epoch", ticks=MaxNLocator(integer=True))
    axis.axhline(0, color="0.6", lw=0.8)
    axis.set_xlabel("validation accuracy of the supernet, %")
    axis.set_title("advantage of skip connections", fontsize=10)
