"""The command line as a user meets it: every bad input ends with one message and status 2, before any training."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from oche.architecture import Architecture
from oche.cli import main
from oche.config.file import as_yaml
from oche.config.options import (
    NamedData,
    OutputOptions,
    PlannedEpochs,
    ResumeOptions,
    RunCommand,
    SearchCommand,
    SpaceOptions,
    TrainCommand,
    TrainOptions,
)
from oche.interrupt import Interrupted

TINY = ["--space", "rdarts-s2", "--space.nodes", "1", "--space.cells", "2", "--space.channels", "4", "--threads", "1"]
TINY += ["--data.limit", "200", "--search.epochs", "2", "--search.batch", "32"]
SHORT = ["--train.cells", "2", "--train.channels", "4", "--train.epochs", "2", "--train.batch", "32"]


@pytest.fixture(autouse=True)
def _away(tmp_path, monkeypatch):
    """Default run directories belong into a temporary place."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A whole small run: search, training, two random architectures."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    assert main(["run", *TINY, *SHORT, "--baseline", "random:2", "--run", str(directory)]) == 0
    return directory


def refused(capsys, arguments: list[str], *parts: str) -> None:
    """The command ends with status 2 and one message with these parts, and leaves no run directory."""
    assert main(arguments) == 2
    message = capsys.readouterr().err
    for part in parts:
        assert part in message
    assert message.count("\n") == 1, message
    assert not Path("runs").exists()


