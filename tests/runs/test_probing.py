"""`oche probe`: what it says of a run is what the library finds in the run's supernet."""

import json
from pathlib import Path

import pytest
import torch

from oche.checkpoint import Checkpoints, read_checkpoint
from oche.cli import main
from oche.data.load import load
from oche.data.options import DataOptions
from oche.feed import search_feed
from oche.metrics import ACCURACY
from oche.mixture.softmax import Softmax
from oche.nn.engine import set_engine
from oche.probe.strength import Advantage, Shuffle, Strength, advantages, shuffled
from oche.report.strength import Diagnosis, draw_diagnosis, print_diagnosis
from oche.runs.record import RunRecord, read_space
from oche.select.scene import Scene
from oche.training.protocol import TINY

SMALL = ["--data.limit", "150", "--space", "rdarts-s2", "--space.nodes", "2", "--space.cells", "2"]
SMALL += ["--space.channels", "4", "--search.epochs", "3", "--search.batch", "16", "--threads", "1"]


def searched(directory: Path, *more: str) -> Path:
    assert main(["search", *SMALL, *more, "--quiet", "--run", str(directory)]) == 0
    return directory


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return searched(tmp_path_factory.mktemp("runs") / "run")


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_it_looks_into_the_supernet_that_the_run_has_kept(capsys, run, tmp_path):
    before, figure = contents(run), tmp_path / "probe.png"
    options = ["--edges", "2", "--epochs", "0.4", "--shuffles", "2", "--figure", str(figure)]
    assert main(["probe", str(run), *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert contents(run) == before
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert len(found["strengths"]) == 2 * 2
    assert len({s["key"] for s in found["strengths"]}) == 2
    record, space = RunRecord.read(run), read_space(run)
    expected = advantages(record.records["search"], space.domain, Softmax())
    assert [a["gap"] for a in found["advantages"]] == [a.gap for a in expected]
    # The weights are those of the last epoch.
    logits = record.records["search"][-1]["logits"]
    for s in found["strengths"]:
        row = torch.softmax(torch.tensor(logits[s["key"]]), 0).tolist()
        assert s["weight"] == pytest.approx(row[space.domain.edges[s["key"]].candidates.index(s["candidate"])])
    # The supernet and the images are those of the search.
    newest = Checkpoints(run / "checkpoints", "search").newest
    assert newest is not None
    dataset = load("digits", DataOptions(limit=150), 0)
    supernet = space.supernet(dataset.task)
    supernet.load_state_dict(read_checkpoint(newest)["state"]["supernet"])
    set_engine(supernet, "fast")
    scene = Scene(
        whole=space.domain,
        supernet=supernet,
        relaxation=Softmax(),
        images=search_feed(dataset, 16, 0, torch.device("cpu"), TINY.validation).evaluation,
        loss=torch.nn.functional.cross_entropy,
        metrics=ACCURACY,
        seed=0,
        device=torch.device("cpu"),
    )
    shuffle = shuffled(scene, 2)
    assert found["shuffle"]["before"] == shuffle.before
    assert found["shuffle"]["after"] == [dict(after) for after in shuffle.after]


def test_it_is_told_in_words_with_progress(capsys, run):
    assert main(["probe", str(run), "--edges", "1", "--epochs", "0", "--shuffles", "1"]) == 0
    text = capsys.readouterr().out
    assert "strength: epoch 2/2" in text
    assert "the largest mixing weight is on the strongest candidate (*) of" in text
    assert "advantage of skip connections" in text
    assert "(n=1)" in text
    assert main(["probe", str(run), "--edges", "0", "--shuffles", "0", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_a_search_that_has_decided_everything_has_no_candidates_to_compare(capsys, tmp_path):
    decided = searched(tmp_path / "run", "--method", "sgas")
    capsys.readouterr()
    assert main(["probe", str(decided), "--shuffles", "0"]) == 0
    text = capsys.readouterr().out
    assert "every edge of this supernet has been decided" in text
    assert "mixing weight" not in text


@pytest.mark.parametrize("option", ["edges", "epochs", "shuffles"])
def test_negative_numbers_are_refused(capsys, run, option):
    assert main(["probe", str(run), f"--{option}", "-1"]) == 2
    assert f"--{option} -1" in capsys.readouterr().err


def test_a_run_without_a_supernet_is_refused(capsys, run, tmp_path):
    assert main(["probe", str(tmp_path)]) == 2
    assert "no run directory" in capsys.readouterr().err
    without = tmp_path / "without"
    without.mkdir()
    for name, content in contents(run).items():
        if not name.startswith("checkpoints"):
            (without / name).parent.mkdir(parents=True, exist_ok=True)
            (without / name).write_bytes(content)
    assert main(["probe", str(without)]) == 2
    assert "no checkpoint of the search" in capsys.readouterr().err
    (without / "config.yaml").write_text("format: 2\ncommand: train\narchitecture: darts-v1\n")
    assert main(["probe", str(without)]) == 2
    assert "has no supernet" in capsys.readouterr().err


def test_edges_agree_where_the_largest_weight_is_on_the_strongest(capsys, tmp_path):
    def edge(key: str, weights: list[float], accuracies: list[float]) -> list[Strength]:
        return [
            Strength(key=key, candidate=name, weight=w, measured={"accuracy": a})
            for name, w, a in zip("abc", weights, accuracies, strict=True)
        ]

    found = Diagnosis(
        strengths=(*edge("x", [0.5, 0.3, 0.2], [0.9, 0.8, 0.9]), *edge("y", [0.5, 0.3, 0.2], [0.8, 0.9, 0.1])),
        advantages=(Advantage(epoch=1, gap=0.25, measured={}),),
        shuffle=Shuffle(before={"accuracy": 0.5}, after=({"accuracy": 0.3}, {"accuracy": 0.5})),
    )
    assert found.agreeing == 1
    print_diagnosis(found)
    text = capsys.readouterr().out
    assert "of 1 of 2 edges" in text
    assert "accuracy 50.00 %, with two edges exchanged in every cell 40.00 +- 14.14 % (n=2)" in text
    draw_diagnosis(tmp_path / "a.svg", found)
    assert "<svg" in (tmp_path / "a.svg").read_text()
