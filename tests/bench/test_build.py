"""Building a table: what is refused, and that no interruption changes it."""

import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oche
from oche.bench.build import KIND, LARGEST, Plan, Training, write_table
from oche.bench.curve_truth import CurveTruth
from oche.bench.curves import METRICS, CurveTable
from oche.campaign.data import CampaignData, data_name
from oche.campaign.ledger import Ledger, key_of
from oche.campaign.task import Failed, Workplace
from oche.campaign.work import work
from oche.cli import main
from oche.config.options import NamedData
from oche.errors import InputError
from oche.optim import SGD
from oche.schedule import Constant
from oche.spaces import registry

PATIENCE = 120.0
"""Seconds after which a build hangs."""

TRIES = 5

SECONDS = METRICS.index("seconds")


class NoStop:
    received = None


PLACE = Workplace(stop=NoStop(), report=lambda share, text: None)


def finished(plan: Plan) -> dict[Any, dict[str, Any]]:
    """Entries as after a whole build, without training."""
    values = {
        "status": "done",
        "parameters": 5,
        "test": 50.0,
        "curves": {m: [1.0] * plan.protocol.epochs for m in METRICS},
    }
    return {key_of(task.cell): {"cell": task.cell, **values} for task in plan.ready(Ledger(Path(), {}, {}))}


# The plan


def test_every_architecture_with_every_seed_one_seed_after_the_other(tiny_plan: Plan) -> None:
    tasks = list(tiny_plan.ready(Ledger(Path(), {}, {})))
    assert [(task.seed, task.number) for task in tasks] == [(s, n) for s in (0, 1) for n in (0, 1, 2)]
    assert [task.architecture for task in tasks[:3]] == list(tiny_plan.space.enumerate())
    assert len({key_of(task.cell) for task in tasks}) == 6
    assert pickle.loads(pickle.dumps(tasks[4])) == tasks[4]


def test_plans_that_make_no_table(tiny_plan: Plan) -> None:
    with pytest.raises(InputError, match=rf"more than {LARGEST:,}; give a smaller space, such as --space bench125"):
        replace(tiny_plan, space=oche.space("darts"))
    with pytest.raises(InputError, match="seeds >= 1, but got 0"):
        replace(tiny_plan, seeds=0)
    for wrong in ({"validation": 0.0}, {"keep_best": True}):
        with pytest.raises(InputError, match="--train bench125"):
            replace(tiny_plan, protocol=replace(tiny_plan.protocol, **wrong))


def test_what_cannot_be_trained_is_refused_before_any_training(tiny_plan: Plan) -> None:
    tiny_plan.check()
    with pytest.raises(InputError, match="batch=5000"):
        replace(tiny_plan, protocol=replace(tiny_plan.protocol, batch=5000)).check()
    with pytest.raises(InputError, match="auxiliary head"):
        replace(tiny_plan, protocol=replace(tiny_plan.protocol, auxiliary=0.4)).check()


def test_all_seeds_watch_the_same_images_and_train_in_another_order(tiny_plan: Plan) -> None:
    tasks = list(tiny_plan.ready(Ledger(Path(), {}, {})))
    # At a rate of zero the weights stay: only seed and images decide.
    still = replace(tiny_plan, protocol=replace(tiny_plan.protocol, optimizer=SGD(lr=Constant(0.0)), epochs=1))
    values = [Training(2, tasks[2].architecture, seed, still).run(PLACE) for seed in (0, 1, 0)]
    curves = [value["curves"]["valid_loss"] for value in values]
    assert curves[0] == curves[2] != curves[1]
    assert values[0]["test"] == values[2]["test"]


def test_a_training_that_breaks_off_is_a_failure(tiny_plan: Plan) -> None:
    wild = replace(tiny_plan, protocol=replace(tiny_plan.protocol, optimizer=SGD(lr=Constant(1e30)), clip=None))
    task = list(wild.ready(Ledger(Path(), {}, {})))[2]
    outcome = work(task, PLACE)
    assert isinstance(outcome, Failed)
    assert "epoch" in outcome.error
    assert outcome.trace == ""


def test_data_are_known_by_their_content(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def write(**changes: Any) -> None:
        arrays = {"x_train": rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), "y_train": np.arange(40) % 2}
        arrays |= {"x_test": arrays["x_train"][:10], "y_test": arrays["y_train"][:10]}
        np.savez(tmp_path / "mine.npz", **(arrays | changes))

    write()
    data = CampaignData.of(NamedData(name=str(tmp_path / "mine.npz")))
    assert data.name == "mine.npz"
    assert data.read().fingerprint == data.fingerprint
    assert data.read() is data.read(), "read once in a process"
    with pytest.raises(InputError, match=r"mine.npz' have changed since the campaign began"):
        replace(data, fingerprint="another").read()
    assert (data_name("cifar10"), data_name("/a/b/cifar10"), data_name("images")) == ("cifar10",) * 2 + ("images",)
    with pytest.raises(InputError, match=r"missing.npz"):
        CampaignData.of(NamedData(name=str(tmp_path / "missing.npz")))


