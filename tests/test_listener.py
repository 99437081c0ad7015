from collections.abc import Mapping
from typing import Any

import pytest

from oche.listener import Job, Listener, Listeners
from oche.metrics import Meter


class Notes(Listener):
    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def start(self, job: Job) -> None:
        self.heard.append(("start", job))

    def step(self, epoch: int, step: int, meter: Meter) -> None:
        self.heard.append(("step", epoch, step, meter))

    def epoch(self, record: Mapping[str, Any]) -> None:
        self.heard.append(("epoch", record))

    def finish(self) -> None:
        self.heard.append(("finish",))


def test_everyone_hears_everything_in_order() -> None:
    job = Job("search", 3, 5)
    notes, meter, record = [Notes(), Notes()], Meter({}), {"epoch": 1}
    watching = Listeners(notes)
    with watching.job(job):
        watching.step(0, 4, meter)
        watching.epoch(record)
    expected = [("start", job), ("step", 0, 4, meter), ("epoch", record), ("finish",)]
    assert [n.heard for n in notes] == [expected] * 2


def test_everyone_hears_the_end_after_an_error() -> None:
    notes = Notes()
    with pytest.raises(ZeroDivisionError), Listeners([notes]).job(Job("train", 1, 1)):
        raise ZeroDivisionError
    assert [n[0] for n in notes.heard] == ["start", "finish"]
