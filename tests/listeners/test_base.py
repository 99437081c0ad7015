from collections.abc import Mapping
from typing import Any

import pytest

from oche.listeners.base import Job, Listener, Listeners
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


class Failing(Listener):
    def __init__(self, start: bool = False) -> None:
        self._start = start

    def start(self, job: Job) -> None:
        if self._start:
            raise OSError("start")

    def finish(self) -> None:
        raise SystemExit("finish")


def test_what_goes_wrong_at_the_end_does_not_hide_why_it_ended() -> None:
    notes = Notes()
    with pytest.raises(ZeroDivisionError), Listeners([notes, Failing()]).job(Job("train", 1, 1)):
        raise ZeroDivisionError
    assert notes.heard[-1] == ("finish",)
    with pytest.raises(SystemExit, match="finish"), Listeners([Failing()]).job(Job("train", 1, 1)):
        pass


def test_who_heard_of_the_start_hears_of_the_end() -> None:
    notes = Notes()
    with pytest.raises(OSError, match="start"), Listeners([notes, Failing(start=True)]).job(Job("train", 1, 1)):
        pass
    assert [n[0] for n in notes.heard] == ["start", "finish"]
