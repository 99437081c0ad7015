"""`oche compare` from end to end: what it computes, leaves, refuses, and how it goes on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oche.architecture import Architecture
from oche.bench.truth import Truth
from oche.campaign.ledger import Ledger
from oche.cli import main
from oche.compare.plan import KIND
from oche.needs import KEPT_INPUTS
from oche.select.decorrelation import Decorrelation

Compare = Callable[..., int]
Tiny = tuple[str, ...]


def entries(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(e["cell"].values()): dict(e) for e in Ledger.read(path, KIND).entries.values()}


def numbers(entry: dict[str, Any]) -> dict[str, Any]:
    """What a seed fixes: all but times."""
    timed = {"wall", "busy", "seconds", "epoch_seconds", "course", "budget"}
    return {key: value for key, value in entry.items() if key not in timed}


def test_every_cell_is_there_with_all_that_it_needs(finished: Path) -> None:
    cells = entries(finished)
    assert set(cells) == {(m, "nasbench201", "digits", s) for m in ("darts", "random") for s in (0, 1)}
    truth = Truth.embedded()
    for (name, *_), entry in cells.items():
        architecture = Architecture.of("nasbench201", entry["architecture"])
        assert entry["test_accuracy"] == truth.accuracy(architecture, "cifar10")
        assert entry["machine"]["threads"] == 1
        assert {"device_name", "packages", "python"} <= entry["machine"].keys()
        assert len(entry["fingerprint"]) == 64
        if name == "darts":
            assert len(entry["logits"]) == 3, "at the start and after each of two epochs"
            assert entry["steps"] == 4, "120 images in two halves, batches of 30"
            assert len(entry["valid_accuracy"]) == len(entry["entropy"]) == len(entry["epoch_seconds"]) == 2


def test_random_search_gets_the_seconds_of_the_search_with_its_seed(finished: Path) -> None:
    cells = entries(finished)
    for seed in (0, 1):
        search, random = (cells[name, "nasbench201", "digits", seed] for name in ("darts", "random"))
        assert random["budget"] == search["seconds"]
        course = random["course"]
        assert course, "one architecture is trained in any case"
        assert all(step["seconds"] <= random["budget"] for step in course[1:])
        assert random["architecture"] == max(course, key=lambda step: step["valid_accuracy"])["architecture"]
    drawn = [[step["architecture"] for step in cells["random", "nasbench201", "digits", s]["course"]] for s in (0, 1)]
    assert drawn[0][0] != drawn[1][0]


def test_a_finished_comparison_is_reported_without_computing(copied: Path, compare: Compare, capsys: Any) -> None:
    before, began = copied.read_bytes(), time.monotonic()
    out = {name: copied.parent / f"report.{name}" for name in ("csv", "md", "png")}
    words = ["--data.limit", "120", "--csv", out["csv"], "--markdown", out["md"], "--figure", out["png"]]
    assert compare(copied, *words) == 0
    assert copied.read_bytes() == before
    assert time.monotonic() - began < 30
    printed = capsys.readouterr().out
    for text in (
        "of the paper's",
        "IES at the end",
        "random, same seconds",
        "quartiles of all architectures",
        "collapsed",
    ):
        assert text in printed
    rows = list(csv.DictReader(out["csv"].read_text().splitlines()))
    assert {(r["method"], r["seed"]) for r in rows} == {(m, s) for m in ("darts", "random") for s in "01"}
    assert {r["collapsed"] for r in rows} <= {"0", "1"}
    assert out["md"].read_text().count("| darts |") == 2
    assert out["png"].read_bytes().startswith(b"\x89PNG")


def test_json_has_every_number(copied: Path, compare: Compare, capsys: Any) -> None:
    assert compare(copied, "--json") == 0
    (arena,) = json.loads(capsys.readouterr().out)
    darts, random = arena["methods"]
    scores = {seed: entries(copied)["darts", "nasbench201", "digits", seed]["test_accuracy"] for seed in (0, 1)}
    assert {int(seed): a for seed, a in darts["score"]["by_seed"].items()} == scores
    assert darts["against"]["pairs"] == 2
    assert random["against"] is None, "it is the baseline"
    assert darts["ratio"] == 19500 / 4


def test_seeds_and_methods_can_be_added(copied: Path, compare: Compare, tiny: Tiny) -> None:
    before = entries(copied)
    assert compare(copied, *tiny, "--methods", "darts-2nd", "--seeds", "1,", "--quiet") == 0
    after = entries(copied)
    assert {cell: after[cell] for cell in before} == before, "what is done is not done again"
    assert set(after) - set(before) == {("darts-2nd", "nasbench201", "digits", s) for s in (0, 1)}
    header = Ledger.read(copied, KIND).header["config"]
    assert header["methods"] == ["darts", "random", "darts-2nd"]
    assert header["seeds"] == [0, 1]


def test_composed_methods_are_compared(tmp_path: Path, compare: Compare, tiny: Tiny, capsys: Any) -> None:
    path = tmp_path / "results.jsonl"
    mixed = "sp-darts/mixture=batch-mixed:t_sparse=1e-2,p_up=0.5/selection=decorrelation:images=30"
    given = "sp-darts/selection=decorrelation:images=30/mixture=batch-mixed:t_sparse=1e-2,p_up=0.5"
    words = [*tiny, "--seeds", "1", "--methods", f"{given},darts/terms=none"]
    assert compare(path, *words, "--baseline", given, "--quiet") == 0
    assert {name for name, *_ in entries(path)} == {mixed, "darts/terms=none"}
    assert all(entry["status"] == "done" for entry in entries(path).values())
    # The file alone suffices, and the same method in another order is the same.
    assert compare(path, *tiny, "--methods", mixed, "--json") == 0
    (arena,) = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in arena["methods"]] == [mixed, "darts/terms=none"]
    assert len(entries(path)) == 2


def test_a_method_that_does_not_suit_a_space_is_refused_before_anything_is_computed(
    tmp_path: Path, compare: Compare, tiny: Tiny, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr(Decorrelation, "NEEDS_OF_SPACE", (KEPT_INPUTS,))
    path = tmp_path / "results.jsonl"
    assert compare(path, *tiny, "--methods", "darts,idarts") == 2
    assert "'idarts': Decorrelation (selection) needs nodes that keep some of their inputs" in capsys.readouterr().err
    assert not path.exists()


def test_a_cell_that_fails_is_recorded_and_the_rest_goes_on(
    tmp_path: Path, compare: Compare, tiny: Tiny, capsys: Any
) -> None:
    path = tmp_path / "results.jsonl"
    words = [*tiny, "--seeds", "1", "--methods", "darts,darts-2nd,random"]
    assert compare(path, *words, "--search.logit-lr", "1e38", "--quiet") == 0  # the logits overflow
    cells = entries(path)
    failed = {name: entry for (name, *_), entry in cells.items() if entry["status"] == "failed"}
    assert failed
    assert "logits" in str(failed) or "loss" in str(failed) or "weights" in str(failed)
    assert compare(path) == 0
    assert "failed: " in capsys.readouterr().out


def test_the_file_alone_goes_on_elsewhere(finished: Path, tmp_path: Path, compare: Compare) -> None:
    """Another directory stands for another machine: the file with one cell less is brought there."""
    lines = finished.read_text().splitlines(keepends=True)
    path = tmp_path / "elsewhere" / "results.jsonl"
    path.parent.mkdir()
    dropped = [line for line in lines if '"method":"darts"' in line and '"seed":1' in line]
    assert len(dropped) == 1
    path.write_text("".join(line for line in lines if line not in dropped))
    assert compare(path, "--quiet", "--device", "cpu") == 0
    key = ("darts", "nasbench201", "digits", 1)
    assert numbers(entries(path)[key]) == numbers(entries(finished)[key])
    assert str(tmp_path) not in path.read_text()


@pytest.fixture(scope="module")
def long(tiny: Tiny) -> list[str]:
    """A comparison that lasts long enough to be stopped."""
    given = dict(zip(tiny[::2], tiny[1::2], strict=True)) | {"--search.epochs": "12", "--methods": "darts"}
    return [word for pair in given.items() for word in pair] + ["--seeds", "2"]


@pytest.fixture(scope="module")
def undisturbed(long: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("undisturbed") / "whole.jsonl"
    assert main(["compare", str(path), *long, "--quiet"]) == 0
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_comparison_that_was_stopped_goes_on_bit_for_bit(
    number: int, tmp_path: Path, compare: Compare, long: list[str], undisturbed: Path
) -> None:
    cut, work = tmp_path / "cut.jsonl", tmp_path / ".cut.jsonl.work"
    process = subprocess.Popen(
        [sys.executable, "-m", "oche.cli", "compare", str(cut), *long], stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list(work.glob("*/*.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(work.glob("*/*.pt")), "a search has saved something"
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal sends it: to the workers as well
    else:
        process.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (128 + number if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert b"Traceback" not in errors
    assert compare(cut, *long, "--quiet") == 0
    whole = {cell: numbers(entry) for cell, entry in entries(undisturbed).items()}
    assert {cell: numbers(entry) for cell, entry in entries(cut).items()} == whole
    assert not work.exists()


def test_supernets_are_kept_on_request(tmp_path: Path, compare: Compare, tiny: Tiny) -> None:
    path = tmp_path / "results.jsonl"
    assert compare(path, *tiny, "--methods", "darts", "--seeds", "1", "--keep-supernets", "--quiet") == 0
    (kept,) = (tmp_path / "results.jsonl.supernets").iterdir()
    from oche.checkpoint import read_checkpoint

    assert kept.name.startswith("darts-nasbench201-digits-0-")
    assert read_checkpoint(kept)["state"]["over"]


def test_a_space_without_a_table_is_judged_by_training(tmp_path: Path, compare: Compare, capsys: Any) -> None:
    path = tmp_path / "results.jsonl"
    words = ["--space", "rdarts-s3", "--space.cells", "2", "--space.channels", "2", "--data", "digits"]
    words += ["--data.limit", "120", "--search.epochs", "1", "--methods", "darts", "--seeds", "1", "--references", "4"]
    assert compare(path, *words, "--device", "cpu", "--figure", tmp_path / "f.png") == 0
    cells = entries(path)
    assert len(cells) == 5
    assert all(0 <= entry["trained"]["test"] <= 100 for entry in cells.values())
    assert len({tuple(e["architecture"].items()) for e in cells.values()}) == 5
    printed = capsys.readouterr().out
    assert "quartiles of 4 random ones" in printed
    assert "rdarts-s3 on digits" in printed


REFUSED = [
    (["--seeds", "1,1"], "seed 1 is given twice"),
    (["--seeds", "none"], "seeds are a number of them"),
    (["--methods", "darts,darts"], "'darts' is given twice"),
    (["--methods", "dart"], "did you mean 'darts'"),
    (["--methods", "random"], "--methods darts,random"),
    (["--methods", "darts/selection=x"], "unknown selection 'x'"),
    (["--methods", "darts,drnas/mixture=softmax"], "--terms none"),
    (["--space", "nasbench"], "did you mean 'nasbench201'"),
    (["--baseline", "drnas"], "--baseline drnas is not compared"),
    (["--truth", "mnist"], "unknown data of the table nasbench201 'mnist'"),
    (["--data", "digit"], "did you mean 'digits'"),
    (["--search.epochs", "0"], "needs epochs >= 1"),
    (["--workers", "0"], "workers >= 1"),
    (["--table", "."], "is a CSV file"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_what_cannot_be_compared_is_refused_at_once(
    words: list[str], message: str, tmp_path: Path, compare: Compare, tiny: Tiny, capsys: Any
) -> None:
    path = tmp_path / "results.jsonl"
    given = dict(zip(tiny[::2], tiny[1::2], strict=True)) | {words[0]: words[1]}
    assert compare(path, *(word for pair in given.items() for word in pair)) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not path.exists()


def test_data_without_a_table_column_need_a_word(tmp_path: Path, compare: Compare, capsys: Any) -> None:
    assert compare(tmp_path / "r.jsonl", "--space", "nasbench201", "--data", "digits") == 2
    assert "--truth cifar10" in capsys.readouterr().err


def test_a_comparison_that_has_begun_keeps_its_sizes(copied: Path, compare: Compare, capsys: Any) -> None:
    before = copied.read_bytes()
    assert compare(copied, "--search.epochs", "3") == 2
    assert "search.epochs 2" in capsys.readouterr().err
    assert compare(copied, "--threads", "2") == 2
    assert copied.read_bytes() == before


def test_other_files_are_left_alone(tmp_path: Path, compare: Compare, tiny: Tiny, capsys: Any) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("my notes\n")
    assert compare(path, *tiny) == 2
    assert path.read_text() == "my notes\n"
    assert "mine.txt" in capsys.readouterr().err


def test_a_users_table_scores_too(lines: list[str], tmp_path: Path, compare: Compare, tiny: Tiny) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(lines) + "\n")
    results = tmp_path / "results.jsonl"
    words = [*tiny, "--methods", "darts", "--seeds", "1", "--quiet"]
    assert compare(results, *words, "--table", path) == 0
    (entry,) = entries(results).values()
    architecture = Architecture.of("nasbench201", entry["architecture"])
    assert entry["test_accuracy"] == Truth.read(path).accuracy(architecture, "cifar10")
    assert Ledger.read(results, KIND).header["config"]["table"] == "mine.csv"
    assert compare(results, "--quiet") == 2, "the table has to be given again"
