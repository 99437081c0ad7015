import copy
import csv
import gzip
import hashlib
import pickle
import subprocess
import sys
import timeit
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from oche.bench.columns import EPOCHS
from oche.bench.embedded import read_embedded
from oche.bench.encoding import SIZE, from_index, string_of_index
from oche.bench.table import Table
from oche.bench.truth import Truth
from oche.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = ROOT / "oche" / "bench" / "nasbench201"
SOURCE = ROOT.parent / "shared" / "data" / "nasbench201.csv.gz"

DATA = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16-120": "imagenet16"}

# The limits, times four for busy machines.
LOAD_LIMIT = 4 * 0.1  # seconds
LOOK_UP_LIMIT = 4 * 50e-6  # seconds
SIZE_LIMIT = 2_000_000  # bytes, all files together


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.embedded()


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth.embedded()


def agree(table: Table, truth: Truth, row: dict[str, str]) -> None:
    """Every cell of a row of the source, exactly."""
    i = int(row["idx"])
    assert string_of_index(i) == row["arch"]
    for data, name in DATA.items():
        for epochs in EPOCHS:
            assert table.accuracy(i, data, epochs=epochs) == float(row[f"{name}_valid_{epochs}"])
            assert truth.accuracy(i, data, epochs=epochs) == float(row[f"{name}_test_{epochs}"])
    trials = [row[f"cifar10_test_200_trial{k}"] for k in (1, 2, 3)]
    assert truth.trials(i) == tuple(float(value) for value in trials if value)
    assert table.seconds(i) == float(row["cifar10_cost_12_s"])
    assert table.parameters(i) == int(row["params_cifar10"])


def test_values_are_those_of_the_source_to_the_last_digit(
    table: Table, truth: Truth, sample: list[dict[str, str]]
) -> None:
    assert len(sample) == 30
    for row in sample:
        agree(table, truth, row)


