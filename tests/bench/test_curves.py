"""A table of learning curves says what the trainings said, and refuses what it does not hold."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oche
from oche.bench.build import SPLIT, Plan, write_table
from oche.bench.curve_truth import CurveTruth
from oche.bench.curves import FORMAT, METRICS, CurveTable
from oche.campaign.ledger import Ledger
from oche.campaign.task import Done, Workplace
from oche.campaign.work import work
from oche.errors import InputError

FLOAT32 = 1e-6
"""Relative error of a float32, and of seven digits."""


class NoStop:
    received = None


@pytest.fixture(scope="module")
def directory(tiny_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("curves") / "tiny"
    ledger = Ledger.take(directory / "trainings.jsonl", "table", tiny_plan.facts)
    with ledger.lock():
        for task in tiny_plan.ready(ledger):
            done = work(task, Workplace(stop=NoStop(), report=lambda share, text: None))
            assert isinstance(done, Done), done
            ledger.append({"cell": task.cell, "status": "done", "wall": done.wall, "busy": done.busy, **done.value})
    write_table(directory, tiny_plan, ledger, {"device_name": "here"})
    return directory


@pytest.fixture(scope="module")
def table(directory: Path) -> CurveTable:
    return CurveTable.read(directory)


@pytest.fixture
def copy(directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(directory, tmp_path / "copy"))


def test_a_table_has_its_shape(table: CurveTable, tiny_plan: Plan) -> None:
    assert table.space == tiny_plan.space
    assert table.architectures == tuple(tiny_plan.space.enumerate())
    assert (table.seeds, table.epochs) == (2, 2)
    for i, architecture in enumerate(table.architectures):
        assert table.index(architecture) == i
        for metric in METRICS:
            assert table.curve(architecture, metric, seed=1).shape == (2,)
    assert table.accuracies().shape == table.accuracies(epoch=1, seed=0).shape == (3,)


def test_a_curve_is_that_of_the_training(table: CurveTable, tiny_plan: Plan, directory: Path) -> None:
    data = oche.load("digits", oche.DataOptions(limit=100), 0)
    truth = CurveTruth.read(directory)
    for i, seed in ((0, 1), (2, 0)):
        architecture = table.architectures[i]
        trained = oche.train(
            architecture, data=data, protocol=tiny_plan.protocol, space=tiny_plan.space, seed=seed, split=SPLIT
        )
        for metric in METRICS[:-1]:
            scale = 100 if metric.endswith("accuracy") else 1
            expected = [scale * record[metric] for record in trained.records]
            assert table.curve(architecture, metric, seed=seed) == pytest.approx(expected, rel=FLOAT32), metric
        seconds = table.curve(architecture, "seconds", seed=seed)
        assert 0 < seconds[0] < seconds[1]
        assert table.parameters(architecture) == sum(p.numel() for p in trained.model.parameters())
        assert truth.trials(architecture)[seed] == pytest.approx(100 * trained.test["accuracy"], rel=FLOAT32, abs=1e-4)


def test_numbers_are_means_over_the_seeds(table: CurveTable, directory: Path) -> None:
    truth = CurveTruth.read(directory)
    for i, architecture in enumerate(table.architectures):
        curves = np.array([table.curve(architecture, seed=seed) for seed in (0, 1)], np.float64)
        for epoch in (1, 2):
            column = curves[:, epoch - 1]
            assert table.accuracy(architecture, epoch=epoch) == pytest.approx(column.mean())
            assert table.accuracy(architecture, epoch=epoch, seed=1) == column[1]
            assert table.accuracies(epoch=epoch)[i] == table.accuracy(architecture, epoch=epoch)
        assert table.accuracy(architecture) == table.accuracy(architecture, epoch=2)
        seconds = [table.curve(architecture, "seconds", seed=seed)[0] for seed in (0, 1)]
        assert table.seconds(architecture, epoch=1) == pytest.approx(np.mean(seconds, dtype=np.float64))
        assert table.seconds(architecture, epoch=1, seed=0) == seconds[0]
        assert truth.accuracy(architecture) == pytest.approx(np.mean(truth.trials(architecture)))
        assert truth.ranking.accuracies[i] == truth.accuracy(architecture)


def test_nobody_can_change_a_table(table: CurveTable) -> None:
    with pytest.raises(ValueError, match="read-only"):
        table.curve(table.architectures[0], seed=0)[0] = 100.0


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda t, a: t.accuracy(a, epoch=0), "epochs 1 to 2, but got epoch 0"),
        (lambda t, a: t.accuracies(epoch=3), "epochs 1 to 2, but got epoch 3"),
        (lambda t, a: t.accuracy(a, seed=2), "seeds 0 to 1, but got seed 2"),
        (lambda t, a: t.curve(a, seed=-1), "seeds 0 to 1, but got seed -1"),
        (lambda t, a: t.curve(a, "test_accuracy", seed=0), r"metrics train_loss, .* but got 'test_accuracy'"),
        (lambda t, a: t.accuracy(oche.known_architectures()["darts-v2"].architecture), "space 'darts'"),
        (lambda t, a: t.index(oche.Architecture.of("two", {})), "cell/1<-0"),
    ],
)
def test_what_a_table_does_not_hold(table: CurveTable, ask: Callable[[CurveTable, Any], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask(table, table.architectures[0])


def rewritten(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def apply(directory: Path) -> None:
        if name.endswith(".npy"):
            np.save(directory / name, change(np.load(directory / name)))
        else:
            (directory / name).write_text(json.dumps(change(json.loads((directory / name).read_text()))))

    return apply


def cut(name: str, length: int) -> Callable[[Path], None]:
    return lambda directory: (directory / name).write_bytes((directory / name).read_bytes()[:length]) and None


def without(name: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    return lambda about: {key: value for key, value in about.items() if key != name}


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (shutil.rmtree, ["there is no table", "oche bench build"]),
        (lambda d: (d / "about.json").unlink(), ["there is no table"]),
        (cut("about.json", 30), ["there is no table"]),
        (rewritten("about.json", lambda about: [about]), ["format None"]),
        (rewritten("about.json", lambda about: {**about, "format": FORMAT + 1}), [f"format {FORMAT + 1}", "wrote it"]),
        (rewritten("about.json", without("space")), ["about.json", "damaged", "'space'"]),
        (rewritten("about.json", without("protocol")), ["about.json", "damaged", "'protocol'"]),
        (rewritten("about.json", lambda about: {**about, "space": {"type": "None"}}), []),
        (rewritten("about.json", lambda about: {**about, "seeds": [0]}), ["(3, 1, 2, 5)", "(3, 2, 2, 5)"]),
        (rewritten("curves.npy", lambda curves: curves[:2]), ["(3, 2, 2, 5)", "(2, 2, 2, 5)", "build it again"]),
        (rewritten("parameters.npy", lambda counts: counts[:2]), ["(3,)", "(2,)", "build it again"]),
        (lambda d: (d / "curves.npy").unlink(), ["cannot read curves.npy", "build it again"]),
        (cut("curves.npy", 0), ["cannot read curves.npy", "build it again"]),
        (cut("curves.npy", 100), ["cannot read curves.npy", "build it again"]),
        (cut("parameters.npy", 130), ["cannot read parameters.npy", "build it again"]),
        (lambda d: (d / "curves.npy").write_bytes(b"PK\x03\x04" + bytes(50)), ["cannot read curves.npy"]),
        (lambda d: np.save(d / "curves.npy", np.array([{}])), ["cannot read curves.npy"]),
    ],
)
def test_damaged_tables(copy: Path, damage: Callable[[Path], object], parts: list[str]) -> None:
    CurveTable.read(copy)
    damage(copy)
    for read in (CurveTable.read, CurveTruth.read):
        with pytest.raises(InputError) as caught:
            read(copy)
        for part in parts:
            assert part in str(caught.value)


def test_test_accuracies_that_are_damaged(copy: Path) -> None:
    np.save(copy / "test.npy", np.zeros((3, 1), np.float32))
    CurveTable.read(copy)  # which has nothing to do with them
    with pytest.raises(InputError, match=r"test.npy .*\(3, 2\).*\(3, 1\); build it again"):
        CurveTruth.read(copy)
    (copy / "test.npy").unlink()
    CurveTable.read(copy)
    with pytest.raises(InputError, match=r"cannot read test\.npy"):
        CurveTruth.read(copy)


def test_there_is_no_embedded_table_of_another_name() -> None:
    for kind in (CurveTable, CurveTruth):
        with pytest.raises(InputError, match="there is no table"):
            kind.embedded("bench126")
