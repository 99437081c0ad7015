"""Write the embedded NAS-Bench-201 files of `oche/bench/nasbench201/` from the table as CSV.

1. The strings of the table, in the order of its index, give `order.npy`.
2. The table is read and checked as a user's table is (`oche.bench.csv_file`).
3. Its best architectures and the all-skip architecture must be those that its source states (`CHECKS`).
4. Columns become records of 32-bit integers (`oche.bench.embedded`). A value that these do not give back exactly
   ends the program.

The same table gives the same bytes again. Sizes and SHA-256 sums are printed; the sums stand in the README beside
the files, and a test compares them.

Usage: python benchmarks/embed_nasbench201.py nasbench201.csv.gz [--out oche/bench/nasbench201]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oche.bench.columns import INDEX, STRING, TEST_COLUMNS, VALID_COLUMNS, Columns
from oche.bench.csv_file import read_csv
from oche.bench.embedded import BLANK, scale
from oche.bench.encoding import SIZE, code_of_string

HERE = Path(__file__).resolve().parents[1] / "oche" / "bench" / "nasbench201"

# Stated by the source of the table: column, index, value, and whether it is the best of the column.
CHECKS = (
    ("cifar10_test_200", 6111, 94.3733, True),
    ("cifar100_test_200", 9930, 73.5133, True),
    ("imagenet16_test_200", 857, 47.3111, True),
    ("cifar10_test_200", 1835, 54.297, False),
    ("cifar100_test_200", 1835, 15.607, False),
    ("imagenet16_test_200", 1835, 16.322, False),
)
STATED_ROUNDING = 5e-4  # the last three are stated with three decimals


def order(path: Path) -> NDArray[np.uint16]:
    """The code of each architecture, by index."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = sorted((int(row[INDEX]), row[STRING]) for row in csv.DictReader(file))
    codes = np.array([code_of_string(string) for _, string in rows], dtype="<u2")
    if [i for i, _ in rows] != list(range(SIZE)) or len(set(codes.tolist())) != SIZE:
        raise SystemExit(f"{path}: the table needs each of {SIZE} architectures once, with the indices from 0")
    return codes


def check(columns: Columns) -> None:
    """Compare with what the source states."""
    for column, i, stated, best in CHECKS:
        values = columns[column]
        if abs(values[i] - stated) > STATED_ROUNDING or (best and values.argmax() != i):
            raise SystemExit(f"{column}: index {i} must have {stated}, best={best}, but got {values[i]}")


def records(columns: Columns, names: tuple[str, ...]) -> NDArray[np.void]:
    """The columns as records of integers that give every value back."""
    array = np.empty(SIZE, dtype=[(name, "<i4") for name in names])
    for name in names:
        values, blank = columns[name], np.isnan(columns[name])
        array[name] = np.where(blank, BLANK, np.rint(np.nan_to_num(values) * scale(name)))
        if not np.array_equal(np.where(blank, np.nan, array[name] / scale(name)), values, equal_nan=True):
            raise SystemExit(f"{name}: a value is no multiple of 1 / {scale(name)}")
    return array


def write(path: Path, array: NDArray[np.generic]) -> None:
    """Save an array, and print what identifies the file."""
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}  {path.stat().st_size:,} bytes")


def main(arguments: list[str] | None = None) -> None:
    """Read, check, write."""
    parser = argparse.ArgumentParser(description="Write the embedded NAS-Bench-201 files.")
    parser.add_argument("table", type=Path, help="nasbench201.csv.gz")
    parser.add_argument("--out", type=Path, default=HERE, help="directory of the files")
    args = parser.parse_args(arguments)
    print(f"{hashlib.sha256(args.table.read_bytes()).hexdigest()}  {args.table.name}")
    # First, because reading the table below compares its indices with the package's order.npy.
    write(args.out / "order.npy", order(args.table))
    columns = read_csv(args.table, VALID_COLUMNS + TEST_COLUMNS)
    check(columns)
    write(args.out / "valid.npy", records(columns, VALID_COLUMNS))
    write(args.out / "test.npy", records(columns, TEST_COLUMNS))


if __name__ == "__main__":
    main()
