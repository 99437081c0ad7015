import gzip
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from oche.bench.columns import ALL_COLUMNS, TEST_COLUMNS, VALID_COLUMNS
from oche.bench.table import Table
from oche.bench.truth import Truth
from oche.errors import InputError

ROOT = Path(__file__).resolve().parents[2]

Write = Callable[[list[str]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(lines: list[str]) -> Path:
        path = tmp_path / "mine.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return to_file


def refused(path: Path, read: Callable[[Path], object] = Table.read) -> str:
    """The message with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def same(table: Table, truth: Truth) -> None:
    """Every column equals that of the embedded table."""
    for ours, theirs in ((Table.embedded(), table), (Truth.embedded(), truth)):
        assert ours._columns.keys() == theirs._columns.keys()
        for name, values in ours._columns.items():
            assert np.array_equal(values, theirs._columns[name], equal_nan=True), name


def test_a_table_in_any_order_of_rows_and_columns_gzipped_or_not(
    lines: list[str], write: Write, tmp_path: Path
) -> None:
    plain = write(lines)
    same(Table.read(plain), Truth.read(str(plain)))

    rng = random.Random(0)
    head, *rows = lines
    order = list(range(len(ALL_COLUMNS)))
    rng.shuffle(order)
    rng.shuffle(rows)
    shuffled = [",".join(line.split(",")[i] for i in order) for line in (head, *rows)]
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(("\ufeff" + "\r\n".join(shuffled)).encode()))
    same(Table.read(packed), Truth.read(packed))


def test_values_of_a_users_own(lines: list[str], header: list[str], write: Write) -> None:
    cells = lines[7].split(",")
    cells[header.index("cifar100_valid_12")] = "12.3456789"
    cells[header.index("cifar100_test_12")] = "100"
    path = write([*lines[:7], ",".join(cells), *lines[8:]])
    assert Table.read(path).accuracy(6, "cifar100", epochs=12) == 12.3456789
    truth = Truth.read(path)
    assert truth.accuracy(6, "cifar100", epochs=12) == 100.0
    assert truth.best("cifar100", epochs=12) == 6


@pytest.mark.parametrize(
    ("column", "cell", "need"),
    [
        ("cifar10_valid_200", "", "a percentage from 0 to 100, but got ''"),
        ("cifar10_valid_200", "nan", "a percentage from 0 to 100, but got 'nan'"),
        ("cifar100_valid_12", "100.0001", "a percentage from 0 to 100, but got '100.0001'"),
        ("imagenet16_test_12", "-0.1", "a percentage from 0 to 100"),
        ("cifar10_test_200", "good", "a percentage from 0 to 100, but got 'good'"),
        ("cifar10_test_200_trial2", "nan", "a percentage from 0 to 100, or empty"),
        ("cifar10_test_200_trial3", " ", "a percentage from 0 to 100, or empty"),
        ("cifar10_cost_12_s", "0", "seconds, above 0"),
        ("cifar10_cost_12_s", "inf", "seconds, above 0, but got 'inf'"),
        ("params_cifar10", "73306.5", "a whole number above 0, but got '73306.5'"),
        ("params_cifar10", "-1", "a whole number above 0"),
        ("params_cifar10", "inf", "a whole number above 0"),
    ],
)
def test_a_value_out_of_range(
    lines: list[str], header: list[str], write: Write, column: str, cell: str, need: str
) -> None:
    cells = lines[41].split(",")
    cells[header.index(column)] = cell
    message = refused(write([*lines[:41], ",".join(cells), *lines[42:]]))
    assert f"line 42: {column} must be {need}" in message


@pytest.mark.parametrize("column", ["cifar100_valid_200", "cifar100_test_200"])
def test_both_readers_refuse_the_same_tables(lines: list[str], header: list[str], write: Write, column: str) -> None:
    """A table whose result could not be scored starts no search, though the search drops the test columns."""
    cells = lines[1].split(",")
    cells[header.index(column)] = "1e3"
    path = write([lines[0], ",".join(cells), *lines[2:]])
    assert refused(path, Table.read) == refused(path, Truth.read)


def test_missing_rows(lines: list[str], write: Write) -> None:
    message = refused(write([*lines[:101], *lines[102:]]))
    assert "needs all 15625 architectures, but 1 have no row: index 100; the first is |" in message
    message = refused(write(lines[:31]))
    assert "15595 have no row: index 30, 31, 32, 33, 34, ...; the first is |" in message
    assert "15625 have no row" in refused(write(lines[:1]))


def test_repeated_rows(lines: list[str], write: Write) -> None:
    message = refused(write([*lines, lines[3]]))
    assert "lines 4 and 15627 are both of index 2; each architecture has one row" in message


def test_a_row_whose_index_is_another_architectures(lines: list[str], write: Write) -> None:
    for wrong in ("4", "", "3.0", "15625"):
        message = refused(write([*lines[:4], wrong + "," + lines[4].split(",", 1)[1], *lines[5:]]))
        assert f"has index 3 in NAS-Bench-201, but the row says {wrong!r}" in message
        assert "line 5: |" in message


def test_a_row_of_an_unknown_architecture(lines: list[str], write: Write) -> None:
    message = refused(write([*lines[:4], lines[4].replace("none~1", "nome~1"), *lines[5:]]))
    assert "line 5: unknown operation 'nome'; did you mean 'none'?" in message


@pytest.mark.parametrize(("row", "count"), [("3,|none~0|", 2), (" ", 1), ("," * 19, 20)])
def test_rows_of_another_length(lines: list[str], write: Write, row: str, count: int) -> None:
    message = refused(write([*lines[:4], row, *lines[5:]]))
    assert f"line 5: a row needs 19 cells, as the header has, but has {count}" in message


def test_other_columns(lines: list[str], write: Write) -> None:
    head = lines[0]
    message = refused(write([head.replace("cifar10_valid_200", "svhn_valid_200"), *lines[1:]]))
    assert "missing: 'cifar10_valid_200'; unknown: 'svhn_valid_200'" in message
    message = refused(write([head.replace("cifar100_valid_12", "cifar100_valid_200"), *lines[1:]]))
    assert "missing: 'cifar100_valid_12'; repeated: 'cifar100_valid_200'" in message
    message = refused(write([f"{line},extra" for line in lines]))
    assert "but unknown: 'extra'" in message


def test_files_that_are_no_table(lines: list[str], write: Write, tmp_path: Path) -> None:
    assert "cannot read this table" in refused(tmp_path / "nowhere.csv")
    assert "cannot read this table" in refused(tmp_path)
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert "missing: 'idx', 'arch'" in refused(empty)
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(255)))
    assert "must be CSV, gzipped or not" in refused(binary)
    packed = gzip.compress("\n".join(lines).encode())
    cut = tmp_path / "cut.gz"
    cut.write_bytes(packed[: len(packed) // 2])
    assert "must be CSV, gzipped or not" in refused(cut)
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(packed[:5000] + bytes(50) + packed[5050:])
    assert "must be CSV, gzipped or not" in refused(damaged)
    quote = write([lines[0], '"' + "x" * 200_000])
    assert "line 2: this is no CSV" in refused(quote)


def test_the_script_writes_the_embedded_files_again(
    script: ModuleType, lines: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the table as CSV come the same bytes as in the package, so none of its values is lost on the way."""
    source = tmp_path / "nasbench201.csv.gz"
    source.write_bytes(gzip.compress("\n".join(lines).encode()))
    script.main([str(source), "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    for name in ("order.npy", "valid.npy", "test.npy"):
        assert (tmp_path / name).read_bytes() == (ROOT / "oche" / "bench" / "nasbench201" / name).read_bytes()
        assert name in printed


def test_the_script_refuses_what_it_could_not_give_back(script: ModuleType, lines: list[str], write: Write) -> None:
    columns = {name: np.full(15_625, 50.0) for name in (*VALID_COLUMNS, *TEST_COLUMNS)}
    columns["cifar10_valid_12"][7] = 12.34567
    with pytest.raises(SystemExit, match="cifar10_valid_12: a value is no multiple of 1 / 10000"):
        script.records(columns, VALID_COLUMNS)
    with pytest.raises(SystemExit, match="cifar10_test_200: index 6111 must have 94"):
        script.check(columns)
