"""Who watches a long job: progress bars, run directories, a user's own callback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from oche.metrics import Meter


@dataclass(frozen=True)
class Job:
    """What begins.

    Attributes:
        name: `search`, `train`, `random 1`, ...
        epochs: planned.
        steps: of each epoch, or of the first where they differ.
        done: steps that earlier sessions have done.
        records: of the epochs that earlier sessions have finished.
        total: steps of all epochs; None: they are alike.
    """

    name: str
    epochs: int
    steps: int
    done: int = 0
    records: tuple[Mapping[str, Any], ...] = ()
    total: int | None = None


class Listener:
    """Hears of every step and epoch of a search or a training; may not change it. Derive from it to hear some."""

    def start(self, job: Job) -> None:
        """A job begins, or goes on."""

    def step(self, epoch: int, step: int, meter: Meter) -> None:
        """A step is done. Reading the meter waits for the device, so do it seldom."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is done; the record is plain JSON values."""

    def finish(self) -> None:
        """The job is over, or has stopped."""


class Listeners:
    """Several listeners as one."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._all = tuple(listeners)

    @contextmanager
    def job(self, job: Job) -> Iterator[None]:
        """Tell everyone of the start, and whoever heard of it of the end, however that comes."""
        with ExitStack() as stack:
            for listener in self._all:
                listener.start(job)
                stack.push(partial(_finish, listener))
            yield

    def step(self, epoch: int, step: int, meter: Meter) -> None:
        """Tell everyone."""
        for listener in self._all:
            listener.step(epoch, step, meter)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Tell everyone."""
        for listener in self._all:
            listener.epoch(record)


def _finish(listener: Listener, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
    """Tell of the end; what goes wrong then must not hide why the job has ended."""
    try:
        listener.finish()
    except BaseException:  # Rich raises SystemExit where its pipe is closed
        if error is None:
            raise
