"""A run directory appears as a whole, belongs to one process, and forgets nothing but what will be made again."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from oche.errors import InputError
from oche.listeners.base import Job
from oche.runs.directory import RunDirectory

SESSION = {
    "started": "2026-01-01T00:00:00+0000",
    "host": "elsewhere",
    "pid": 1,
    "device": "cpu",
    "device_name": "",
    "threads": 1,
    "python": "3.11",
    "platform": "p",
    "packages": {"oche": "1", "torch": "2"},
}
DATA = {"name": "digits", "fingerprint": "f" * 64, "notes": []}


def create(path: Path, **files: str) -> RunDirectory:
    return RunDirectory.create(str(path), "name", SESSION, DATA, {"config.yaml": "format: 2\n", **files})


def record(phase: str, epoch: int, **values: Any) -> dict[str, Any]:
    return {"phase": phase, "epoch": epoch, **values}


def lines(directory: Path) -> list[tuple[str, int]]:
    read = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [(r["phase"], r["epoch"]) for r in read]


def test_a_directory_appears_with_its_files_and_its_lock(tmp_path):
    directory = create(tmp_path / "a" / "run")
    assert {p.name for p in directory.path.iterdir()} == {"config.yaml", "manifest.json", ".lock"}
    assert json.loads((directory.path / "manifest.json").read_text()) == {
        "format": 2,
        "data": DATA,
        "sessions": [SESSION],
    }
    assert list((tmp_path / "a").iterdir()) == [directory.path]
    directory.close()


def test_if_it_cannot_be_made_nothing_is_left(tmp_path, monkeypatch):
    def full(self: Path, *args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(InputError, match=r"No space left on device.*--run DIR"):
        create(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_an_existing_directory_is_refused_and_not_touched(tmp_path):
    create(tmp_path / "run").close()
    before = {p: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    with pytest.raises(InputError, match=rf"oche resume {tmp_path / 'run'}"):
        create(tmp_path / "run")
    assert {p: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


def test_two_runs_of_one_second_get_two_directories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = set()
    for _ in range(3):
        directory = RunDirectory.create(None, "darts", SESSION, DATA, {})
        paths.add(directory.path)
        directory.close()
    assert len(paths) == 3
    assert all(path.name.count("darts") == 1 for path in paths)


def test_a_second_process_is_refused_by_name(tmp_path):
    directory = create(tmp_path / "run")
    with pytest.raises(InputError, match=r"process 1 on elsewhere since 2026-01-01"):
        RunDirectory(directory.path)
    directory.close()
    RunDirectory(directory.path).close()


def test_the_lock_of_orphans_is_waited_for(tmp_path, monkeypatch):
    import socket

    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)  # a process number that is no more
    dead = SESSION | {"host": socket.gethostname(), "pid": child}
    RunDirectory.create(str(tmp_path / "run"), "name", dead, DATA, {}).close()
    monkeypatch.setattr("oche.runs.directory.GLANCE", 0.0)
    monkeypatch.setattr("oche.runs.directory.ORPHANS", 0.1)
    with (
        FileLock(tmp_path / "run" / ".lock"),
        pytest.raises(InputError, match=rf"not by the one in its manifest \({child}"),
    ):
        RunDirectory(tmp_path / "run")


def test_going_on_adds_a_session_and_tells_what_has_changed(tmp_path):
    create(tmp_path / "run").close()
    now = SESSION | {"threads": 4, "packages": {"oche": "1", "torch": "3"}}
    directory, changes = RunDirectory.reopen(tmp_path / "run", now, lambda: DATA["fingerprint"])
    directory.close()
    assert changes == ["threads 1, now 4", "torch 2, now 3"]
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["sessions"] == [SESSION, now]


def test_other_data_are_refused(tmp_path):
    create(tmp_path / "run").close()
    with pytest.raises(InputError, match=r"are not the 'digits'.*aaaa.*was ffff.*--config"):
        RunDirectory.reopen(tmp_path / "run", SESSION, lambda: "a" * 64)
    assert len(json.loads((tmp_path / "run" / "manifest.json").read_text())["sessions"]) == 1


def test_a_job_that_goes_on_keeps_the_epochs_its_checkpoint_knows(tmp_path):
    directory = create(tmp_path / "run")
    directory.start(Job("search", 2, 1))
    for epoch in (1, 2):
        directory.epoch(record("search", epoch))
    directory.start(Job("train", 4, 1))
    for epoch in (1, 2, 3):
        directory.epoch(record("train", epoch))
    with (directory.path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "train", "epo')  # a kill in the middle of a line
    directory.start(Job("train", 4, 1, 2, (record("train", 1), record("train", 2))))
    assert lines(directory.path) == [("search", 1), ("search", 2), ("train", 1), ("train", 2)]
    directory.epoch(record("train", 3))
    assert lines(directory.path)[-1] == ("train", 3)
    directory.close()


def test_numbers_that_are_none_are_null(tmp_path):
    directory = create(tmp_path / "run")
    directory.epoch(record("train", 1, loss=float("nan"), rates=[float("inf"), 1.0]))
    assert json.loads((directory.path / "metrics.jsonl").read_text()) == record("train", 1, loss=None, rates=[None, 1])
    directory.close()


def test_results_come_back_piece_by_piece(tmp_path):
    directory = create(tmp_path / "run")
    directory.add_result("search", {"seconds": 2.0})
    directory.add_result("random", [{"seconds": 3.0}, {"seconds": 4.5}])
    directory.close()
    again = RunDirectory(directory.path)
    assert again.result == directory.result
    assert again.seconds == 9.5
    again.close()
