"""What `show`, `list` and `diff` print, of stored runs and of variations of them."""

import json
import re
import shutil
import statistics
from dataclasses import asdict
from pathlib import Path

import pytest
from filelock import FileLock

from oche.axes import AXES
from oche.citations import BIBTEX, bibliography
from oche.config.options import OutputOptions
from oche.errors import InputError
from oche.methods import METHODS
from oche.nosh.search import SEARCHES
from oche.numbers import part_named
from oche.probe.findings import Finding, Status
from oche.report.diff import diff_runs
from oche.report.listing import list_data, list_methods, list_parts, list_spaces, show_method
from oche.report.overview import list_runs
from oche.report.show import show_run
from oche.runs.record import LOCK

STORED = Path(__file__).parents[1] / "runs" / "stored"
TEXT, QUIET, JSON = OutputOptions(), OutputOptions(quiet=True), OutputOptions(json=True)


@pytest.fixture(autouse=True)
def _width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def runs(tmp_path) -> Path:
    """A directory with copies of the stored runs."""
    return Path(shutil.copytree(STORED, tmp_path / "runs"))


@pytest.fixture
def new(runs) -> Path:
    return runs / "format-2"


def edit(run: Path, name: str, old: str, new: str) -> None:
    text = (run / name).read_text()
    assert old in text
    (run / name).write_text(text.replace(old, new))


def change(run: Path, name: str, **changes) -> None:
    content = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps(content | changes))


def records(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def write_records(run: Path, content: list[dict]) -> None:
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in content))


def interrupt(run: Path, count: int, *results: str) -> Path:
    """Leave what was there when so many records were written."""
    write_records(run, records(run)[:count])
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({name: result[name] for name in results}))
    if "search" not in results:
        (run / "architecture.json").unlink()
    return run


def shown(capsys, run: Path, output: OutputOptions = TEXT) -> str:
    show_run(run, output)
    return capsys.readouterr().out


def compared(capsys, a: Path, b: Path) -> tuple[str, dict]:
    """The text, and the JSON form, after a look at their agreement and at the quiet form."""
    diff_runs(a, b, JSON)
    found = json.loads(capsys.readouterr().out)
    diff_runs(a, b, QUIET)
    quiet = capsys.readouterr().out
    diff_runs(a, b, TEXT)
    text = capsys.readouterr().out
    sections = [name for name, value in found.items() if isinstance(value, dict) and value]
    assert found["equal"] == (not sections) == ("no difference" in text)
    assert quiet == (f"differ in {', '.join(sections)}\n" if sections else "no difference\n")
    return text, found


# -- show --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["format-1", "format-2"])
def test_show_tells_everything_of_a_complete_run(capsys, runs, name):
    run = runs / name
    text, result = shown(capsys, run), json.loads((run / "result.json").read_text())
    assert text.startswith(f"{run}: complete\n")
    assert (run / "architecture.txt").read_text() in text
    assert result["search"]["verdict"] in text
    for word in (
        "digits",
        "rdarts-s2: 1 node per cell",
        "tiny: 2 epochs in batches of 32",
        "torch 2.",
        "cpu, 1 thread",
    ):
        assert word in text
    for network in (result["network"], *result["random"]):
        assert f"{100 * network['test']['accuracy']:.2f} %" in text
        assert f"{network['parameters']:,}" in text
    others = [100 * network["test"]["accuracy"] for network in result["random"]]
    assert f"{statistics.mean(others):.2f} % ± {statistics.stdev(others):.2f} (standard deviation), n = 2" in text
    assert "on disk: " in text
    assert "resume" not in text
    assert max(map(len, text.replace(result["search"]["verdict"], "").splitlines())) <= 100


def test_curves_show_the_first_the_last_and_the_best_number(capsys, new):
    rows = records(new)
    search = [r for r in rows if r["phase"] == "search"]
    losses = [r["train_loss"] for r in search]
    line = next(line for line in shown(capsys, new).splitlines() if line.startswith("train loss"))
    _, _, curve, first, last, best, epoch = line.split()
    assert curve == ("▁█" if losses[0] < losses[1] else "█▁")
    assert [float(n) for n in (first, last, best)] == pytest.approx([*losses, min(losses)], rel=1e-3)
    assert int(epoch) == losses.index(min(losses)) + 1


