"""`oche run` with searches by query: by a table, by trainings, cut off and resumed."""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import pytest

from oche.architecture import Architecture
from oche.bench.curve_truth import CurveTruth
from oche.bench.table import Table
from oche.bench.truth import Truth
from oche.cli import main
from oche.report.queries import MEASUREMENTS, level_rows

NASBENCH201 = ("--space", "nasbench201", "--data", "cifar10", "--method", "nosh", "--threads", "1")
TRAINED = (
    *("--method", "rank-nosh", "--space", "bench125", "--space.cells", "1", "--space.channels", "2"),
    *("--data", "digits", "--data.limit", "120", "--search.epochs", "2", "--query.width", "2", "--query.budget", "8"),
    *("--train.cells", "1", "--train.channels", "2", "--train.epochs", "1", "--threads", "1"),
)


def result(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


def measured(run: Path) -> list[dict[str, Any]]:
    """The measurements without times."""
    lines = [json.loads(line) for line in (run / MEASUREMENTS).read_text().splitlines()[1:]]
    return [{k: v for k, v in line.items() if k not in ("wall", "busy", "seconds")} for line in lines]


def test_a_table_is_asked_and_then_tells_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No image of CIFAR-10 is on this machine."""
    run = tmp_path / "run"
    words = ("--query.budget", "1500", "--baseline", "random:2", "--run", str(run))
    assert main(["run", *NASBENCH201, *words]) == 0
    said = capsys.readouterr().out
    assert "costs 12 + 200 epochs" in said
    assert "of 15,625 by test accuracy" in said
    found = Architecture.load(run / "architecture.json")
    known = result(run)
    assert known["network"]["test"]["accuracy"] == pytest.approx(Truth.embedded().accuracy(found, "cifar10") / 100)
    assert known["network"]["parameters"] == Table.embedded().parameters(found)
    assert known["search"]["epochs"] <= 1500
    assert known["search"]["valid_accuracy"] == pytest.approx(Table.embedded().accuracy(found, "cifar10"))
    assert len(known["random"]) == 2
    spent = sum(row["epochs"] * row["measured"] for row in level_rows(run))
    assert spent == known["search"]["epochs"], "separate schedules are paid in full"
    for path in (run / MEASUREMENTS, run / "log.txt", run / "config.yaml"):
        assert "test_accuracy" not in path.read_text()
    assert main(["show", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "nosh: validation accuracy" in shown
    assert "best validation" in shown
    assert main(["show", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "complete"
    assert main(["list", str(tmp_path)]) == 0
    assert "nosh" in capsys.readouterr().out


def test_a_run_by_a_table_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = ("--space", "bench125", "--data", "digits", "--method", "nosh", "--query.budget", "450", "--threads", "1")
    assert main(["run", *words, "--run", str(whole), "--quiet"]) == 0
    assert main(["run", *words, "--run", str(cut), "--quiet"]) == 0
    found = Architecture.load(whole / "architecture.json")
    assert result(whole)["network"]["test"]["accuracy"] == pytest.approx(CurveTruth.embedded().accuracy(found) / 100)
    lines = (cut / MEASUREMENTS).read_bytes().splitlines(keepends=True)
    (cut / MEASUREMENTS).write_bytes(b"".join(lines[: len(lines) // 2]) + b'{"cell')
    for name in ("architecture.json", "architecture.txt", "result.json"):
        (cut / name).unlink()
    assert main(["resume", str(cut), "--quiet"]) == 0
    assert measured(cut) == measured(whole)
    assert result(cut)["network"] == result(whole)["network"]


def test_candidates_are_trained_where_no_table_knows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed in the middle by a signal that nobody can catch, resumed, and the same as in one go."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(["run", *TRAINED, "--run", str(whole)]) == 0
    said = capsys.readouterr().out
    assert "paused and resumed" in said
    assert "test accuracy" in said
    assert result(whole)["search"]["epochs"] <= 8
    assert not (whole / "candidates").exists(), "their checkpoints are of no use any more"
    assert (whole / "network.pt").exists()

    code = "import sys; from oche.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "run", *TRAINED, "--run", str(cut)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(0.05)
        if (cut / MEASUREMENTS).exists() and (cut / MEASUREMENTS).read_bytes().count(b"\n") > 3:
            process.kill()
    process.wait()
    assert not (cut / "network.pt").exists(), "it was killed during the search"
    assert main(["resume", str(cut), "--quiet"]) == 0
    assert measured(cut) == measured(whole)
    assert result(cut)["network"]["test"] == result(whole)["network"]["test"]


@pytest.mark.parametrize("words", [("rank-nosh", "--query.budget", "500"), ("proxy-search", "--query.budget", "400")])
def test_level_zero_needs_no_images_where_the_proxy_does_not(words: tuple[str, ...], tmp_path: Path) -> None:
    """By the number of parameters, with which an all-convolution cell is the best that there is."""
    run = tmp_path / "run"
    given = ("--query.proxy", "parameters", "--query.untrained", "30", "--space", "nasbench201", "--data", "cifar10")
    assert main(["search", *given, "--method", *words, "--run", str(run), "--quiet", "--threads", "1"]) == 0
    added = [Architecture.from_json(json.dumps(a)) for a in measured(run)[0]["architectures"]]
    sizes = [Table.embedded().parameters(i) for i in range(0, 15_625, 100)]
    assert median(map(Table.embedded().parameters, added)) > quantiles(sizes, n=10)[-1], "some are drawn at random"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "darts", "--query.budget", "9"), "--query options are for searches by query (rank-nosh"),
        ((*NASBENCH201, "--query.budget", "300"), "costs 404 epochs, but the budget is 300; give at least 404"),
        ((*NASBENCH201, "--query.levels", "20,10"), "must increase from at least 1, but got 20, 10"),
        ((*NASBENCH201, "--query.levels", "12,100"), "need what is known after 100"),
        ((*NASBENCH201, "--query.levels", "a"), "levels are numbers of epochs, such as 5,10,20,40, but got 'a'"),
        ((*NASBENCH201, "--query.proxy", "synflow"), "a zero-cost proxy is of no use to nosh, which ranks nothing"),
        ((*NASBENCH201, "--search.logit_lr", "1"), "--search.logit_lr is of no use to nosh"),
        (
            ("--space", "nasbench201", "--data", "cifar10", "--method", "rank-nosh", "--query.proxy", "naswot"),
            "the proxy 'naswot' needs a batch of images, but there are none",
        ),
        (
            ("--space", "nasbench201", "--data", "cifar10", "--method", "random-search", "--query.levels", "12,200"),
            "--query.levels is of no use to random-search",
        ),
    ],
)
def test_bad_input(words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *words, "--run", str(tmp_path / "run")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()
