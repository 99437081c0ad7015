"""Run directories: the network that is delivered is the network that was scored."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

import oche
from oche.cli import main
from oche.data.load import load
from oche.data.options import DataOptions
from oche.errors import InputError
from oche.listeners.base import Job
from oche.listeners.console import PlainLines, ProgressBar, progress
from oche.methods import METHODS, method
from oche.metrics import ACCURACY, Meter
from oche.runs.commands import find_architecture, select
from oche.select.perturbation import PerturbationSelection
from oche.select.recorded import select_recorded
from oche.spaces.drawing import draw


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "run"
    sizes = ["--train.cells", "3", "--train.channels", "4", "--train.epochs", "1", "--train.auxiliary", "0.4"]
    command = ["train", "darts-v1", "--data.limit", "256", *sizes, "--threads", "1", "--run", str(directory)]
    assert main(command) == 0
    return directory


def test_the_delivered_network_scores_what_the_run_says(run):
    network = oche.load_network(run)
    digits = load("digits", DataOptions(limit=256))
    with torch.no_grad():
        right = (
            (network(digits.test.read(torch.arange(len(digits.test)))).argmax(1) == digits.test.labels)
            .float()
            .mean()
            .item()
        )
    assert not network.training
    assert right == pytest.approx(json.loads((run / "result.json").read_text())["network"]["test"]["accuracy"])
    assert network.classes == digits.classes


def test_the_auxiliary_head_is_not_delivered(run):
    network = oche.load_network(run)
    result = json.loads((run / "result.json").read_text())
    assert network.network.auxiliary is None
    assert sum(p.numel() for p in network.parameters()) == result["network"]["parameters"]


def test_a_broken_network_file_is_refused(run, tmp_path):
    with pytest.raises(InputError, match=r"network\.pt"):
        oche.load_network(tmp_path)
    saved = (run / "network.pt").read_bytes()
    for content in (saved[:1000], b"garbage"):
        (tmp_path / "network.pt").write_bytes(content)
        with pytest.raises(InputError, match=r"network\.pt"):
            oche.load_network(tmp_path)
    torch.save(torch.load(run / "network.pt", weights_only=True) | {"format": 99}, tmp_path / "network.pt")
    with pytest.raises(InputError, match=r"format 99"):
        oche.load_network(tmp_path)


def test_an_architecture_is_found_by_name_run_and_file(run):
    known = find_architecture("darts-v1")
    assert known[1] == oche.space("darts")
    assert find_architecture(str(run)) == known
    assert find_architecture(str(run / "architecture.json")) == known


def test_a_drawing_names_every_kept_edge():
    space = oche.space("darts")
    lines = draw(space, oche.known_architectures()["darts-v2"].architecture).splitlines()
    assert lines.count("normal cell") == lines.count("reduction cell") == 1
    assert len(lines) == 2 + 2 * 8
    assert lines[1].split() == ["node", "0", "◀──", "sep_conv_3x3", "──", "cell", "k-2"]
    assert lines[8].split() == ["◀──", "dil_conv_3x3", "──", "node", "0"]
    assert len({line.index("◀") for line in lines if "◀" in line}) == 1
    assert len({max(i for i, c in enumerate(line) if c == "─") for line in lines if "◀" in line}) == 1


@pytest.mark.parametrize(("terminal", "kind"), [(True, ProgressBar), (False, PlainLines)])
def test_progress_suits_the_output(terminal, kind):
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=200)
    listener = progress(console)
    assert isinstance(listener, kind)
    meter = Meter(ACCURACY)
    scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    meter.add(torch.tensor(0.5), scores, torch.tensor([0, 0]))
    listener.start(Job("search", 2, 3))
    for epoch in range(2):
        for step in range(3):
            listener.step(epoch, step, meter)
        listener.epoch({"epoch": epoch + 1, "seconds": 1.0, "train_accuracy": 0.5, "valid_accuracy": 0.25})
    listener.finish()
    shown = output.getvalue()
    assert "search" in shown
    assert "train accuracy 50.0%" in shown
    assert "valid accuracy 25.0%" in shown
    assert "2/2" in shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_cuts_the_numbers_and_nothing_else(width):
    output = io.StringIO()
    bar = ProgressBar(Console(file=output, force_terminal=True, width=width))
    bar.start(Job("random 1", 600, 3))
    bar.epoch({"epoch": 1, "seconds": 1.0, "train_loss": 2.3, "train_accuracy": 0.1, "valid_accuracy": 0.2})
    bar.finish()
    last = [line for line in output.getvalue().splitlines() if "epoch 1/600 " in line][-1]
    assert "random 1 epoch 1/600" in last
    assert "left loss 2.3" in last
    assert ("accuracy 10.0/20.0 %" in last) == (width >= 80)


def test_an_architecture_file_beside_its_space_keeps_it(run, tmp_path):
    space = oche.space("rdarts-s2", nodes=2)
    architecture = next(space.enumerate())
    architecture.save(tmp_path / "architecture.json")
    (tmp_path / "space.json").write_text(space.to_json())
    assert find_architecture(str(tmp_path / "architecture.json")) == (architecture, space)


def test_select_takes_the_methods_numbers_for_the_space_of_the_run(tmp_path, monkeypatch):
    path = Path(shutil.copytree(Path(__file__).parent / "stored" / "format-2", tmp_path / "run"))
    config = path / "config.yaml"
    config.write_text(config.read_text().replace("method: darts", "method: sp-darts"))
    asked = []
    monkeypatch.setattr(
        "oche.runs.commands.select_recorded", lambda *args: asked.append(args) or select_recorded(*args)
    )
    select(path, options=pytest.fail)
    assert asked[0][3] == method("sp-darts").fitted("rdarts-s2").relaxation != method("sp-darts").relaxation


def test_a_selection_that_evaluates_is_resumed_and_says_its_cost(tmp_path, monkeypatch, capsys):
    quick = replace(method("darts+pt"), selection=PerturbationSelection(interval=0))
    monkeypatch.setitem(METHODS, "darts+pt", quick)
    sizes = ["--data.limit", "150", "--space", "rdarts-s2", "--space.nodes", "1", "--space.cells", "2"]
    sizes += ["--space.channels", "4", "--search.epochs", "1", "--threads", "1"]
    directory = tmp_path / "run"
    assert main(["search", *sizes, "--method", "darts+pt", "--run", str(directory)]) == 0
    assert "selection: 8 evaluations of the validation half" in capsys.readouterr().out  # 2 x 2 edges of 2 candidates
    result = json.loads((directory / "result.json").read_text())["search"]
    assert (result["evaluations"], result["stopped"]) == (8, None)
    assert main(["resume", str(directory)]) == 0
    assert main(["cite", str(directory), "--quiet"]) == 0
    assert "darts-pt" in capsys.readouterr().out.split()
    assert main(["select", str(directory)]) == 2
    assert "goes on training between its decisions" in capsys.readouterr().err
    assert main(["select", str(directory), "--selection", "magnitude"]) == 0