def test_show_has_the_evidence_of_the_verdict(capsys, new):
    result = json.loads((new / "result.json").read_text())
    evidence = [
        Finding(probe="nodes", status=Status.AT_RISK, statement="0.05 (at risk below 0.1)", remedy="normalize"),
        Finding(probe="selection", status=Status.COLLAPSED, statement="no weights", remedy="another method"),
        Finding(probe="eigenvalue", status=None, statement="0.2"),
        Finding(probe="entropy", status=Status.HEALTHY, statement="fell"),
    ]
    result["search"]["evidence"] = [asdict(finding) for finding in evidence]
    (new / "result.json").write_text(json.dumps(result))
    lines = shown(capsys, new).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("verdict: "))
    assert lines[start + 1 : start + 7] == [
        "  x selection: no weights",
        "  ! nodes: 0.05 (at risk below 0.1)",
        "    eigenvalue: 0.2",
        "  + entropy: fell",
        "  > another method",
        "  > normalize",
    ]


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_curves_fit_the_terminal(capsys, new, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    search = [r for r in records(new) if r["phase"] == "search"]
    write_records(new, [search[0] | {"epoch": i + 1, "train_loss": 1e6 / (i + 1)} for i in range(300)])
    lines = [line.rstrip() for line in shown(capsys, new).splitlines() if line.startswith("train loss")]
    assert len(lines) == 1
    if columns >= 80:
        assert "1.000e+06" in lines[0]
        assert lines[0].endswith("300")
        assert len(lines[0]) <= columns


def test_show_says_when_the_selection_changed(capsys, new):
    rows = records(new)
    first, second = (dict(r["architecture"]) for r in rows[:2])
    differing = sum(first[key] != second[key] for key in second)
    assert f"the selection last changed in epoch 2, on {differing} edge" in shown(capsys, new)
    rows[0]["architecture"] = second
    write_records(new, rows)
    assert "the selection has not changed since epoch 1" in shown(capsys, new)


def test_show_of_an_interrupted_run_says_where_it_stands_and_how_to_go_on(capsys, new):
    interrupt(new, 1)
    text = shown(capsys, new)
    assert text.startswith(f"{new}: interrupted, last finished: search epoch 1 of 2\n")
    assert "\nwhat epoch 1 of the search would select\nnormal cell\n" in text
    drawn = [line.split()[-4:-2] for line in text.splitlines() if "◀" in line]
    assert [name for name, _ in drawn] == list(records(new)[0]["architecture"].values())
    assert "search, 1 of 2 epochs" in text
    assert text.endswith(f"\ngo on with: oche resume {new}\n")
    assert "verdict" not in text
    assert "network   " not in text


def test_show_of_a_run_without_records(capsys, new):
    interrupt(new, 0)
    (new / "metrics.jsonl").unlink()
    text = shown(capsys, new)
    assert "interrupted, no epoch finished yet" in text
    assert "no architecture has been selected yet" in text
    assert "train loss" not in text
    assert "cost" not in text


def test_show_before_the_parts_are_written(capsys, new):
    interrupt(new, 0)
    for name in ("resolved.json", "method.json", "space.json"):
        (new / name).unlink()
    assert "\nspace     rdarts-s2" in shown(capsys, new)


def test_show_between_search_and_test(capsys, new):
    interrupt(new, 3, "search")
    text = shown(capsys, new)
    assert "train, 1 of 2 epochs" in text
    assert (new / "architecture.txt").read_text() in text
    assert "verdict: " in text
    assert "random:" not in text


def test_a_run_of_format_1_cannot_be_resumed(capsys, runs):
    assert "resume" not in shown(capsys, interrupt(runs / "format-1", 1))


def test_show_of_a_running_run(capsys, new):
    interrupt(new, 1)
    with FileLock(new / LOCK):
        text = shown(capsys, new)
    assert "running, last finished: search epoch 1 of 2" in text
    assert "resume" not in text


def test_show_of_a_run_with_several_sessions(capsys, new):
    manifest = json.loads((new / "manifest.json").read_text())
    first = manifest["sessions"][0]
    git = {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": True}
    second = first | {"started": "2027-01-02T03:04:05+0000", "threads": 2, "device_name": "A CPU", "git": git}
    change(new, "manifest.json", sessions=[first, first, second])
    text = shown(capsys, new)
    assert "3, the last one started 2027-01-02 03:04:05 +0000" in text
    assert "session 3: " in text
    assert "threads 1, now 2" in text
    assert "session 2: " not in text
    assert "cpu (A CPU), 2 threads" in text
    assert "0123456789ab, with changes" in text


def test_show_of_a_training_alone(capsys, new):
    rows = [r for r in records(new) if r["phase"] == "train"]
    write_records(new, rows)
    edit(new, "config.yaml", "command: run", "command: train\narchitecture: architecture.json")
    for line in ("method: darts\n", "space:\n  name: rdarts-s2\n  nodes: 1\n  cells: 2\n  channels: 4\n"):
        edit(new, "config.yaml", line, "")
    result = json.loads((new / "result.json").read_text())
    (new / "result.json").write_text(json.dumps({"network": result["network"], "complete": True}))
    text = shown(capsys, new)
    assert "\nspace     rdarts-s2 " in text
    lines = [line.split() for line in text.splitlines()]
    assert ["network", "10.03", "%", "10.00", "%", "2", "of", "2", "878"] in [line[:9] for line in lines]
    assert "random" not in text


def test_show_of_one_random_network_and_no_validation(capsys, new):
    result = json.loads((new / "result.json").read_text())
    network = result["network"] | {"validation": {}}
    change(new, "result.json", random=result["random"][:1], network=network)
    rows = [r for r in records(new) if r["phase"] != "random 2"]
    for row in rows:
        if row["phase"] == "train":
            del row["valid_loss"], row["valid_accuracy"]
    write_records(new, rows)
    text = shown(capsys, new)
    assert f"random: mean {100 * result['random'][0]['test']['accuracy']:.2f} %, n = 1;" in text
    assert "±" not in text


def test_missing_numbers_leave_gaps(capsys, new):
    rows = records(new)
    rows[0]["valid_loss"] = None
    for row in rows[2:4]:
        row["train_loss"] = None
    write_records(new, rows)
    text = shown(capsys, new)
    line = next(line for line in text.splitlines() if line.startswith("valid loss"))
    assert line.rstrip().endswith(" 2")  # the best epoch is counted over the gap
    assert "train, 2 epochs" in text


def test_a_users_metric_has_no_best(capsys, new):
    write_records(new, [record | {"valid_rank": 3.0 - record["epoch"]} for record in records(new)])
    line = next(line for line in shown(capsys, new).splitlines() if line.startswith("valid rank"))
    assert line.split() == ["valid", "rank", "█▁", "2.000", "1.000"]


def test_show_says_why_a_phase_stopped(capsys, new):
    result = json.loads((new / "result.json").read_text())
    change(new, "result.json", search=result["search"] | {"stopped": "the time limit came in epoch 2 of 2"})
    assert "search stopped: the time limit came in epoch 2 of 2\n" in shown(capsys, new)


def test_show_tells_what_saving_cost(capsys, new):
    (new / "checkpoints").mkdir()
    (new / "checkpoints" / "one.pt").write_bytes(bytes(2_500_000))
    rows = [row | {"steps": 100 * row["epoch"]} for row in records(new)]
    write_records(new, rows)
    change(new, "result.json", checkpoints={"count": 1234, "seconds": 0.0})
    text = shown(capsys, new)
    assert "checkpoints: 1,234 saved in 0.00 s, 0.00 % of the time" in text
    assert "checkpoints 2.5 MB of it" in text
    seconds = json.loads((new / "result.json").read_text())["network"]["seconds"]
    line = next(line for line in text.splitlines() if line.startswith("train    "))
    assert float(line.split()[-1]) == pytest.approx(200 / seconds, rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.154, "0.15 s"), (3.44, "3.4 s"), (75.4, "75 s"), (725, "12 min 05 s"), (7500, "2 h 05 min")],
)
def test_times_have_a_unit_of_their_size(capsys, new, seconds, text):
    result = json.loads((new / "result.json").read_text())
    change(new, "result.json", search=result["search"] | {"seconds": seconds})
    assert f" {text} " in next(line for line in shown(capsys, new).splitlines() if line.startswith("search    "))


