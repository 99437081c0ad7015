"""Tables answer with what they hold, and cost what was trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from oche.bench.columns import EPOCHS
from oche.bench.table import Table
from oche.campaign.task import Workplace
from oche.errors import InputError
from oche.nosh.backend import CurveBackend, ScheduleBackend
from oche.nosh.schedule import Levels
from oche.nosh.training import PausedError, TrainingBackend
from oche.training.trainer import TrainingData


def test_prefixes_of_a_curve_add_up(curves: CurveBackend, place: Workplace) -> None:
    architecture = curves.table.architectures[7]
    parts = [curves.measure(architecture, 0, before, until, place) for before, until in ((0, 5), (5, 20), (20, 40))]
    valid = curves.table.curve(architecture, seed=0)
    assert [p.accuracy for p in parts] == [valid[4], valid[19], valid[39]]
    seconds = curves.table.curve(architecture, "seconds", seed=0)
    assert sum(p.seconds for p in parts) == pytest.approx(float(seconds[-1]))


def test_schedules_are_separate_and_said_to_be(schedules: ScheduleBackend, place: Workplace) -> None:
    architecture = schedules.space.sample(Random(0))
    short = schedules.measure(architecture, 0, 0, 12, place)
    full = schedules.measure(architecture, 0, 12, 200, place)
    table = Table.embedded()
    assert short.accuracy == table.accuracy(architecture, "cifar10", epochs=12)
    assert full.accuracy == table.accuracy(architecture, "cifar10", epochs=200)
    assert full.seconds == pytest.approx(short.seconds * 200 / 12), "all 200 epochs, whatever was trained before"
    assert not schedules.resumed
    assert "costs 12 + 200 epochs" in schedules.label
    levels = Levels(epochs=EPOCHS, width=1, promoted=(1,), resumed=False)
    assert levels.round_cost() == 212


def test_other_data_of_the_table_have_no_seconds(place: Workplace) -> None:
    backend = ScheduleBackend(Table.embedded(), "cifar100")
    assert backend.measure(backend.space.sample(Random(0)), 0, 0, 200, place).seconds == 0
    assert "seconds unknown" in backend.label


def test_bad_input(curves: CurveBackend, schedules: ScheduleBackend) -> None:
    with pytest.raises(InputError, match=r"need what is known after 80, but table bench125.* has 1 to 40 only"):
        curves.check(Levels(epochs=(40, 80), width=1, promoted=(1,)))
    with pytest.raises(InputError, match=r"need what is known after 25, but table nasbench201.* has 12 and 200 only"):
        schedules.check(Levels(epochs=(25, 200), width=1, promoted=(1,), resumed=False))
    with pytest.raises(InputError, match=r"trainings cannot be resumed there, but the levels say resumed=True"):
        schedules.check(Levels(epochs=(12, 200), width=1, promoted=(1,)))
    with pytest.raises(InputError, match=r"unknown data of NAS-Bench-201 'digits'"):
        ScheduleBackend(Table.embedded(), "digits")


def test_a_training_is_paused_and_resumed_bit_for_bit(
    training: Callable[[Path], TrainingBackend], place: Workplace, tmp_path: Path
) -> None:
    """In one piece and in three: the same accuracies after each epoch."""
    whole, pieces = training(tmp_path / "whole"), training(tmp_path / "pieces")
    architecture = whole.space.sample(Random(1))
    levels = ((0, 1), (1, 3), (3, 4))
    parts = [pieces.measure(architecture, 5, before, until, place) for before, until in levels]
    assert whole.measure(architecture, 5, 0, 4, place).accuracy == parts[-1].accuracy
    again = [whole.measure(architecture, 5, 0, until, place).accuracy for _, until in levels]
    assert again == [p.accuracy for p in parts], "what was trained further still knows its earlier epochs"
    assert all(p.seconds > 0 for p in parts)


def test_every_epoch_is_saved_at_once(
    training: Callable[[Path], TrainingBackend], place: Workplace, tmp_path: Path
) -> None:
    backend = training(tmp_path)
    backend.measure(backend.space.sample(Random(1)), 3, 0, 2, place)
    saved = sorted(file.name.split("-")[2] for file in (tmp_path / "3").glob("*.pt"))
    assert saved == ["epoch1", "epoch2"]


def test_all_candidates_have_the_same_halves(
    training: Callable[[Path], TrainingBackend], place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And different weights at the beginning; otherwise their accuracies could not be compared."""
    seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def spied(model: torch.nn.Module, *rest: object, data: TrainingData, **more: object) -> None:
        assert data.valid is not None
        assert data.test is None, "test images are out of reach"
        parts = [torch.cat([x for x, _ in part.epoch(0)]) for part in (data.train, data.valid)]
        seen.append((parts[0], parts[1], next(model.parameters()).detach().clone()))
        raise PausedError(({"valid_accuracy": 0.5, "seconds": 1.0},))

    monkeypatch.setattr("oche.nosh.training.run_training", spied)
    backend = training(tmp_path)
    architecture = backend.space.sample(Random(0))
    for number in (0, 1, 0):
        backend.measure(architecture, number, 0, 1, place)
    first, second, again = seen
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[2], second[2])
    assert torch.equal(first[2], again[2])
    images = {image.numpy().tobytes() for image in first[1]}
    assert not images & {image.numpy().tobytes() for image in first[0]}


def test_no_network_for_an_auxiliary_head(training: Callable[[Path], TrainingBackend], tmp_path: Path) -> None:
    backend = training(tmp_path)
    with pytest.raises(InputError, match="no place for an auxiliary head"):
        replace(backend, protocol=replace(backend.protocol, auxiliary=0.4))
