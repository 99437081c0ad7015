"""A user's table: a CSV file, gzipped or not, with the columns of `oche.bench.columns`.

Every column must be there, in any order, and no other. Every one of the 15,625 architectures has one row, in any
order: tables of a part of the space are refused, because an average or a rank over them would mean something else.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from oche.bench.columns import ALL_COLUMNS, INDEX, PARAMETERS, SECONDS, STRING, TRIALS, Columns
from oche.bench.encoding import SIZE, index, string_of_index
from oche.errors import InputError

Row: TypeAlias = tuple[int, list[str]]
"""The number of a line, for messages, and its cells."""

GZIP_MAGIC = b"\x1f\x8b"
SHOWN = 5
"""Missing or repeated indices that a message lists."""


def read_csv(path: Path | str, wanted: Collection[str]) -> Columns:
    """Read and check a whole table, and keep the columns that are wanted.

    Args:
        path: the file.
        wanted: columns to keep, by name. The others are checked too, so that a table which fails to score the
            result of a search fails before the search, but their values are dropped.

    Raises:
        InputError: the file cannot be read, columns or rows are missing, repeated or unknown, or a value is not in
            its range; the message names the file, and the line where there is one.
    """
    try:
        columns = _checked(_text(Path(path)))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return {name: columns[name] for name in wanted}


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if content.startswith(GZIP_MAGIC):
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")  # spreadsheets write a byte order mark
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"cannot read this table, which must be CSV, gzipped or not: {error}") from None


def _checked(text: str) -> Columns:
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = next(reader, [])
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise InputError(f"line {reader.line_num}: this is no CSV: {error}") from None
    _check_header(header)
    for line, cells in rows:
        if len(cells) != len(header):
            raise InputError(f"line {line}: a row needs {len(header)} cells, as the header has, but has {len(cells)}")
    position = {name: i for i, name in enumerate(header)}
    rows = _ordered(rows, position[INDEX], position[STRING])
    return {
        name: _values(name, [(line, cells[i]) for line, cells in rows])
        for name, i in position.items()
        if name not in (INDEX, STRING)
    }


def _check_header(header: Sequence[str]) -> None:
    faults = {
        "missing": [name for name in ALL_COLUMNS if name not in header],
        "unknown": [name for name in header if name not in ALL_COLUMNS],
        "repeated": [name for name, count in Counter(header).items() if count > 1],
    }
    if any(faults.values()):
        said = "; ".join(f"{fault}: {', '.join(map(repr, names))}" for fault, names in faults.items() if names)
        raise InputError(f"the columns must be those of NAS-Bench-201 (oche/bench/columns.py), but {said}")


def _ordered(rows: Sequence[Row], index_at: int, string_at: int) -> list[Row]:
    """The rows in the benchmark's order, each of its architectures once."""
    found: dict[int, Row] = {}
    for row in rows:
        line, cells = row
        try:
            i = index(cells[string_at])
        except InputError as error:
            raise InputError(f"line {line}: {error}") from None
        if cells[index_at] != str(i):
            raise InputError(
                f"line {line}: {cells[string_at]} has index {i} in NAS-Bench-201, but the row says {cells[index_at]!r}"
            )
        if i in found:
            raise InputError(f"lines {found[i][0]} and {line} are both of index {i}; each architecture has one row")
        found[i] = row
    missing = [i for i in range(SIZE) if i not in found]
    if missing:
        listed = ", ".join(str(i) for i in missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise InputError(
            f"a table needs all {SIZE} architectures, but {len(missing)} have no row: index {listed}; "
            f"the first is {string_of_index(missing[0])}"
        )
    return [found[i] for i in range(SIZE)]


def _values(name: str, cells: Sequence[tuple[int, str]]) -> NDArray[np.float64]:
    values = np.array([_number(text) for _, text in cells])
    if name == SECONDS:
        need, fine = "seconds, above 0", (values > 0) & (values < np.inf)
    elif name == PARAMETERS:
        need, fine = "a whole number above 0", (values > 0) & (values < np.inf) & (values == np.floor(values))
    else:
        need, fine = "a percentage from 0 to 100", (values >= 0) & (values <= 100)
    if name in TRIALS:
        need, fine = f"{need}, or empty", fine | np.array([text == "" for _, text in cells])
    if not fine.all():
        line, text = cells[int(fine.argmin())]
        raise InputError(f"line {line}: {name} must be {need}, but got {text!r}")
    return values


def _number(text: str) -> float:
    """The number in a cell; NaN, which is in no range, where there is none."""
    try:
        return float(text)
    except ValueError:
        return np.nan
