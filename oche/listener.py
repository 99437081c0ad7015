"""Who watches a long job: progress bars, run directories, a user's own callback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from oche.metrics import Meter


class Listener(Protocol):
    """Hears of every step and epoch of a search or a training; may not change it."""

    def start(self, job: str, epochs: int, steps: int) -> None:
        """A job of so many epochs begins, each of so many steps."""
        ...

    def step(self, epoch: int, step: int, meter: Meter) -> None:
        """A step is done. Reading the meter waits for the device, so do it seldom."""
        ...

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is done; the record is plain JSON values."""
        ...

    def finish(self) -> None:
        """The job is over."""
        ...


class Listeners:
    """Several listeners as one."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._all = tuple(listeners)

    @contextmanager
    def job(self, name: str, epochs: int, steps: int) -> Iterator[None]:
        """Tell everyone of the start, and of the end however it comes."""
        for listener in self._all:
            listener.start(name, epochs, steps)
        try:
            yield
        finally:
            for listener in self._all:
                listener.finish()

    def step(self, epoch: int, step: int, meter: Meter) -> None:
        """Tell everyone."""
        for listener in self._all:
            listener.step(epoch, step, meter)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Tell everyone."""
        for listener in self._all:
            listener.epoch(record)
