"""Checkpoints: whole or not there, recognized when damaged, thinned to a budget."""

import hashlib
import io
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from oche.checkpoint import Checkpoints, Cost, Position, read_checkpoint
from oche.errors import InputError
from oche.files import WriteError
from oche.interrupt import Interrupted, Interrupts

PLAN = {"epochs": 3, "structure": {"a": 2}}


class Counter:
    """A job that counts."""

    def __init__(self, epoch: int = 0, step: int = 0) -> None:
        self.position = Position(epoch, step)
        self.value = torch.tensor(0.0)
        self.saves = 0

    def at(self, epoch: int, step: int, value: float = 0.0) -> "Counter":
        self.position, self.value = Position(epoch, step), torch.tensor(value)
        return self

    def state(self) -> dict[str, Any]:
        self.saves += 1
        return {"epoch": self.position.epoch, "step": self.position.step, "value": self.value}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.at(state["epoch"], state["step"], state["value"].item())


class Clock:
    """Time that moves when it is told to, and by `work` while a job says its state."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("oche.checkpoint.time.monotonic", lambda: self.now)


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.pt"))


def saved(directory: Path, *positions: tuple[int, int], budget: int = 10**9) -> Checkpoints:
    """Checkpoints at these positions, whose value is 10 epoch + step."""
    checkpoints = Checkpoints(directory, "job", budget=budget)
    job = Counter()
    checkpoints.begin(job, PLAN)
    for epoch, step in positions:
        checkpoints.finish(job.at(epoch, step, 10 * epoch + step))
    return checkpoints


def restored(directory: Path, plan: Mapping[str, Any] = PLAN, warnings: list[str] | None = None) -> Counter:
    job = Counter()
    Checkpoints(directory, "job", warn=(warnings if warnings is not None else []).append).begin(job, plan)
    return job


def test_the_newest_state_comes_back(tmp_path):
    saved(tmp_path, (0, 2), (1, 0), (1, 5))
    job = restored(tmp_path)
    assert (job.position, job.value.item()) == (Position(1, 5), 15)


def test_without_a_checkpoint_a_job_begins_at_the_start(tmp_path):
    assert restored(tmp_path / "none").position == Position(0, 0)
    assert not (tmp_path / "none").exists()


def test_a_checkpoint_is_plain_torch(tmp_path):
    saved(tmp_path, (1, 5))
    kept = torch.load(files(tmp_path)[0], weights_only=True)
    assert list(kept) == ["format", "plan", "position", "state"]  # the structure before the tensors
    assert kept["plan"] == PLAN
    assert kept["position"] == {"epoch": 1, "step": 5, "over": False}


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "garbage"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, damage):
    saved(tmp_path, (0, 2), (1, 0), (1, 5))
    newest = files(tmp_path)[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"cut": content[:-100], "changed": content, "empty": b"", "garbage": b"x" * 500}[damage]
    newest.write_bytes(damaged)
    warnings: list[str] = []
    job = restored(tmp_path, warnings=warnings)
    assert (job.position, job.value.item()) == (Position(1, 0), 10)
    assert len(warnings) == 1
    assert newest.name in warnings[0]
    assert "cut short or changed" in warnings[0]


def test_if_all_are_damaged_the_job_begins_anew_and_says_so(tmp_path):
    saved(tmp_path, (0, 2), (1, 0))
    for file in files(tmp_path):
        file.write_bytes(b"")
    warnings: list[str] = []
    assert restored(tmp_path, warnings=warnings).position == Position(0, 0)
    assert len(warnings) == 3
    assert "no checkpoint of job can be read, so it begins anew" in warnings[-1]
    assert not files(tmp_path)


def test_a_damaged_checkpoint_does_not_count_as_one_of_the_newest(tmp_path):
    saved(tmp_path, (0, 1), (0, 2), (0, 3), budget=0)
    newest = files(tmp_path)[-1]
    newest.write_bytes(b"")
    checkpoints, job = Checkpoints(tmp_path, "job", warn=lambda text: None), Counter()
    checkpoints.begin(job, PLAN)
    checkpoints.finish(job.at(0, 4))
    assert epochs_kept(tmp_path) == [(0, 2), (0, 4)]


def test_a_checkpoint_of_a_newer_format_is_refused(tmp_path):
    saved(tmp_path, (1, 0))
    (file,) = files(tmp_path)
    kept = torch.load(file, weights_only=True) | {"format": 9}
    buffer = io.BytesIO()
    torch.save(kept, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
    file.unlink()
    (tmp_path / f"job-000001-epoch1-step0-{digest}.pt").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="format 9, but this oche reads format 2"):
        restored(tmp_path)


def test_another_plan_is_refused_with_what_differs(tmp_path):
    saved(tmp_path, (1, 0))
    with pytest.raises(InputError, match=r"epochs 3, now 5.*another directory"):
        restored(tmp_path, PLAN | {"epochs": 5})
    many = {f"layer{i}.weight": [16, 16] for i in range(1000)}
    with pytest.raises(InputError, match=r"structure.layer0.weight None, now \[16, 16\] \(and 1000 more\)") as caught:
        restored(tmp_path, PLAN | {"structure": many})
    assert len(str(caught.value)) < 500


def test_jobs_in_one_directory_do_not_see_each_other(tmp_path):
    for name in ("random 1", "random 10", "random"):
        checkpoints = Checkpoints(tmp_path, name)
        checkpoints.begin(job := Counter(), PLAN)
        assert job.position == Position(0, 0)
        checkpoints.finish(job.at(1, len(name)))
    Checkpoints(tmp_path, "random").discard()
    job = Counter()
    Checkpoints(tmp_path, "random 1").begin(job, PLAN)
    assert job.position == Position(1, len("random 1"))
    assert len(files(tmp_path)) == 2


# -- what is kept ------------------------------------------------------------------------------------------------------


def epochs_kept(directory: Path) -> list[tuple[int, int]]:
    return [(k["epoch"], k["step"]) for k in (read_checkpoint(f)["position"] for f in files(directory))]


def test_the_newest_two_and_the_ends_of_epochs_are_kept(tmp_path):
    saved(tmp_path, (0, 3), (1, 0), (1, 3), (2, 0), (2, 3), (2, 4))
    assert epochs_kept(tmp_path) == [(1, 0), (2, 0), (2, 3), (2, 4)]


def test_without_a_budget_the_newest_two_are_kept(tmp_path):
    saved(tmp_path, *((e, 0) for e in range(1, 6)), budget=0)
    assert epochs_kept(tmp_path) == [(4, 0), (5, 0)]


@pytest.mark.parametrize(
    ("room", "epochs"), [(1, [32]), (2, [16, 32]), (3, [16, 24, 32]), (4, [8, 16, 24, 32])], ids=lambda v: str(v)
)
def test_a_budget_thins_the_epochs_evenly(tmp_path, room, epochs):
    saved(tmp_path / "one", (10, 0))
    size = files(tmp_path / "one")[0].stat().st_size
    saved(tmp_path / "many", *((e, 0) for e in range(1, 41)), budget=room * size + size // 2)
    assert [epoch for epoch, _ in epochs_kept(tmp_path / "many")] == [*epochs, 39, 40]


# -- when it is saved --------------------------------------------------------------------------------------------------


def test_saving_follows_the_clock_and_costs_at_most_a_hundredth(tmp_path, monkeypatch):
    clock, cost = Clock(monkeypatch), Cost()

    class Slow(Counter):
        def state(self) -> dict[str, Any]:
            clock.now += 2.0
            return super().state()

    checkpoints, job = Checkpoints(tmp_path, "job", every=60.0, cost=cost), Slow()
    checkpoints.begin(job, PLAN)
    for step in range(1, 10_000):
        clock.now += 1.0
        checkpoints.offer(job.at(0, step))
        if step == 60:
            assert (job.saves, cost.seconds) == (1, 2.0)
    assert job.saves == cost.count
    assert 0.0045 < cost.seconds / clock.now < 0.0052  # within an epoch


def test_the_ends_of_epochs_may_take_a_hundredth(tmp_path, monkeypatch):
    clock, cost = Clock(monkeypatch), Cost()

    class Slow(Counter):
        def state(self) -> dict[str, Any]:
            clock.now += 2.0
            return super().state()

    checkpoints, job = Checkpoints(tmp_path, "job", cost=cost), Slow()
    checkpoints.begin(job, PLAN)
    for epoch in range(1, 1000):
        clock.now += 10.0
        checkpoints.offer(job.at(epoch, 0), epoch_done=True)
    assert 0.0095 < cost.seconds / clock.now < 0.0102


def test_a_cheap_checkpoint_is_saved_at_the_end_of_each_epoch(tmp_path, monkeypatch):
    Clock(monkeypatch)
    checkpoints, job = Checkpoints(tmp_path, "job", every=60.0), Counter()
    checkpoints.begin(job, PLAN)
    for epoch in range(1, 4):
        checkpoints.offer(job.at(epoch - 1, 7))
        checkpoints.offer(job.at(epoch, 0), epoch_done=True)
    assert job.saves == 3


def test_the_same_position_is_saved_once(tmp_path):
    checkpoints, job = Checkpoints(tmp_path, "job"), Counter()
    checkpoints.begin(job, PLAN)
    checkpoints.offer(job.at(1, 0), epoch_done=True)
    checkpoints.offer(job, epoch_done=True)
    checkpoints.finish(job)
    again = Counter()
    second = Checkpoints(tmp_path, "job")
    second.begin(again, PLAN)
    second.finish(again)
    assert (job.saves, again.saves) == (1, 0)


def test_an_interrupt_saves_and_says_where(tmp_path):
    with Interrupts() as interrupts:
        checkpoints, job = Checkpoints(tmp_path, "search", interrupts=interrupts), Counter()
        checkpoints.begin(job, PLAN)
        checkpoints.offer(job.at(1, 3))
        assert job.saves == 0
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="search stopped in epoch 2 after step 4 and is saved") as caught:
            checkpoints.offer(job.at(1, 4))
    assert caught.value.signal == signal.SIGTERM
    (file,) = files(tmp_path)
    assert read_checkpoint(file)["position"] == {"epoch": 1, "step": 4, "over": False}


# -- when it cannot be saved -------------------------------------------------------------------------------------------


def test_a_failing_write_leaves_what_was_there(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, (0, 2), (1, 0))
    before = {f: f.read_bytes() for f in files(tmp_path)}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("oche.files.os.fsync", full)
    with pytest.raises(WriteError, match="No space left on device"):
        checkpoints.finish(Counter().at(1, 5))
    assert {f: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    saved(tmp_path, (1, 0))
    (tmp_path / ".job-000002-epoch1-step1-0123456789abcdef.pt.new").write_bytes(b"half")
    assert restored(tmp_path).position == Position(1, 0)
    assert len(list(tmp_path.iterdir())) == 1
