from collections.abc import Mapping
from typing import Any

import pytest

from oche.listener import Listeners
from oche.metrics import Meter


class Notes:
    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def start(self, job: str, epochs: int, steps: int) -> None:
        self.heard.append(("start", job, epochs, steps))

    def step(self, epoch: int, step: int, meter: Meter) -> None:
        self.heard.append(("step", epoch, step, meter))

    def epoch(self, record: Mapping[str, Any]) -> None:
        self.heard.append(("epoch", record))

    def finish(self) -> None:
        self.heard.append(("finish",))


def test_everyone_hears_everything_in_order() -> None:
    notes, meter, record = [Notes(), Notes()], Meter({}), {"epoch": 1}
    watching = Listeners(notes)
    with watching.job("search", 3, 5):
        watching.step(0, 4, meter)
        watching.epoch(record)
    expected = [("start", "search", 3, 5), ("step", 0, 4, meter), ("epoch", record), ("finish",)]
    assert [n.heard for n in notes] == [expected] * 2


def test_everyone_hears_the_end_after_an_error() -> None:
    notes = Notes()
    with pytest.raises(ZeroDivisionError), Listeners([notes]).job("train", 1, 1):
        raise ZeroDivisionError
    assert [n[0] for n in notes.heard] == ["start", "finish"]