def test_a_path_is_printed_as_it_is(capsys, runs, new):
    """Square brackets are markup to the library that prints."""
    odd = new.rename(runs / "[bold]run:smile:")
    assert shown(capsys, odd).startswith(f"{odd}: complete\n")
    list_runs(runs, TEXT)
    assert "[bold]run:smile:" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["format-1", "format-2"])
def test_show_as_json(capsys, runs, name):
    found = json.loads(shown(capsys, runs / name, JSON))
    assert found["status"] == "complete"
    assert found["format"] == int(name[-1])
    assert found["architecture"] == json.loads((runs / name / "architecture.json").read_text())["choices"]
    assert [r for phase in found["records"].values() for r in phase] == records(runs / name)
    assert found["result"] == json.loads((runs / name / "result.json").read_text())
    assert found["disk_bytes"] == sum(path.stat().st_size for path in (runs / name).rglob("*"))
    interrupt(runs / name, 0)
    found = json.loads(shown(capsys, runs / name, JSON))
    assert (found["status"], found["position"], found["architecture"]) == ("interrupted", None, None)


def test_show_quietly(capsys, new):
    accuracy = json.loads((new / "result.json").read_text())["network"]["test"]["accuracy"]
    assert shown(capsys, new, QUIET) == f"test accuracy {100 * accuracy:.2f} %\n"
    interrupt(new, 3, "search")
    assert shown(capsys, new, QUIET) == "interrupted, last finished: train epoch 1 of 2\n"


