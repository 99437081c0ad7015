"""The results file: nothing that was finished is lost, and nothing that is no result is taken for one."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oche.campaign.ledger import FORMAT, Ledger, key_of
from oche.errors import InputError

KIND = "table"
ABOUT = {"seeds": (0, 1), "data": "digits"}


def done(number: int, **values: Any) -> dict[str, Any]:
    return {"cell": {"name": "a", "number": number}, "status": "done", **values}


def failed(number: int) -> dict[str, Any]:
    return {"cell": {"name": "a", "number": number}, "status": "failed", "error": "no", "trace": ""}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A results file with two cells done and one that failed."""
    path = tmp_path / "results.jsonl"
    ledger = Ledger.take(path, KIND, ABOUT)
    with ledger.lock():
        for entry in (done(0, x=1.5), failed(1), done(2, x=[1, 2])):
            ledger.append(entry)
    return path


def test_what_is_appended_is_read_again(path: Path) -> None:
    ledger = Ledger.read(path, KIND)
    assert (ledger.header["seeds"], ledger.header["data"]) == ([0, 1], "digits")
    assert ledger.done({"name": "a", "number": 0}) == done(0, x=1.5)
    assert ledger.done({"number": 2, "name": "a"}) == done(2, x=[1, 2]), "the order of names does not matter"
    assert ledger.failed({"name": "a", "number": 1}) == failed(1)
    assert ledger.done({"name": "a", "number": 1}) is None
    assert ledger.failed({"name": "a", "number": 0}) is None
    assert ledger.done({"name": "a", "number": 9}) is None
    assert ledger.select(lambda entry: entry["cell"]["number"] < 2) == [done(0, x=1.5)]
    assert ledger.select(lambda entry: True) == [done(0, x=1.5), done(2, x=[1, 2])]


def test_numbers_that_are_no_json_are_the_same_before_and_after_reading(path: Path) -> None:
    ledger = Ledger.take(path, KIND, ABOUT)
    with ledger.lock():
        ledger.append(done(3, losses=(1.0, math.nan, math.inf)))
    assert ledger.done(done(3)["cell"]) == done(3, losses=[1.0, None, None])
    assert Ledger.read(path, KIND).entries == ledger.entries


def test_of_two_lines_about_a_cell_the_later_counts(path: Path) -> None:
    ledger = Ledger.take(path, KIND, ABOUT)
    with ledger.lock():
        ledger.append(done(1, x=3))
        ledger.append(failed(0))
    again = Ledger.read(path, KIND)
    assert again.done(done(1)["cell"]) == done(1, x=3)
    assert again.done(done(0)["cell"]) is None
    assert len(again.entries) == 3


@pytest.mark.parametrize("left", [1, 10, -1])
def test_a_line_that_a_kill_has_cut_short_is_dropped_and_the_file_mended(path: Path, left: int) -> None:
    whole = path.read_bytes()
    line = (json.dumps(done(3, x="long enough")) + "\n").encode()
    path.write_bytes(whole + line[:left])
    ledger = Ledger.take(path, KIND, ABOUT)
    assert ledger.done(done(3)["cell"]) is None
    with ledger.lock():
        assert path.read_bytes() == whole
        ledger.append(done(3, x=7))
    assert Ledger.read(path, KIND).done(done(3)["cell"]) == done(3, x=7)
    assert Ledger.read(path, KIND).done(done(2)["cell"]) == done(2, x=[1, 2])


def test_failures_are_kept_unless_they_shall_be_done_again(path: Path) -> None:
    for _ in range(2):
        ledger = Ledger.take(path, KIND, ABOUT)
        with ledger.lock():
            assert ledger.failed(failed(1)["cell"]) == failed(1)
    again = Ledger.take(path, KIND, ABOUT, retry_failed=True)
    assert again.failed(failed(1)["cell"]) is None
    assert Ledger.read(path, KIND).failed(failed(1)["cell"]) == failed(1), "taking it changes nothing yet"
    with again.lock():
        assert again.failed(failed(1)["cell"]) is None
    assert set(Ledger.read(path, KIND).entries) == {key_of(done(n)["cell"]) for n in (0, 2)}


def test_a_file_that_has_grown_between_taking_and_locking(path: Path) -> None:
    slow, quick = Ledger.take(path, KIND, ABOUT), Ledger.take(path, KIND, ABOUT)
    with quick.lock():
        quick.append(done(5, x=1))
        quick.rewrite(quick.header | {"more": 1})
    with slow.lock():
        assert slow.done(done(5)["cell"]) == done(5, x=1)
        assert slow.header["more"] == 1
    assert Ledger.read(path, KIND).done(done(5)["cell"]) == done(5, x=1)


def test_one_process_at_a_time(path: Path) -> None:
    before = path.read_bytes() + b'{"cell'  # as while the other one writes
    code = f"""
import sys
from pathlib import Path
from oche.campaign.ledger import Ledger
from oche.errors import InputError
ledger = Ledger.take(Path({str(path)!r}), {KIND!r}, {{}}, retry_failed=True)
try:
    with ledger.lock():
        print("has it")
except InputError as error:
    print(error)
"""

    def other() -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    ledger = Ledger.take(path, KIND, ABOUT)
    with ledger.lock():
        path.write_bytes(before)
        assert "another process is working on" in other()
        assert path.read_bytes() == before, "it has not touched the file"
    assert other() == "has it\n", "the lock is given back"