def test_the_whole_source_where_it_is_at_hand(table: Table, truth: Truth) -> None:
    if not SOURCE.is_file():
        pytest.skip(f"{SOURCE} is not here")
    with gzip.open(SOURCE, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == SIZE
    for row in rows:
        agree(table, truth, row)


def test_bests_of_the_paper(table: Table, truth: Truth) -> None:
    """The row "optimal" of the paper's table of results, where it rounds the same means."""
    assert round(table.accuracies("cifar10").max(), 2) == 91.61
    assert round(table.accuracies("cifar100").max(), 2) == 73.49
    assert round(truth.accuracies("cifar10").max(), 2) == 94.37
    assert round(truth.accuracies("cifar100").max(), 2) == 73.51
    assert round(truth.accuracies("imagenet16-120").max(), 2) == 47.31
    assert [truth.best(data) for data in DATA] == [6111, 9930, 857]


def test_parameters_follow_from_the_networks_of_the_paper(table: Table) -> None:
    """Three stages of five cells at 16, 32 and 64 channels; convolutions without bias, each with batch norm."""
    stages = (16, 32, 64)
    stem = 3 * 16 * 9 + 2 * 16
    blocks = sum(c * 2 * c * 9 + 2 * c * 2 * c * 9 + 2 * (2 * 2 * c) + c * 2 * c for c in stages[:2])
    head = 2 * 64 + 64 * 10 + 10
    for i in range(SIZE):
        kernels = Counter(from_index(i).choices.values())
        cell = [
            kernels["nor_conv_1x1"] * (c * c + 2 * c) + kernels["nor_conv_3x3"] * (9 * c * c + 2 * c) for c in stages
        ]
        assert table.parameters(i) == stem + blocks + head + 5 * sum(cell)


def test_networks_whose_output_gets_nothing_guess(table: Table, truth: Truth) -> None:
    """All edges into the output are `none`: accuracy is chance, within what a constant guess can score."""
    for first in ("none", "nor_conv_3x3"):
        arch = f"|{first}~0|+|none~0|none~1|+|none~0|none~1|none~2|"
        for data, classes in {"cifar10": 10, "cifar100": 100, "imagenet16-120": 120}.items():
            assert truth.accuracy(arch, data) == pytest.approx(100 / classes, abs=1e-4)
            assert table.accuracy(arch, data) == pytest.approx(100 / classes, rel=0.05)


def test_three_ways_to_ask(table: Table, truth: Truth) -> None:
    for i in (0, 6111, 15_624):
        ways = (i, string_of_index(i), from_index(i))
        for function in (
            lambda way: table.accuracy(way, "cifar10"),
            lambda way: truth.accuracy(way, "cifar10"),
            table.seconds,
            table.parameters,
            truth.trials,
            lambda way: truth.rank(way, "cifar100"),
        ):
            assert len({function(way) for way in ways}) == 1


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("epochs", EPOCHS)
def test_quartiles_ranks_and_collapse_by_sorting(truth: Truth, data: str, epochs: int) -> None:
    accuracies = [truth.accuracy(i, data, epochs=epochs) for i in range(SIZE)]
    assert truth.accuracies(data, epochs=epochs).tolist() == accuracies
    ordered = sorted(accuracies)
    # SIZE - 1 is a multiple of four, so the quartiles are accuracies of architectures.
    quarter = (SIZE - 1) // 4
    assert truth.quartiles(data, epochs=epochs) == (ordered[quarter], ordered[2 * quarter], ordered[3 * quarter])
    for i in range(0, SIZE, 997):
        assert truth.rank(i, data, epochs=epochs) == 1 + sum(a > accuracies[i] for a in accuracies)
        assert truth.collapsed(i, data, epochs=epochs) is (accuracies[i] < ordered[quarter])
    best = truth.best(data, epochs=epochs)
    assert truth.rank(best, data, epochs=epochs) == 1
    at_the_quartile = accuracies.index(ordered[quarter])
    assert not truth.collapsed(at_the_quartile, data, epochs=epochs)


def test_the_architecture_to_which_darts_collapses_counts_as_collapsed(truth: Truth) -> None:
    assert all(truth.collapsed(1835, data) for data in DATA)
    assert not any(truth.collapsed(truth.best(data), data) for data in DATA)


def test_listed_seeds_and_means(truth: Truth) -> None:
    """The mean of the listed seeds is the mean of the table, but for the 2,416 rows that the docstring names."""
    off = [
        i
        for i in range(SIZE)
        if abs(np.mean(truth.trials(i)) - truth.accuracy(i, "cifar10")) > 1e-4  # both are rounded to four decimals
    ]
    assert len(off) == 2416
    assert Counter(len(truth.trials(i)) for i in off) == {1: 2208, 2: 208}


def test_arrays_are_read_only(table: Table, truth: Truth) -> None:
    for values in (table.accuracies("cifar10"), truth.accuracies("cifar10", epochs=12)):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 100.0


def test_tables_travel_between_processes(table: Table) -> None:
    for twin in (pickle.loads(pickle.dumps(table)), copy.deepcopy(table)):
        assert np.array_equal(twin.accuracies("cifar100"), table.accuracies("cifar100"))


@pytest.mark.parametrize("data", ["svhn", "imagenet16", "CIFAR10", ""])
def test_data_that_the_table_does_not_cover(table: Table, truth: Truth, data: str) -> None:
    for ask in (
        lambda: table.accuracy(0, data),
        lambda: table.accuracies(data),
        lambda: truth.accuracy(0, data),
        lambda: truth.quartiles(data),
        lambda: truth.collapsed(0, data),
    ):
        with pytest.raises(
            InputError, match=f"unknown data of NAS-Bench-201 '{data}'.*cifar10, cifar100, imagenet16-120"
        ):
            ask()


@pytest.mark.parametrize("epochs", [0, 11, 90, 201])
def test_schedules_that_the_table_lacks(table: Table, truth: Truth, epochs: int) -> None:
    for ask in (table.accuracy, truth.accuracy):
        with pytest.raises(InputError, match=f"schedules of 12 and of 200 epochs, but got epochs={epochs}"):
            ask(0, "cifar10", epochs=epochs)


def test_costs_that_the_table_does_not_state(table: Table) -> None:
    with pytest.raises(InputError, match=r"seconds of training for 'cifar10' and 12 epochs only, .* 200 epochs"):
        table.seconds(0, epochs=200)
    with pytest.raises(InputError, match=r"seconds of training .* asked for 'cifar100' and 12 epochs"):
        table.seconds(0, "cifar100")
    with pytest.raises(InputError, match="parameters for 'cifar10' only, but were asked for 'cifar100'"):
        table.parameters(0, "cifar100")


def test_files_are_small_and_those_that_their_readme_names() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir()) < SIZE_LIMIT
    readme = (EMBEDDED / "README.md").read_text(encoding="utf-8")
    for path in EMBEDDED.glob("*.npy"):
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" in readme
    for part in ("Dong, Xuanyi and Yang, Yi", "MIT License", "Copyright (c) since 2019 Xuanyi Dong"):
        assert part in readme


def test_files_mean_the_same_on_every_machine() -> None:
    for name in ("order.npy", "valid.npy", "test.npy"):
        array = read_embedded(name)
        types = [array.dtype[column] for column in array.dtype.names] if array.dtype.names else [array.dtype]
        assert array.shape == (SIZE,)
        assert {dtype.str[0] for dtype in types} == {"<"}


def test_loading_is_quick() -> None:
    """In a new process: our modules, the table and the first look-up; NumPy is there before."""
    code = """
import time, numpy, numpy.typing
start = time.perf_counter()
from oche.bench.table import Table
Table.embedded().accuracy("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", "cifar10")
print(time.perf_counter() - start)
"""
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    best = min(float(run.stdout) for run in runs)
    assert best < LOAD_LIMIT, f"loading must take less than {LOAD_LIMIT} s, but took {best:.3f} s"


def test_a_look_up_is_quick(table: Table, truth: Truth) -> None:
    # New values each time: an architecture builds its mapping of choices on first use.
    values = iter([from_index(i) for i in range(SIZE)])
    string = string_of_index(6111)
    for ask in (
        lambda: table.accuracy(next(values), "cifar10"),
        lambda: table.accuracy(string, "cifar10"),
        lambda: table.accuracy(6111, "cifar10"),
        lambda: truth.accuracy(next(values), "cifar10"),
        lambda: table.seconds(string),
    ):
        best = min(timeit.repeat(ask, number=1000, repeat=5)) / 1000
        assert best < LOOK_UP_LIMIT, f"a look-up must take less than {LOOK_UP_LIMIT} s, but took {best:.2e} s"