def test_show_of_no_run(tmp_path):
    with pytest.raises(InputError, match="no run directory"):
        show_run(tmp_path, TEXT)


# -- list --------------------------------------------------------------------------------------------------------------


def test_list_has_the_newest_first(capsys, runs):
    for name, year in (("format-1", 2028), ("format-2", 2027)):
        text = (runs / name / "manifest.json").read_text()
        (runs / name / "manifest.json").write_text(text.replace('"started": "2026', f'"started": "{year}'))
    interrupt(shutil.copytree(runs / "format-2", runs / "third"), 3, "search")
    edit(runs / "third", "manifest.json", '"2027', '"2029')
    list_runs(runs, TEXT)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:] if line[0] != " "] == ["third", "format-1", "format-2"]
    assert "interrupted, train 1/2" in lines[1]
    assert lines[1].split()[-1] == "-"
    assert lines[2].split()[1:] == ["run", "darts", "digits", "complete", "10.03", "%"]


def test_a_wide_list_has_times(capsys, runs, monkeypatch):
    list_runs(runs, TEXT)
    assert "started" not in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "120")
    list_runs(runs, TEXT)
    assert "2026-11-22 23:36" in capsys.readouterr().out


def test_list_leaves_out_what_is_no_run_and_names_what_is_unreadable(capsys, runs):
    (runs / "notes").mkdir()
    (runs / "notes.txt").write_text("")
    shutil.copytree(runs / "format-2", runs / ".unfinished")
    edit(shutil.copytree(runs / "format-2", runs / "future"), "config.yaml", "format: 2", "format: 9")
    interrupt(runs / "format-2", 0)
    list_runs(runs, TEXT)
    text = capsys.readouterr().out
    assert "notes" not in text
    assert "unfinished" not in text
    assert "interrupted, no epoch yet" in text
    assert any(line.startswith("unreadable: future: ") and "format 9" in line for line in text.splitlines())
    list_runs(runs, JSON)
    found = {Path(run["path"]).name: run for run in json.loads(capsys.readouterr().out)}
    assert set(found) == {"format-1", "format-2", "future"}
    assert found["format-1"]["test_accuracy"] == pytest.approx(0.1003, abs=1e-4)
    assert found["format-2"]["status"] == "interrupted"
    assert "format 9" in found["future"]["error"]
    list_runs(runs, QUIET)
    assert sorted(capsys.readouterr().out.splitlines()) == [str(runs / n) for n in ("format-1", "format-2", "future")]