def test_the_lock_is_given_back_after_an_error(path: Path) -> None:
    ledger = Ledger.take(path, KIND, ABOUT)
    with pytest.raises(KeyError), ledger.lock():
        raise KeyError
    with ledger.lock():
        pass


def test_the_header_can_be_changed(path: Path) -> None:
    ledger = Ledger.take(path, KIND, ABOUT)
    with ledger.lock():
        ledger.rewrite(ledger.header | {"seeds": [0, 1, 2]})
        ledger.append(done(8))
    again = Ledger.read(path, KIND)
    assert again.header == ledger.header
    assert again.header["seeds"] == [0, 1, 2]
    assert again.entries == ledger.entries
    assert len(again.entries) == 4


# Refusals


def with_line(number: int, text: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        lines = path.read_text().splitlines()
        lines[number - 1] = text
        path.write_text("\n".join(lines) + "\n")

    return change


def header(**changes: Any) -> str:
    return json.dumps({"format": FORMAT, "kind": KIND, **changes})


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (with_line(1, header(kind="comparison")), ["something else than a table", "another results file"]),
        (with_line(1, header(format=FORMAT + 1)), [f"format {FORMAT + 1}", f"format {FORMAT}", "oche that wrote it"]),
        (with_line(1, "[]"), ["something else than a table"]),
        (with_line(3, '{"cell": {'), ["line 3", "no result"]),
        (with_line(3, '{"cell": {"a": 1}}'), ["line 3", "'status'"]),
        (with_line(3, '{"cell": 5, "status": "done"}'), ["line 3", "no result"]),
        (with_line(3, '{"cell": {"a": [1]}, "status": "done"}'), ["line 3", "no result"]),
        (with_line(2, "7"), ["line 2", "no result"]),
        (with_line(2, ""), ["line 2", "remove the line"]),
        (lambda path: path.write_bytes(b"\xff\xfe\n" * 3), ["line 1", "no result"]),
        (lambda path: path.write_bytes(b""), ["something else than a table"]),
        (lambda path: path.unlink(), ["cannot read the results", "No such file"]),
        (lambda path: (path.unlink(), path.mkdir()), ["cannot read the results", "directory"]),
        (lambda path: shutil.rmtree(path.parent), ["cannot read the results", "No such file"]),
    ],
)
def test_what_is_no_results_file_is_refused(path: Path, change: Callable[[Path], object], parts: list[str]) -> None:
    change(path)
    with pytest.raises(InputError) as caught:
        Ledger.read(path, KIND)
    for part in (str(path), *parts):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_file_of_another_campaign_is_refused_and_stays(path: Path) -> None:
    before = path.read_bytes()
    long = list(range(1000))
    with pytest.raises(InputError, match=r"another table: its seeds is \[0, 1\], but now it is \[0, 1, 2") as caught:
        Ledger.take(path, KIND, {**ABOUT, "seeds": long})
    assert len(str(caught.value)) < 400
    with pytest.raises(InputError, match="its new is null"):
        Ledger.take(path, KIND, {**ABOUT, "new": 1})
    with pytest.raises(InputError, match="something else than a comparison"):
        Ledger.take(path, "comparison", {})
    assert path.read_bytes() == before


def test_a_new_file_gets_its_directories(tmp_path: Path) -> None:
    ledger = Ledger.take(tmp_path / "a" / "b" / "results", KIND, ABOUT)
    with ledger.lock():
        ledger.append(done(0))
    assert len(Ledger.read(tmp_path / "a" / "b" / "results", KIND).entries) == 1


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*make the place writable"):
        Ledger.take(tmp_path / "file" / "results", KIND, ABOUT)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for the super-user; see the test after this one")
def test_a_read_only_directory(path: Path) -> None:
    path.parent.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot write"), Ledger.take(path, KIND, ABOUT).lock():
            pass
        with pytest.raises(InputError, match="cannot write"):
            Ledger.take(path.with_name("new"), KIND, ABOUT)
    finally:
        path.parent.chmod(0o700)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(28, "No space left on device")])
def test_errors_of_the_file_system(path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    before = path.read_bytes()

    def broken(*args: Any, **options: Any) -> None:
        raise error

    ledger = Ledger.take(path, KIND, ABOUT)
    with ledger.lock():
        monkeypatch.setattr(Path, "open", broken)
        with pytest.raises(InputError, match=f"cannot write .*{error.strerror}"):
            ledger.append(done(9))
    with pytest.raises(InputError, match=f"cannot read .*{error.strerror}"), ledger.lock():
        pass
    monkeypatch.setattr(Path, "exists", broken)
    with pytest.raises(InputError, match=f"cannot write .*{error.strerror}"):
        Ledger.take(path, KIND, ABOUT)
    monkeypatch.undo()
    assert path.read_bytes() == before
    with ledger.lock():
        assert ledger.done(done(9)["cell"]) is None