# The files


def test_a_table_needs_all_trainings(tiny_plan: Plan, tmp_path: Path) -> None:
    entries = finished(tiny_plan)
    task = list(tiny_plan.ready(Ledger(Path(), {}, {})))[4]
    left_out = {key: entry for key, entry in entries.items() if key != key_of(task.cell)}
    with pytest.raises(InputError, match="architecture 1, seed 1: it was not trained"):
        write_table(tmp_path / "t", tiny_plan, Ledger(tmp_path, {}, left_out), {})
    failed = {"cell": task.cell, "status": "failed", "error": "no memory", "trace": ""}
    with pytest.raises(InputError, match=r"architecture 1, seed 1: no memory; --retry-failed"):
        write_table(tmp_path / "t", tiny_plan, Ledger(tmp_path, {}, {**entries, key_of(task.cell): failed}), {})
    assert not (tmp_path / "t").exists()


def test_a_loss_that_is_no_number_is_kept_as_that(tiny_plan: Plan, tmp_path: Path) -> None:
    entries = finished(tiny_plan)
    entries[next(iter(entries))]["curves"]["valid_loss"] = [1.0, None]
    entries = {key: {**entry, "curves": dict(entry["curves"])} for key, entry in entries.items()}
    write_table(tmp_path / "t", tiny_plan, Ledger(tmp_path, {}, entries), {})
    table = CurveTable.read(tmp_path / "t")
    curve = table.curve(table.architectures[0], "valid_loss", seed=0)
    assert curve[0] == 1.0
    assert np.isnan(curve[1])


def test_what_must_stay_the_same(tiny_plan: Plan, tmp_path: Path) -> None:
    """A renamed directory may go on; other images, other augmentation or another protocol may not."""
    path = tmp_path / "trainings.jsonl"
    Ledger.take(path, KIND, tiny_plan.facts)
    Ledger.take(path, KIND, replace(tiny_plan, name="renamed").facts)
    flipped = replace(tiny_plan, data=CampaignData.of(NamedData(name="digits", limit=100, flip=True)))
    assert flipped.data.fingerprint == tiny_plan.data.fingerprint
    others = {
        "augment": flipped,
        "fingerprint": replace(tiny_plan, data=CampaignData.of(NamedData(name="digits", limit=110))),
        "protocol": replace(tiny_plan, protocol=replace(tiny_plan.protocol, epochs=3)),
        "seeds": replace(tiny_plan, seeds=3),
        "space": replace(tiny_plan, space=tiny_plan.space.replace(name="other")),
    }
    for name, other in others.items():
        with pytest.raises(InputError, match=f"its {name} is"):
            Ledger.take(path, KIND, other.facts)


# The command

SCRIPT = """
import sys
from oche.nn.network import Stack
from oche.spaces import registry
from oche.spaces.staged_space import StagedSpace
STACK = Stack(cells=1, channels=2, reductions=0)
CANDIDATES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
registry.SPACES["two"] = lambda: StagedSpace(
    name="two", nodes=2, candidates=CANDIDATES, supernet_stack=STACK, network_stack=STACK
)
from oche.cli import main
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""
FEW = ["--space", "two", "--data.limit", "100", "--train.batch", "10", "--train.validation", "0.5"]
FEW += ["--train.cells", "1", "--train.channels", "2"]
OPTIONS = [*FEW, "--train.epochs", "4", "--seeds", "4"]
CELLS = 20


def start(directory: Path, *options: str) -> subprocess.Popen[str]:
    """In a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "bench", "build", str(directory), *OPTIONS, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def lines(directory: Path) -> list[str]:
    """Of the cells that are done, as they are in the file."""
    path = directory / "trainings.jsonl"
    return path.read_text().split("\n")[1:-1] if path.exists() else []


def wait_for(process: subprocess.Popen[str], directory: Path, count: int) -> None:
    end = time.monotonic() + PATIENCE
    while len(lines(directory)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def cut(directory: Path, workers: str, count: int, number: int) -> tuple[subprocess.Popen[str], str]:
    """A build that a signal has ended after at least so many cells, and what it said.

    Where the machine is so busy that it was over before the signal came, it is tried again from the same state.
    """
    before = shutil.copytree(directory, directory.with_name("before")) if directory.exists() else None
    for _ in range(TRIES):
        process = start(directory, "--workers", workers)
        wait_for(process, directory, count)
        if number == signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, number)  # as a terminal does, to all processes
        complaints = process.communicate(timeout=PATIENCE)[1]
        if len(lines(directory)) < CELLS:
            return process, complaints
        shutil.rmtree(directory)
        if before is not None:
            shutil.copytree(before, directory)
    raise AssertionError(f"all {TRIES} builds were over before they could be cut off")