def test_only_unreadable_runs(capsys, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("format: 9")
    list_runs(tmp_path, TEXT)
    assert capsys.readouterr().out.startswith("unreadable: run: ")


def test_an_empty_list_says_how_to_make_a_run(capsys, tmp_path):
    list_runs(tmp_path, TEXT)
    assert "oche run --run" in capsys.readouterr().out
    list_runs(tmp_path, JSON)
    assert json.loads(capsys.readouterr().out) == []
    list_runs(tmp_path, QUIET)
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match=r"missing.*oche run --run"):
        list_runs(tmp_path / "missing", TEXT)


# -- diff --------------------------------------------------------------------------------------------------------------


def test_no_difference(capsys, runs):
    text, _ = compared(capsys, runs / "format-2", STORED / "format-2")
    assert "no difference (times apart)" in text


def test_times_and_places_are_no_difference(capsys, runs, new):
    copy = shutil.copytree(new, runs / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    session = manifest["sessions"][0] | {"host": "other", "pid": 2, "started": "2030-01-01T00:00:00+0000"}
    change(copy, "manifest.json", sessions=[session])
    write_records(copy, [record | {"seconds": 7.0} for record in records(copy)])
    change(copy, "result.json", checkpoints={"count": 99, "seconds": 9.0})
    assert compared(capsys, new, copy)[1]["equal"]


def test_the_formats_agree_on_the_same_run(capsys, runs):
    """Both stored runs come from one command line and one machine."""
    text, found = compared(capsys, runs / "format-1", runs / "format-2")
    assert not found["metrics"]
    assert not found["architecture"]
    assert not found["options"]
    assert "formats 1 and 2" in text


def test_options_and_what_they_come_to(capsys, runs, new):
    copy = shutil.copytree(new, runs / "copy")
    edit(copy, "config.yaml", "limit: 200", "limit: 400")
    edit(copy, "config.yaml", "baseline: random:2\n", "")
    edit(copy, "config.yaml", "channels: 4\n\nsearch", "channels: 6\n\nsearch")
    resolved = json.loads((copy / "resolved.json").read_text())
    resolved["space"]["supernet_stack"]["channels"] = 6
    resolved["protocol"]["clip"] = 4.0
    (copy / "resolved.json").write_text(json.dumps(resolved))
    text, found = compared(capsys, new, copy)
    assert found["options"] == {
        "data.limit": [200, 400],
        "baseline": ["random:2", None],
        "space.channels": [4, 6],
    }
    assert found["parts"] == {"protocol.clip": [5.0, 4.0]}  # the channels have been told
    lines = [line.split() for line in text.splitlines()]
    assert ["data.limit", "200", "400"] in lines
    assert ["baseline", "random:2", "-"] in lines
    assert ["protocol.clip", "5", "4"] in lines


def test_environment_and_data(capsys, runs, new):
    copy = shutil.copytree(new, runs / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    first = manifest["sessions"][0]
    second = first | {"threads": 2, "packages": first["packages"] | {"torch": "9.0"}}
    data = manifest["data"] | {"fingerprint": "0" * 64}
    change(copy, "manifest.json", sessions=[first, second], data=data)
    _, found = compared(capsys, new, copy)
    torch = first["packages"]["torch"]
    assert found["environment"] == {"threads": ["1", "1, then 2"], "packages.torch": [torch, f"{torch}, then 9.0"]}
    assert found["data"] == {"fingerprint": [manifest["data"]["fingerprint"], "0" * 64]}


def test_architectures_are_drawn_where_they_differ(capsys, runs, new):
    copy = shutil.copytree(new, runs / "copy")
    choices = json.loads((copy / "architecture.json").read_text())["choices"]
    key = "normal/2<-0"
    other = {"skip_connect": "sep_conv_3x3", "sep_conv_3x3": "skip_connect"}[choices[key]]
    change(copy, "architecture.json", choices=choices | {key: other})
    text, found = compared(capsys, new, copy)
    assert found["architecture"] == {key: [choices[key], other]}
    drawn = [line for line in text.splitlines() if "◀" in line]
    assert len(drawn) == 1
    assert drawn[0].index(choices[key]) < drawn[0].index(other)
    assert "reduction" not in text
    assert "metrics are bit-identical" in text
    dropped = {k: v for k, v in choices.items() if k != key}
    change(copy, "architecture.json", choices=dropped)
    text, found = compared(capsys, new, copy)
    assert found["architecture"] == {key: [choices[key], None]}
    assert [line.rstrip() for line in text.splitlines() if "normal cell" in line] == [
        "normal cell".ljust(len("  node 0 ◀── " + choices[key] + " ── cell k-2")) + "  -"
    ]


def test_the_first_differing_epoch_of_each_phase(capsys, runs, new):
    copy = shutil.copytree(new, runs / "copy")
    rows = records(copy)
    rows[1] |= {"train_loss": rows[1]["train_loss"] * (1 + 2**-52), "seconds": 99.0}
    write_records(copy, rows[:-3])
    text, found = compared(capsys, new, copy)
    assert found["metrics"] == {
        "search": {"epoch": 2, "names": ["train_loss"], "epochs": [2, 2]},
        "random 1": {"epoch": 2, "names": [], "epochs": [2, 1]},
        "random 2": {"epoch": 1, "names": [], "epochs": [2, 0]},
    }
    assert "search: first difference in epoch 2: train_loss\n" in text
    assert "train: metrics are bit-identical\n" in text
    assert "random 1: metrics are bit-identical as far as both go; A has 2 epochs, B has 1\n" in text
    assert "random 2: only in A\n" in text
    assert "random 2: only in B\n" in compared(capsys, copy, new)[0]


def test_results(capsys, runs, new):
    copy = shutil.copytree(new, runs / "copy")
    result = json.loads((copy / "result.json").read_text())
    accuracy = result["network"]["test"]["accuracy"]
    result["network"]["test"]["accuracy"] = accuracy + 1e-9  # less than the digits that are printed
    result["search"]["verdict"] = "quite another one"
    result["search"]["parameter_free"] = 0.5
    result["random"][0]["architecture"]["normal/2<-0"] = "skip_connect"
    (copy / "result.json").write_text(json.dumps(result))
    text, found = compared(capsys, new, copy)
    assert set(found["result"]) == {
        "network.test.accuracy",
        "search.verdict",
        "search.parameter_free",
        "random 1.architecture",
    }
    assert repr(accuracy) in text
    assert "4 edges, 1 of its own" in text
    assert "quite another one" in text


def test_a_complete_and_an_interrupted_run(capsys, runs, new):
    other = interrupt(shutil.copytree(new, runs / "copy"), 1)
    text, found = compared(capsys, new, other)
    assert found["result"] == {
        "status": ["complete", "interrupted"],
        "search": ["finished", None],
        "network": ["finished", None],
        "random 1": ["finished", None],
        "random 2": ["finished", None],
    }
    assert not found["architecture"]  # one of them has none
    assert "B  " in text


def test_diff_needs_two_runs(new, tmp_path):
    with pytest.raises(InputError, match="no run directory"):
        diff_runs(new, tmp_path, TEXT)


# -- the listings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("listing", "name"), [(list_methods, "darts-2nd"), (list_data, "fashion-mnist")])
def test_a_listing_in_every_form(capsys, listing, name):
    listing(TEXT)
    assert name in capsys.readouterr().out
    listing(QUIET)
    names = capsys.readouterr().out.splitlines()
    listing(JSON)
    found = json.loads(capsys.readouterr().out)
    assert name in names
    assert [entry["name"] for entry in found] == names
    assert all(entry["summary"] for entry in found)


def test_spaces_in_every_form(capsys):
    list_spaces(TEXT)
    text = capsys.readouterr().out
    list_spaces(QUIET)
    names = capsys.readouterr().out.splitlines()
    list_spaces(JSON)
    found = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in (*found["spaces"], *found["architectures"])] == names
    assert "rdarts-s4" in text
    assert "rdarts-s4" in names
    darts = next(entry for entry in found["spaces"] if entry["name"] == "darts")
    assert darts["edges"] == 28
    assert f"{darts['size']:.3g}" in text
    assert next(e for e in found["architectures"] if e["name"] == "darts-v2")["space"] == "darts"


def test_the_table_of_methods_has_uses_parts_and_references(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "600")
    list_methods(TEXT)
    text = capsys.readouterr().out
    assert all(
        re.search(rf"^{name} +{re.escape(m.summary)}.* {re.escape(m.reference)}", text, re.M)
        for name, m in METHODS.items()
    )
    drnas = text[text.index("drnas ") : text.index("drnas-progressive ")]
    assert re.findall(r"(mixture|terms|stages) (\S+)", drnas) == [
        ("mixture", "dirichlet"),
        ("terms", "concentration-anchor"),
        ("stages", "freeze-logits:first=0.2"),
    ]
    monkeypatch.setenv("COLUMNS", "100")  # folded, but whole
    list_methods(TEXT)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert {line.split()[0] for line in lines if line and not line.startswith(" ")} == {
        "method",
        "NAME+pt",
        *METHODS,
        *SEARCHES,
    }


@pytest.mark.parametrize("axis", [None, *AXES])
def test_parts_in_every_form(capsys, axis):
    list_parts(axis, JSON)
    found = json.loads(capsys.readouterr().out)
    assert {entry["axis"] for entry in found} == ({*AXES} if axis is None else {axis})
    list_parts(axis, QUIET)
    assert capsys.readouterr().out.split() == [entry["name"] for entry in found]
    list_parts(axis, TEXT)
    text = capsys.readouterr().out
    for entry in found:
        # What stands in the table can be given as it is, and means the same.
        numbers = ",".join(f"{name}={word}" for name, word in entry["numbers"].items())
        registry = AXES[entry["axis"]].registry
        assert part_named(registry, entry["name"] + (f":{numbers}" if numbers else "")) == registry[entry["name"]]
        assert entry["name"] in text
        assert set(entry["papers"]) <= set(BIBTEX)


def test_parts_of_no_axis_are_refused():
    with pytest.raises(InputError, match="unknown axis of a method 'mixtures'; did you mean 'mixture'"):
        list_parts("mixtures", TEXT)


def test_a_composed_method_is_shown(capsys):
    show_method("drnas/mixture=batch-mixed:p_up=0.5/terms=none", TEXT)
    text = capsys.readouterr().out
    assert "p_up=0.5" in text
    assert "drnas with other parts: mixture batch-mixed:p_up=0.5, terms none" in text
    assert "zhang2023spdarts" in text
    assert "chen2021drnas" not in text  # no part of its papers is left
    show_method("drnas/mixture=softmax/terms=none", QUIET)
    assert capsys.readouterr().out == "drnas/mixture=softmax/terms=none\n"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_shown_with_its_numbers_and_references(capsys, name):
    chosen = METHODS[name]
    show_method(name, TEXT)
    text = capsys.readouterr().out
    for part in (chosen.relaxation, chosen.objective, chosen.weight_optimizer, chosen.logit_optimizer, *chosen.terms):
        assert repr(part) in text
    for variant in chosen.variants:
        parts = [part for v in variant.changes.values() for part in (v if isinstance(v, tuple) else (v,))]
        numbers = [value for part in parts for value in (part.values() if isinstance(part, dict) else (part,))]
        assert all(repr(number) in text for number in numbers)
    assert all(entry in text for entry in bibliography(chosen).values())
    show_method(name, JSON)
    found = json.loads(capsys.readouterr().out)
    assert found["epochs"] == chosen.epochs
    assert found["bibtex"] == bibliography(chosen)
    show_method(name, QUIET)
    assert capsys.readouterr().out == f"{name}\n"


def test_an_unknown_method_is_not_shown():
    with pytest.raises(InputError, match="did you mean 'darts"):
        show_method("dart", TEXT)