def npz(path: Path, **changes) -> str:
    """A valid file of 12x12 images with two classes, but for `changes`."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (40, 12, 12), dtype=np.uint8),
        "y_train": np.arange(40) % 2,
        "x_test": rng.integers(0, 256, (10, 12, 12), dtype=np.uint8),
        "y_test": np.arange(10) % 2,
    }
    np.savez(path, **(arrays | changes))
    return str(path)


def test_a_run_leaves_what_the_documentation_says(finished, capsys):
    names = {path.name for path in finished.iterdir()}
    assert names - {".lock"} == {
        "checkpoints",
        "config.yaml",
        "log.txt",
        "tensorboard",
        "manifest.json",
        "method.json",
        "resolved.json",
        "space.json",
        "metrics.jsonl",
        "architecture.json",
        "architecture.txt",
        "network.pt",
        "result.json",
    }
    result = json.loads((finished / "result.json").read_text())
    assert len(result["random"]) == 2
    assert set(result["network"]["test"]) == {"loss", "accuracy"}
    assert result["search"]["steps"] == 4  # 2 epochs of 90 // 32 steps
    phases = [json.loads(line)["phase"] for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert phases == ["search"] * 2 + ["train"] * 2 + ["random 1"] * 2 + ["random 2"] * 2
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["sessions"][0]["threads"] == 1
    assert len(manifest["data"]["fingerprint"]) == 64


def test_a_run_is_repeated_from_its_own_configuration_alone(finished, tmp_path):
    assert main(["run", "--config", str(finished / "config.yaml"), "--run", "again"]) == 0
    first, second = (json.loads((run / "result.json").read_text()) for run in (finished, tmp_path / "again"))
    assert [n["architecture"] for n in first["random"]] == [n["architecture"] for n in second["random"]]
    assert first["network"]["test"] == second["network"]["test"]
    assert (finished / "architecture.json").read_text() == Path("again/architecture.json").read_text()
    assert (finished / "config.yaml").read_text() == Path("again/config.yaml").read_text()


def test_the_last_line_is_the_test_accuracy(capsys, tmp_path):
    assert main(["run", *TINY, *SHORT, "--baseline", "random:2", "--run", str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().out.splitlines()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert lines[-1] == f"test accuracy {100 * result['network']['test']['accuracy']:.2f} %"
    assert any(line.startswith("random: mean") and "n = 2" in line for line in lines)
    assert any("search: 4 steps" in line for line in lines)
    assert any(line.startswith("verdict: ") and "IES" in line for line in lines)


def test_show_tells_the_result(finished, capsys):
    assert main(["show", str(finished)]) == 0
    shown = capsys.readouterr().out
    drawing = (finished / "architecture.txt").read_text()
    assert drawing in shown
    assert json.loads((finished / "result.json").read_text())["search"]["verdict"] in shown
    assert "random 2" in shown


def test_cite_prints_the_papers_of_a_run(capsys, finished):
    assert main(["cite", str(finished)]) == 0
    text = capsys.readouterr().out
    assert text.count("@") == 2  # of the method and of the space
    assert "liu2019darts" in text
    assert "zela2020understanding" in text
    assert main(["cite", str(finished), "--quiet"]) == 0
    assert capsys.readouterr().out == "darts\nrdarts\n"


def test_search_then_train_its_result(capsys, tmp_path):
    assert main(["search", *TINY, "--run", str(tmp_path / "search")]) == 0
    found = Architecture.load(tmp_path / "search" / "architecture.json")
    assert found.space == "rdarts-s2"
    assert not (tmp_path / "search" / "network.pt").exists()


def test_a_run_with_another_number_of_nodes_trains_again(capsys, finished, tmp_path):
    assert main(["train", str(finished), *SHORT, "--data.limit", "200", "--threads", "1", "--run", "again"]) == 0
    assert Path("again/architecture.json").read_text() == (finished / "architecture.json").read_text()


def test_the_paper_preset_searches_the_methods_epochs(monkeypatch):
    asked = {}
    monkeypatch.setattr("oche.api.run_search", lambda *args, **options: asked.update(options) or pytest.skip("asked"))
    with pytest.raises(pytest.skip.Exception):
        main(["search", "--preset", "paper", "--space.cells", "2", "--space.channels", "4", "--threads", "1"])
    assert asked["epochs"] == 50


def test_a_batch_that_nobody_asked_for_is_the_papers_for_the_space(monkeypatch):
    asked = []
    monkeypatch.setattr("oche.api.run_search", lambda *args, **options: asked.append(args) or pytest.skip("asked"))
    for space, batch in (("nasbench201", 256), ("rdarts-s2", 80)):
        with pytest.raises(pytest.skip.Exception):
            main(["search", "--method", "sp-darts", "--space", space, "--threads", "1", "--run", space])
        _, _, searched, data = asked[-1]
        assert data.batch == searched.batch == batch


def test_few_images_shrink_a_batch_that_nobody_asked_for(capsys, tmp_path):
    path = npz(tmp_path / "few.npz")
    sizes = ["--space", "rdarts-s2", "--space.nodes", "1", "--space.cells", "2", "--space.channels", "4"]
    sizes += ["--search.epochs", "1", "--train.epochs", "1", "--train.cells", "2", "--train.channels", "4"]
    assert main(["run", "--data", path, *sizes, "--threads", "1", "--run", "out"]) == 0
    assert json.loads(Path("out/result.json").read_text())["search"]["steps"] == 1


@pytest.fixture(scope="module")
def composed(tmp_path_factory) -> Path:
    """A search by a method with parts of others."""
    directory = tmp_path_factory.mktemp("runs") / "composed"
    parts = ["--method", "sdarts-rs", "--selection", "decorrelation:images=32", "--objective", "amended:eta=0.05"]
    parts += ["--mixture", "batch-mixed:t_sparse=1e-2,p_up=0.9", "--stages", "freeze-logits:first=1", "--terms", "none"]
    assert main(["search", *TINY, *parts, "--run", str(directory)]) == 0
    return directory


RECIPE = "/".join([
    "sdarts-rs", "mixture=batch-mixed:t_sparse=1e-2,p_up=0.9", "objective=amended:eta=0.05", "terms=none",
    "stages=freeze-logits:first=1", "selection=decorrelation:images=32",
])  # fmt: skip


def test_a_composed_search_records_exactly_what_ran(composed):
    method = json.loads((composed / "method.json").read_text())
    assert method["name"] == RECIPE
    assert method["relaxation"]["t_sparse"] == 1e-2
    assert method["perturbation"]["part"] == "UniformPerturbation"
    assert method["objective"]["eta"] == 0.05
    assert method["selection"] == {"part": "Decorrelation", "images": 32, "literal": False}
    planned = json.loads((composed / "resolved.json").read_text())["method"]
    own = {"logit_optimizer"}  # whose rate follows the number of steps
    assert {k: v for k, v in planned.items() if k not in own} == {k: v for k, v in method.items() if k not in own}
    config = yaml.safe_load((composed / "config.yaml").read_text())
    assert (config["method"], config["objective"], config["terms"]) == ("sdarts-rs", "amended:eta=0.05", "none")


def test_a_composed_search_is_resumed_shown_and_cited(composed, capsys, tmp_path):
    assert main(["resume", str(composed)]) == 0
    assert main(["search", "--config", str(composed / "config.yaml"), "--run", "again"]) == 0
    assert (composed / "architecture.json").read_text() == Path("again/architecture.json").read_text()
    assert (composed / "config.yaml").read_text() == Path("again/config.yaml").read_text()
    capsys.readouterr()
    assert main(["diff", str(composed), "again"]) == 0
    difference = capsys.readouterr().out  # of the environment at most: which directory, which state of git
    assert "metrics are bit-identical" in difference
    assert not any(
        line.startswith(("option", "what the options", "data", "result")) for line in difference.splitlines()
    )
    assert main(["show", str(composed)]) == 0
    assert RECIPE in "".join(capsys.readouterr().out.split())  # folded
    assert main(["cite", str(composed), "--quiet"]) == 0
    assert set(capsys.readouterr().out.split()) == {"sp-darts", "sdarts", "amended", "idarts", "rdarts"}
    # Decorrelation looks at the supernet that was kept, and finds what the search has found.
    assert main(["select", str(composed), "--save", "again.json"]) == 0
    assert Path("again.json").read_text() == (composed / "architecture.json").read_text()
    assert main(["select", str(composed), "--selection", "perturbation"]) == 2
    assert "goes on training between its decisions" in capsys.readouterr().err
    for file in (composed / "checkpoints").iterdir():
        file.unlink()
    assert main(["select", str(composed)]) == 2
    assert "after the epochs: none" in capsys.readouterr().err
    assert main(["select", str(composed), "--selection", "magnitude"]) == 0
    assert main(["select", str(composed), "--selection", "magnitud"]) == 2
    assert "did you mean 'magnitude'" in capsys.readouterr().err


def test_one_recipe_is_as_good_as_several_options_and_names_the_directory(composed, capsys):
    assert main(["search", *TINY, "--method", RECIPE]) == 0
    (made,) = Path("runs").iterdir()
    assert "-sdarts-rs~mixture=batch-mixed@t_sparse=1e-2,p_up=0.9~objective=amended@eta=0.05~terms=none" in made.name
    assert (made / "architecture.json").read_text() == (composed / "architecture.json").read_text()
    assert (made / "method.json").read_text() == (composed / "method.json").read_text()


def test_a_known_architecture_trains(capsys, tmp_path):
    assert main(["train", "darts-v1", "--data.limit", "200", *SHORT[:-4], "--train.epochs", "1", "--run", "out"]) == 0
    assert Architecture.load("out/architecture.json").space == "darts"
    assert capsys.readouterr().out.splitlines()[-1].startswith("test accuracy ")


def test_a_time_limit_still_delivers_a_network(capsys, tmp_path):
    long = ["--search.epochs", "10000", "--train.epochs", "10000", "--time-limit", "6s", "--run", "out"]
    assert main(["run", *TINY[:-4], "--search.batch", "32", *SHORT[:4], "--train.batch", "32", *long]) == 0
    shown = capsys.readouterr().err
    assert "search stopped: the time limit" in shown
    assert "train stopped: the time limit" in shown
    assert Path("out/network.pt").exists()
    result = json.loads(Path("out/result.json").read_text())
    assert 0 < result["search"]["seconds"] < 5
    assert 0 < result["network"]["test"]["accuracy"] <= 1


@pytest.mark.parametrize(
    ("command", "text"), [("methods", "darts-2nd"), ("spaces", "rdarts-s4"), ("data", "fashion-mnist")]
)
def test_listings(capsys, command, text):
    assert main([command]) == 0
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--method", "dart"], ["unknown method 'dart'", "did you mean 'darts'"]),
        (["--method", "darts", "--mixture", "sofmax"], ["unknown mixture 'sofmax'", "did you mean 'softmax'"]),
        (["--method", "drnas", "--mixture", "softmax"], ["ConcentrationAnchor (terms)", "--terms none"]),
        (["--mixture", "softmax:temperatur=1"], ["unknown number", "did you mean 'temperature'"]),
        (["--mixture", "softmax:temperature=cold"], ["temperature of the mixture 'softmax'", "'cold'"]),
        (["--method", "darts/selection=magnitude", "--selection", "decorrelation"], ["selection", "given twice"]),
        (["--space", "drats"], ["unknown space 'drats'", "did you mean 'darts'"]),
        (["--data", "digit"], ["unknown data set 'digit'", "'digits'"]),
        (["--train", "darts-cifer"], ["unknown training protocol", "'darts-cifar'"]),
        (["--data", "cifar10"], ["--data.root"]),
        (["--data", "missing.npz"], ["missing.npz", "no such file"]),
        (["--space", "rdarts-s1", "--space.nodes", "3"], ["rdarts-s1", "leave out nodes"]),
        (["--space.reductions", "4", "--space.cells", "6", "--space.channels", "4"], ["8x8", "4 reductions"]),
        (["--train.reductions", "7", "--train.cells", "9"], ["7 reductions", "8x8"]),
        (["--search.batch", "5000"], ["batch=5000", "--search.batch"]),
        (["--train.batch", "5000"], ["batch=5000", "--train.batch"]),
        (["--search.epochs", "0"], ["epochs >= 1", "--search.epochs 0"]),
        (["--search.logit-lr", "-1"], ["--search.logit_lr -1"]),
        (["--train.drop-path", "1.5"], ["drop_path=1.5"]),
        (["--train.lr", "-1"], ["--train.lr -1"]),
        (["--train.cutout", "-1"], ["cutout >= 0", "cutout=-1"]),
        (["--space.reductions", "0"], ["reduction cells", "--train.reductions 0"]),
        (["--data.limit", "5"], ["limit", "10 classes"]),
        (["--threads", "0"], ["--threads", "0"]),
        (["--device", "cudda"], ["'cudda'", "--device cpu"]),
        (["--device", "cuda:7"], ["'cuda:7'", "--device cpu"]),
        (["--space.cells", "0"], ["cells >= 1", "cells=0"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_refused(capsys, arguments, parts):
    refused(capsys, ["run", *arguments], *parts)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--metod", "darts"], ["--metod", "--method"]),
        (["--seed", "one"], ["--seed", "'one'"]),
        (["--seed"], ["--seed", "requires an argument", "fixes every random number"]),
        (["--seed", "1", "--seed", "2"], ["--seed", "multiple times"]),
        (["--time-limit", "soon"], ["--time-limit", "'soon'", "2h"]),
        (["--keep", "much"], ["--keep", "'much'", "500MB"]),
        (["--baseline", "random"], ["--baseline", "random:3"]),
        (["--train.optimizer", "lion"], ["--train.optimizer", "lion", "adamw"]),
        (["--search.epochs", "1.5"], ["--search.epochs", "'1.5'"]),
        (["--data.size", "1.5", "3"], ["--data.size", "'1.5'"]),
        (["--data.size", "3"], ["--data.size", "2"]),
        (["digits"], ["unexpected", "'digits'"]),
        (["--no-quiet"], ["--no-quiet"]),
        (["--print-config", "--quiet"], ["--print-config", "--quiet"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_options_are_refused(capsys, arguments, parts):
    refused(capsys, ["run", *arguments], *parts)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["bench build", "DIRECTORY", "requires an argument"]),
        (["t", "--space", "darts"], ["every architecture", "--space bench125"]),
        (["t", "--space", "bench126"], ["unknown space 'bench126'", "did you mean 'bench125'"]),
        (["t", "--space.nodes", "2"], ["bench125", "leave out nodes"]),
        (["t", "--train", "small"], ["validation images that watch", "--train bench125"]),
        (["t", "--train.validation", "0"], ["validation images that watch"]),
        (["t", "--train.batch", "5000"], ["batch=5000", "--train.batch"]),
        (["t", "--train.auxiliary", "0.4"], ["auxiliary head", "--train.auxiliary 0"]),
        (["t", "--seeds", "0"], ["seeds >= 1", "0"]),
        (["t", "--seeds", "two"], ["--seeds", "'two'"]),
        (["t", "--workers", "0"], ["--workers 0"]),
        (["t", "--executor", "slurm"], ["--executor", "slurm", "ray"]),
        (["t", "--data", "missing.npz"], ["missing.npz", "no such file"]),
        (["t", "--device", "cudda"], ["'cudda'", "--device cpu"]),
        (["file/t"], ["cannot write", "file"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_bad_table_is_refused_before_anything_is_trained(capsys, arguments, parts):
    Path("file").write_text("")
    refused(capsys, ["bench", "build", *arguments], *parts)
    assert not Path("t").exists()


def test_a_place_that_holds_another_table_is_refused(capsys):
    Path("t").mkdir()
    Path("t/trainings.jsonl").write_text('{"format": 1, "kind": "comparison"}\n')
    refused(capsys, ["bench", "build", "t"], "t/trainings.jsonl", "something else than a table")
    Path("t/trainings.jsonl").write_text('{"format": 1, "kind": "table", "space": 5}\n')
    refused(capsys, ["bench", "build", "t"], "another table", "its space is 5")


def test_showing_no_table_is_refused(capsys):
    refused(capsys, ["bench", "show", "nowhere"], "no table in 'nowhere'", "oche bench build")
    refused(capsys, ["bench", "shaw"], "shaw")


def test_corrupt_data_is_refused(capsys, tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"not a zip file")
    refused(capsys, ["run", "--data", str(tmp_path / "broken.npz")], "broken.npz")


def test_labels_outside_the_range_are_refused(capsys, tmp_path):
    path = npz(tmp_path / "labels.npz", y_test=np.array([0, 1] * 4 + [0, 7]))
    refused(capsys, ["run", "--data", path], "labels", "7")


def test_nan_in_the_data_is_refused(capsys, tmp_path):
    images = np.random.default_rng(0).random((40, 12, 12)).astype(np.float32)
    images[3, 4, 5] = np.nan
    path = npz(tmp_path / "nan.npz", x_train=images, x_test=images[:10])
    refused(capsys, ["run", "--data", path], "NaN")


def test_a_class_missing_from_a_half_is_refused(capsys, tmp_path):
    path = npz(tmp_path / "rare.npz", y_train=np.array([1] + [0] * 39))
    refused(capsys, ["run", "--data", path], "class '1'", "1 of 40")


def test_an_existing_run_directory_is_refused_before_the_data_are_read(capsys, finished, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("not ours")
    missing = ["--data", "missing.npz"]
    refused(capsys, ["run", *missing, "--run", str(finished)], "exists already", f"oche resume {finished}")
    refused(capsys, ["run", *missing, "--run", "other"], "holds something else than a run", "--run DIR")
    refused(capsys, ["run", *missing, "--run", "other/file"], "is a file", "--run DIR")
    assert len(list((tmp_path / "other").iterdir())) == 1


def test_an_empty_directory_is_taken(tmp_path):
    (tmp_path / "old").mkdir()
    assert main(["search", *TINY, "--run", "old", "--quiet"]) == 0
    assert Path("old/architecture.json").exists()


def test_an_option_of_another_command_is_named(capsys):
    refused(capsys, ["search", "--baseline", "random:3"], "baseline is an option of `oche run`", "not of `oche search`")
    refused(capsys, ["train", "darts-v2", "--space", "darts"], "space.name is an option of `oche run`")
    refused(capsys, ["run", "--epochs", "3"], "unknown option --epochs", "--search.epochs", "--train.epochs")


def test_a_run_directory_below_a_file_is_refused(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    refused(capsys, ["search", *TINY, "--run", str(tmp_path / "file" / "run")], "cannot make")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("not json", ["arch.json", "JSON"]),
        ('{"format": 1, "space": "drats", "choices": {}}', ["unknown space 'drats'"]),
        ('{"format": 9, "space": "darts", "choices": {}}', ["format 1", "9"]),
        ('{"format": 1, "space": "darts", "choices": {"normal/2<-0": "conv_9x9"}}', ["candidate", "'conv_9x9'"]),
        ('{"format": 1, "space": "darts", "choices": {"normal/2<-0": "none"}}', ["candidate", "'none'"]),
        ('{"format": 1, "space": "darts", "choices": {"normal/9<-0": "skip_connect"}}', ["edge", "'normal/9<-0'"]),
        ('{"format": 1, "space": "darts", "choices": {}}', ["exactly 2", "got 0"]),
    ],
)
def test_a_bad_architecture_is_refused(capsys, tmp_path, text, parts):
    (tmp_path / "arch.json").write_text(text)
    refused(capsys, ["train", str(tmp_path / "arch.json")], *parts)


def test_an_unknown_architecture_is_refused(capsys):
    refused(capsys, ["train", "darts-v9"], "'darts-v9'", "did you mean", "darts-v2")


def test_show_of_no_run_is_refused(capsys, tmp_path):
    refused(capsys, ["show", str(tmp_path)], "no run directory")


def test_ctrl_c_ends_with_status_130_and_a_word(capsys, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("oche.report.show.show_run", interrupted)
    assert main(["show", "out"]) == 130
    assert capsys.readouterr().err == "oche: interrupted\n"


def test_a_stopped_job_says_how_to_go_on(capsys, monkeypatch):
    def stopped(*args, **options):
        raise Interrupted(signal.SIGTERM, "stopped after step 3; go on with: oche resume out")

    monkeypatch.setattr("oche.runs.commands.search", stopped)
    assert main(["search"]) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "oche: stopped after step 3; go on with: oche resume out\n"


# Configurations


def shown(capsys, arguments: list[str]) -> dict[str, tuple[str, str]]:
    """What --print-config says: value and origin by dotted name."""
    assert main([*arguments, "--print-config", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    return {name: (value, printed["origins"][name]) for name, value in printed["options"].items()}


def test_print_config_says_where_each_value_comes_from(capsys, tmp_path):
    (tmp_path / "my.yaml").write_text("seed: 1\nmethod: darts-2nd\ntrain: {lr: 0.1, optimizer: adamw}\n")
    found = shown(capsys, ["run", "--config", "my.yaml", "--seed", "2", "--device", "cpu", "--time-limit", "90m"])
    assert found["seed"] == (2, "command line")
    assert found["time_limit"] == ("90m", "command line")
    assert found["method"] == ("darts-2nd", "my.yaml")
    assert found["train.lr"] == (0.1, "my.yaml")
    assert found["preset"] == ("tiny", "the device cpu")
    assert found["space.cells"] == (3, "preset tiny")
    assert found["space.nodes"] == (4, "space darts")
    assert found["train.epochs"] == (10, "protocol tiny")
    assert found["keep"] == ("1GB", "default")
    assert found["threads"] == (torch.get_num_threads(), "the machine")
    assert found["data.limit"] == (None, "not set")
    assert found["data.flip"] == (None, "the data")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--data", "a b.npz", "--train.lr", "1e-3", "--baseline", "random:2", "--data.size", "3", "4"],
        ["search", "--preset", "paper", "--space", "rdarts-s1", "--keep", "0"],
        ["train", "darts-v1", "--data.no-flip", "--time-limit", "1h30m"],
    ],
)
def test_what_print_config_prints_is_a_configuration(capsys, tmp_path, arguments):
    assert main([*arguments, "--print-config"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "printed.yaml").write_text(printed)
    assert main([arguments[0], "--config", "printed.yaml", "--print-config"]) == 0
    again = capsys.readouterr().out
    assert yaml.safe_load(again) == yaml.safe_load(printed)
    assert "printed.yaml" in again
    assert not Path("runs").exists()


def test_print_config_refuses_what_a_run_would_refuse(capsys):
    refused(capsys, ["run", "--print-config", "--method", "dart"], "'darts'")
    refused(capsys, ["run", "--print-config", "--device", "cudda"], "'cudda'")


@pytest.mark.parametrize("command", ["run", "search", "train"])
def test_the_template_is_a_configuration(capsys, tmp_path, command):
    assert main(["config", command]) == 0
    (tmp_path / "my.yaml").write_text(capsys.readouterr().out)
    found = shown(capsys, [command, "--config", "my.yaml"])
    assert found["seed"] == (0, "my.yaml")


def test_options_reach_the_command(monkeypatch, tmp_path):
    asked = []
    for name in ("run", "search", "train"):
        monkeypatch.setattr(f"oche.runs.commands.{name}", lambda *given: asked.append(given))
    (tmp_path / "my.yaml").write_text("seed: 5\narchitecture: darts-v2\n")
    assert main(["run", "--quiet", "--seed", "3"]) == 0
    assert main(["search", "--json", "--space", "rdarts-s2"]) == 0
    assert main(["train", "--config", "my.yaml", "--data.limit", "9"]) == 0
    assert main(["train", "darts-v1"]) == 0
    assert asked == [
        (RunCommand(seed=3), OutputOptions(quiet=True)),
        (SearchCommand(space=SpaceOptions(name="rdarts-s2")), OutputOptions(json=True)),
        (TrainCommand(architecture="darts-v2", seed=5, data=NamedData(limit=9)), OutputOptions()),
        (TrainCommand(architecture="darts-v1"), OutputOptions()),
    ]


@pytest.mark.parametrize("arguments", [["train"], ["train", "--data", "digits"], ["train", "--config", "my.yaml"]])
def test_training_without_an_architecture_is_refused(capsys, tmp_path, arguments):
    (tmp_path / "my.yaml").write_text("seed: 5\n")
    refused(capsys, arguments, "--architecture", "architecture.json", "darts-v2")


# Runs


def test_resume_reads_the_runs_own_configuration(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("oche.runs.commands.resume", lambda *given: asked.append(given))
    options = RunCommand(seed=3, preset="tiny", data=NamedData(name="a.npz"), train=TrainOptions(lr=1e-3))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").write_text(as_yaml("run", options))
    moved = ["--data", "b.npz", "--data.root", "there", "--device", "cpu", "--threads", "2"]
    assert main(["resume", "out"]) == 0
    assert main(["resume", "out", *moved, "--search.epochs", "9", "--quiet"]) == 0
    changes = ResumeOptions(
        data="b.npz", root="there", device="cpu", threads=2, search=PlannedEpochs(epochs=9), train=PlannedEpochs()
    )
    assert asked == [
        (Path("out"), "run", options, ResumeOptions(), OutputOptions()),
        (Path("out"), "run", options, changes, OutputOptions(quiet=True)),
    ]


def test_what_cannot_be_resumed_is_refused(capsys, tmp_path):
    refused(capsys, ["resume"], "RUN")
    refused(capsys, ["resume", "nowhere"], "'nowhere'", "config.yaml", "oche list")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text('{"format": 1}')
    refused(capsys, ["resume", "old"], "format 1", "no checkpoints", "manifest.json")
    (tmp_path / "old" / "config.yaml").write_text("format: 3\ncommand: run\nnew: 1\n")
    refused(capsys, ["resume", "old"], "old/config.yaml", "newer oche", "format 3")
    (tmp_path / "old" / "config.yaml").write_text("seed: 1\n")
    refused(capsys, ["resume", "old"], "old/config.yaml", "command: run")
    (tmp_path / "old" / "config.yaml").write_text("command: run\nseed: one\n")
    refused(capsys, ["resume", "old"], "old/config.yaml", "seed", "'one'")


@pytest.mark.parametrize(
    ("arguments", "function", "given", "named"),
    [
        (["select", "out", "--epoch", "3", "--selection", "magnitude", "--save", "a.json", "--json"],
         "runs.commands.select", (Path("out"),), {"epoch": 3, "selection": "magnitude", "save": Path("a.json")}),
        (["select", "out", "--json"], "runs.commands.select", (Path("out"),),
         {"epoch": None, "selection": None, "save": None}),
        (["show", "out", "--json"], "report.show.show_run", (Path("out"),), {}),
        (["list", "--json"], "report.overview.list_runs", (Path("runs"),), {}),
        (["list", "there", "--json"], "report.overview.list_runs", (Path("there"),), {}),
        (["diff", "a", "b", "--json"], "report.diff.diff_runs", (Path("a"), Path("b")), {}),
        (["methods", "--json"], "report.listing.list_methods", (), {}),
        (["parts", "--json"], "report.listing.list_parts", (None,), {}),
        (["parts", "terms", "--json"], "report.listing.list_parts", ("terms",), {}),
        (["methods", "drnas", "--json"], "report.listing.show_method", ("drnas",), {}),
        (["cite", "out", "--json"], "report.cite.cite_run", (Path("out"),), {}),
        (["spaces", "--json"], "report.listing.list_spaces", (), {}),
        (["data", "--json"], "report.listing.list_data", (), {}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_commands_about_runs_get_what_was_said(monkeypatch, arguments, function, given, named):
    asked = []
    monkeypatch.setattr(f"oche.{function}", lambda *args, **options: asked.append((args, options)))
    output = OutputOptions(json=True)
    assert main(arguments) == 0
    ((said, options),) = asked
    if named:  # what is passed along beside it says nothing about the command line
        assert (said[: len(given)], options) == (given, named | {"output": output})
    else:
        assert (said, options) == ((*given, output), {})


# Shells


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_completion_script(capsys, shell):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("resume", "time-limit", "adamw"))
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [("oche res", "resume"), ("oche run --see", "--seed"), ("oche run --train.optimizer ad", "adamw")],
)
def test_bash_completes(capsys, tmp_path, words, offered):
    main(["completion", "bash"])
    (tmp_path / "oche.bash").write_text(capsys.readouterr().out)
    count = len(words.split())
    asking = f"""
        source oche.bash
        COMP_WORDS=({words}); COMP_CWORD={count - 1}; COMP_LINE='{words}'; COMP_POINT={len(words)}
        "$(complete -p oche | sed 's/.*-F \\([^ ]*\\).*/\\1/')" oche "${{COMP_WORDS[-1]}}" "${{COMP_WORDS[-2]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", asking], capture_output=True, text=True)
    assert offered in [line.strip() for line in done.stdout.splitlines()], done.stderr


def test_a_run_in_another_space_is_shown_resumed_and_trained_again(capsys, tmp_path):
    space = ["--space", "nasbench201", "--space.cells", "2", "--space.channels", "4", "--threads", "1"]
    sizes = ["--data.limit", "200", "--search.epochs", "1", "--search.batch", "32", *SHORT]
    assert main(["run", *space, *sizes, "--run", "out"]) == 0
    assert main(["resume", "out"]) == 0
    assert main(["select", "out"]) == 0
    assert main(["diff", "out", "out"]) == 0
    capsys.readouterr()
    assert main(["show", "out"]) == 0
    assert "nasbench201: 4 nodes per cell, supernet of 2 cells and 4 channels" in capsys.readouterr().out
    assert main(["train", "out", *SHORT, "--data.limit", "200", "--threads", "1", "--run", "again"]) == 0
    assert Path("again/architecture.json").read_text() == Path("out/architecture.json").read_text()
