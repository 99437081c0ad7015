"""Run directories as they are read: both formats, finished or not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from oche.errors import InputError
from oche.runs.record import LOCK, Progress, RunRecord, is_run, read_json, read_space
from oche.score import ACCURACY

STORED = Path(__file__).parent / "stored"
FORMATS = ["format-1", "format-2"]


@pytest.fixture(params=FORMATS)
def run(request, tmp_path) -> Path:
    """A copy of a stored run."""
    return Path(shutil.copytree(STORED / request.param, tmp_path / request.param))


@pytest.fixture
def new(tmp_path) -> Path:
    """A copy of the stored run of format 2."""
    return Path(shutil.copytree(STORED / "format-2", tmp_path / "run"))


def cut_to(run: Path, records: int, *results: str) -> None:
    """Leave what was there when so many records were written."""
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:records]))
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({name: result[name] for name in results}))


def edit(run: Path, name: str, old: str, new: str) -> None:
    text = (run / name).read_text()
    assert old in text
    (run / name).write_text(text.replace(old, new))


def test_both_formats_give_the_same_view(run):
    """The stored runs were made by the same command line, so they say the same in two forms."""
    record = RunRecord.read(run)
    assert record.command == "run"
    assert record.options["method"] == "darts"
    assert record.options["baseline"] == "random:2"
    assert record.options["seed"] == 0
    assert record.options["data"]["limit"] == 200
    assert record.options["space"] == record.options["space"] | {"name": "rdarts-s2", "nodes": 1, "channels": 4}
    assert record.data["name"] == "digits"
    assert len(record.data["fingerprint"]) == 64
    assert [session["threads"] for session in record.sessions] == [1]
    assert record.sessions[0]["packages"]["torch"]
    assert list(record.records) == ["search", "train", "random 1", "random 2"]
    assert [r["epoch"] for r in record.records["search"]] == [1, 2]
    assert record.parts["method"]["name"] == "darts"
    assert record.status == "complete"
    assert record.progress == Progress("random 2", 2, 2)
    assert record.epochs("search") == record.epochs("train") == 2
    assert record.steps("search") == 4
    assert record.tested == (ACCURACY, json.loads((run / "result.json").read_text())["network"]["test"]["accuracy"])
    assert record.architecture.space == record.space.name == "rdarts-s2"
    assert record.space.nodes == 1
    assert record.started.year == 2026
    assert record.started.utcoffset() is not None


def test_what_the_result_says_of_a_phase_goes_before_its_records(run):
    record = RunRecord.read(run)
    result = json.loads((run / "result.json").read_text())
    assert record.seconds("search") == result["search"]["seconds"]
    assert record.seconds("random 2") == result["random"][1]["seconds"]
    cut_to(run, 1)
    record = RunRecord.read(run)
    assert record.seconds("search") == record.records["search"][0]["seconds"]


def test_the_formats_are_told_apart(run):
    assert RunRecord.read(run).format == int(run.name[-1])
    assert RunRecord.read(str(run)).path == run


@pytest.mark.parametrize(
    ("records", "results", "position"),
    [
        (0, [], None),
        (1, [], Progress("search", 1, 2)),
        (2, ["search"], Progress("search", 2, 2)),
        (3, ["search"], Progress("train", 1, 2)),
        (4, ["search", "network"], Progress("train", 2, 2)),
        (7, ["search", "network"], Progress("random 2", 1, 2)),
    ],
)
def test_an_unfinished_run_says_where_it_stands(run, records, results, position):
    cut_to(run, records, *results)
    record = RunRecord.read(run)
    assert record.status == "interrupted"
    assert record.progress == position


def test_a_run_without_results_and_records_is_readable(run):
    for name in ("metrics.jsonl", "result.json", "architecture.json", "resolved.json", "method.json", "space.json"):
        (run / name).unlink()
    record = RunRecord.read(run)
    assert record.status == "interrupted"
    assert record.progress is None
    assert record.tested is None
    assert record.architecture is None
    assert record.space is None
    assert record.epochs("search") == 2
    assert record.epochs("train") is None


def test_a_search_is_complete_without_a_network(tmp_path):
    run = Path(shutil.copytree(STORED / "format-1", tmp_path / "run"))
    cut_to(run, 2, "search")
    assert RunRecord.read(run).status == "interrupted"
    edit(run, "config.json", '"command": "run"', '"command": "search"')
    edit(run, "config.json", '"baseline": {\n   "count": 2\n  }', '"baseline": null')
    assert RunRecord.read(run).status == "complete"


def test_a_cut_last_line_is_left_out(run):
    whole = (run / "metrics.jsonl").read_bytes()
    for cut in (1, 2, 50):
        (run / "metrics.jsonl").write_bytes(whole[:-cut])
        record = RunRecord.read(run)
        assert [len(records) for records in record.records.values()] == [2, 2, 2, 1]
    cut_to(run, 1)
    edit(run, "metrics.jsonl", '"phase"', '"pha')
    (run / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes().rstrip(b"\n"))
    assert RunRecord.read(run).progress is None


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"3", b'{"epoch": 1}', b"\xff"])
def test_another_broken_line_is_refused_with_its_number(run, line):
    lines = (run / "metrics.jsonl").read_bytes().split(b"\n")
    (run / "metrics.jsonl").write_bytes(b"\n".join([*lines[:2], line, *lines[2:]]))
    with pytest.raises(InputError, match=r"line 3 of .*metrics\.jsonl"):
        RunRecord.read(run)


def test_a_newer_format_is_refused(new):
    edit(new, "config.yaml", "format: 2", "format: 3")
    with pytest.raises(InputError, match="written by a newer oche: format 3"):
        RunRecord.read(new)


@pytest.mark.parametrize("place", ["", "missing", "file"])
def test_what_is_no_run_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"no run directory .* oche run --run"):
        RunRecord.read(tmp_path / place)
    assert not is_run(tmp_path / place)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("manifest.json", "{}", "broken"),
        ("manifest.json", "[]", "a table is needed"),
        ("manifest.json", '{"sessions": [], "data": {}}', "broken"),
        ("manifest.json", '{"sessions": [{"started": "yesterday"}], "data": {}}', "yesterday"),
        ("manifest.json", "{", "cannot read"),
        ("result.json", "{", r"result\.json"),
        ("config.yaml", "format: 2\nseed: 0\n", "command: run"),
        ("config.yaml", "- 2", "configuration"),
    ],
)
def test_a_broken_file_is_refused(new, name, text, reason):
    (new / name).write_text(text)
    with pytest.raises(InputError, match=reason):
        RunRecord.read(new)


@pytest.mark.parametrize("text", ["{}", '{"format": 1, "options": 3}', '{"model_type": "bert"}'])
def test_a_foreign_configuration_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match="no configuration of a run"):
        RunRecord.read(tmp_path)


def test_a_missing_manifest_is_named(run):
    (run / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"manifest\.json"):
        RunRecord.read(run)


def test_a_held_lock_means_running(new):
    with FileLock(new / LOCK):
        assert RunRecord.read(new).status == "running"
    assert (new / LOCK).exists()
    assert RunRecord.read(new).status == "complete"
    (new / "result.json").unlink()
    assert RunRecord.read(new).status == "interrupted"


def test_a_lock_of_another_process_is_seen_until_it_is_killed(new):
    # Bound to a name: a lock that nobody refers to is released.
    hold = f"import time, filelock; lock = filelock.FileLock({str(new / LOCK)!r}); lock.acquire()"
    hold += "; print('held', flush=True)"
    with subprocess.Popen([sys.executable, "-c", f"{hold}; time.sleep(60)"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert RunRecord.read(new).status == "running"
        holder.kill()
        holder.wait()
        assert RunRecord.read(new).status == "complete"


def test_reading_leaves_no_traces(run):
    def state():
        return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in [run, *run.iterdir()]}

    before = state()
    RunRecord.read(run)
    assert state() == before
    (run / LOCK).write_text("")
    before = state()
    RunRecord.read(run)
    assert state() == before


def test_a_read_only_run_is_readable(new, monkeypatch):
    """The file system is asked to refuse, because the tests may run as root, whom permissions do not bind."""

    def refuse(*args, **options):
        raise PermissionError("read-only file system")

    (new / LOCK).write_text("")
    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert RunRecord.read(new).status == "complete"


def test_sessions_are_kept_in_order(new):
    manifest = json.loads((new / "manifest.json").read_text())
    later = manifest["sessions"][0] | {"started": "2027-01-01T00:00:00+0000", "threads": 2}
    (new / "manifest.json").write_text(json.dumps(manifest | {"sessions": [*manifest["sessions"], later]}))
    record = RunRecord.read(new)
    assert [session["threads"] for session in record.sessions] == [1, 2]
    assert record.started.year == 2026


def test_words_of_a_configuration_become_plain_values(new):
    lines = "time_limit: 2h\nsearch: {logit_lr: 1e-3, epochs: 7}\ndata: {name: digits, size: [32, 48], flip: true}\n"
    (new / "config.yaml").write_text("format: 2\ncommand: search\nseed: null\nmethod: on\nthreads: -1\n" + lines)
    options = RunRecord.read(new).options
    assert options == {
        "method": "on",
        "threads": -1,
        "time_limit": "2h",
        "search": {"logit_lr": 0.001, "epochs": 7},
        "data": {"name": "digits", "size": [32, 48], "flip": True},
    }


def test_durations_of_format_1_become_words(tmp_path):
    run = Path(shutil.copytree(STORED / "format-1", tmp_path / "run"))
    edit(run, "config.json", '"time_limit": null', '"time_limit": {"seconds": 7200.0}')
    assert RunRecord.read(run).options["time_limit"] == "2h"


def test_single_files_are_refused_with_their_name(run):
    assert read_json(run, "manifest.json")["data"]
    (run / "space.json").write_text("{}")
    with pytest.raises(InputError, match=r"no run directory with a readable space\.json"):
        read_space(run)
    (run / "space.json").unlink()
    with pytest.raises(InputError, match=r"space\.json"):
        read_space(run)


def test_reading_needs_no_torch():
    read = f"from oche.runs.record import RunRecord; RunRecord.read({str(STORED / 'format-2')!r})"
    code = f"import sys; {read}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
