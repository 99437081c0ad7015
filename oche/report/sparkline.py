"""Curves as one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean

BARS = "▁▂▃▄▅▆▇█"

GAP = " "
"""Where there is no number."""


def sparkline(values: Sequence[float | None], width: int) -> str:
    """A line of bars, the lowest for the smallest value and the highest for the largest.

    More values than `width` are averaged in neighbouring groups. A constant series is drawn at half height; None, NaN
    and infinity leave a gap.

    Args:
        values: in order.
        width: characters at most, at least 1.

    Returns:
        `min(len(values), width)` characters.
    """
    columns = min(len(values), width)
    edges = [i * len(values) // columns for i in range(columns)] + [len(values)]
    means = [_mean(values[a:b]) for a, b in pairwise(edges)]
    present = [m for m in means if m is not None]
    low, high = min(present, default=0.0), max(present, default=0.0)
    return "".join(GAP if m is None else _bar(m, low, high) for m in means)


def _mean(values: Sequence[float | None]) -> float | None:
    present = [v for v in values if v is not None and math.isfinite(v)]
    # Exact: rounded means of a constant series would differ in their last bits, and be drawn as full swings.
    return mean(present) if present else None


def _bar(value: float, low: float, high: float) -> str:
    if low == high:
        return BARS[len(BARS) // 2 - 1]
    return BARS[min(int((value - low) / (high - low) * len(BARS)), len(BARS) - 1)]