def test_interrupted_and_killed_a_build_goes_on_to_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"

    process, complaints = cut(directory, "2", 1, signal.SIGINT)
    assert process.returncode == 128 + signal.SIGINT
    assert "cells are in" in complaints
    assert "Traceback" not in complaints
    first = lines(directory)
    assert first
    assert all(json.loads(line)["status"] == "done" for line in first)
    assert not (directory / "about.json").exists()

    cut(directory, "1", len(first) + 1, signal.SIGKILL)
    second = lines(directory)
    assert second[: len(first)] == first
    assert len(first) < len(second)
    with (directory / "trainings.jsonl").open("a") as file:
        file.write('{"cell":{"archi')  # where a kill may cut

    # The rest, and an undisturbed build, in this process: starting others takes seconds.
    namespace: dict[str, Any] = {"__name__": "script"}
    before = dict(registry.SPACES)
    exec(SCRIPT, namespace)
    monkeypatch.setattr("oche.bench.commands.make_executor", lambda options, report: InThisProcess())
    try:
        assert main(["bench", "build", str(directory), *OPTIONS]) == 0
        printed = capsys.readouterr().out
        assert main(["bench", "build", str(undisturbed), *OPTIONS, "--quiet"]) == 0
    finally:
        registry.SPACES.clear()
        registry.SPACES.update(before)
    assert lines(directory)[: len(second)] == second
    assert len(lines(directory)) == CELLS
    assert f"{CELLS - len(second)}/{CELLS - len(second)}" in printed
    assert "wrote" in printed
    for name in ("parameters.npy", "test.npy"):
        assert (directory / name).read_bytes() == (undisturbed / name).read_bytes()
    curves = [np.delete(np.load(d / "curves.npy"), SECONDS, axis=3) for d in (directory, undisturbed)]
    assert curves[0].shape == (5, 4, 4, 4)
    assert np.array_equal(*curves)
    abouts = [json.loads((d / "about.json").read_text()) for d in (directory, undisturbed)]
    assert [about.pop("name") for about in abouts] == ["disturbed", "undisturbed"]
    assert abouts[0] == abouts[1]
    text = json.dumps(abouts[0]) + (directory / "trainings.jsonl").read_text()
    for place in (str(tmp_path), str(Path.cwd()), sys.prefix):
        assert place not in text
    assert f'"{socket.gethostname()}"' not in text


class InThisProcess:
    """An executor without processes."""

    def __init__(self) -> None:
        self._task: Any = None

    @property
    def free(self) -> int:
        return self._task is None

    @property
    def running(self) -> int:
        return self._task is not None

    def start(self, task: Any) -> None:
        self._task = task

    def outcomes(self) -> list[Any]:
        task, self._task = self._task, None
        return [work(task, PLACE)]

    def stop(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def in_this_process(tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Options of a tiny build that needs no other process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(registry.SPACES, "two", lambda: tiny_plan.space)
    monkeypatch.setattr("oche.bench.commands.make_executor", lambda options, report: InThisProcess())
    return [*FEW, "--train.epochs", "1"]


def test_one_seed_has_nothing_to_agree_with(in_this_process: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "build", "bench125", *in_this_process, "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "3/3" in printed
    assert "space                        two" in printed, "it is not the embedded table of the same name"
    assert "seeds agree" in printed


def test_the_report_of_a_table(in_this_process: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "build", "t", *in_this_process, "--seeds", "2", "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert main(["bench", "show", "t", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == built
    truth = CurveTruth.read("t")
    test = truth.ranking.accuracies
    assert built["test accuracy"] == pytest.approx(np.percentile(test, [0, 25, 50, 75, 100]).tolist())
    assert built["best by test"] == dict(truth.table.architectures[int(np.argmax(test))].items)
    assert (built["architectures"], built["seeds"], built["epochs"]) == (3, 2, 1)
    total = sum(truth.table.seconds(a, seed=s) for a in truth.table.architectures for s in (0, 1))
    assert built["hours of training"] == pytest.approx(total / 3600)
    # Done already: nothing is trained again.
    before = Path("t/trainings.jsonl").read_bytes()
    assert main(["bench", "build", "t", *in_this_process, "--seeds", "2", "--quiet"]) == 0
    assert Path("t/trainings.jsonl").read_bytes() == before
    assert capsys.readouterr().out == ""


def test_a_failure_is_told_and_retried_when_asked(
    in_this_process: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = oche.api.train

    def broken(architecture: Any, **options: Any) -> Any:
        if "nor_conv_1x1" in dict(architecture.items).values():
            raise MemoryError("not enough")
        return train(architecture, **options)

    monkeypatch.setattr("oche.api.train", broken)
    for expected in ("3/3", ""):
        assert main(["bench", "build", "t", *in_this_process, "--seeds", "1"]) == 2
        out, message = capsys.readouterr()
        assert expected in out
        assert message.count("\n") == 1
        assert "architecture 2, seed 0: MemoryError: not enough; --retry-failed" in message
    monkeypatch.setattr("oche.api.train", train)
    assert main(["bench", "build", "t", *in_this_process, "--seeds", "1", "--retry-failed"]) == 0
    assert "1/1" in capsys.readouterr().out
