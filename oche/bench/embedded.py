"""The embedded files: `nasbench201/{order,valid,test}.npy`, written by `benchmarks/embed_nasbench201.py`.

Each is one NumPy array without compression and without pickles, in the benchmark's order. `valid` and `test` are
records with one little-endian 32-bit integer per column of the CSV file, in units of `1 / SCALE`. That is exact: the
CSV file has at most four decimals, and dividing by a power of ten gives the floating-point number nearest to the
decimal one, which is also what `float` makes of the text.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oche.bench.columns import PARAMETERS, Columns

SCALE = 10_000
"""Stored integers per unit; the CSV file has four decimals. Numbers of parameters are whole and stored as they are."""

BLANK = -1
"""Stored where the CSV file has an empty cell; no column has negative numbers."""


def scale(column: str) -> int:
    """Stored integers per unit of a column."""
    return 1 if column == PARAMETERS else SCALE


def read_embedded(name: str) -> NDArray[Any]:
    """The array of one embedded file."""
    with (files("oche.bench") / "nasbench201" / name).open("rb") as file:
        array: NDArray[Any] = np.load(file, allow_pickle=False)
    return array


def embedded_columns(name: str) -> Columns:
    """The columns of one embedded file as floating-point numbers, NaN where the CSV file is empty."""
    records = read_embedded(name)
    return {
        column: np.where(records[column] == BLANK, np.nan, records[column] / scale(column))
        for column in records.dtype.fields or ()
    }
