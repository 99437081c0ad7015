"""TensorBoard events of a run's jobs.

They are written by the record writer of the `tensorboard` package, in the thread of the job: PyTorch's
`SummaryWriter` writes in a thread of its own, where a full disk becomes a traceback instead of an error.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from oche.files import writing
from oche.listeners.base import Job, Listener

EVENTS = "events.out.tfevents"
"""How the name of a file begins in which TensorBoard looks for events."""

VERSION = "brain.Event:2"
"""Of the format of events; every file begins with it."""


class TensorBoard(Listener):
    """Writes every number of every epoch; a job that goes on is written again from its records.

    Args:
        directory: one directory per job is made below it, so that TensorBoard draws them over each other.

    Raises:
        InputError: the events cannot be written.
    """

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)
        self._file: Path | None = None
        self._writer: RecordWriter | None = None

    def start(self, job: Job) -> None:
        """Write the epochs that earlier sessions have finished; what a kill has cut off is gone then."""
        place = self._directory / job.name
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
            for old in place.glob(f"{EVENTS}.*"):
                old.unlink()
            self._file = place / f"{EVENTS}.{time.time():.0f}"
            self._writer = RecordWriter(self._file.open("wb", buffering=0))
        self._write(Event(wall_time=time.time(), file_version=VERSION))
        for record in job.records:
            self.epoch(record)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Write the numbers of an epoch."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(record)]
        self._write(Event(wall_time=time.time(), step=record["epoch"], summary=Summary(value=values)))

    def finish(self) -> None:
        """Close the file."""
        assert self._writer is not None
        self._writer.close()

    def _write(self, event: Event) -> None:
        assert self._writer is not None
        assert self._file is not None
        with writing(self._file):
            self._writer.write(event.SerializeToString())
            self._writer.flush()


def _scalars(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers by path: `train_loss`, `entropy_by_kind/normal`, `logits/normal/2_from_0/3`."""
    for key, item in value.items():
        tag = f"{prefix}{key}".replace("<-", "_from_")  # TensorBoard's pages allow no such signs
        if isinstance(item, Mapping):
            yield from _scalars(item, f"{tag}/")
        elif isinstance(item, list):
            yield from _scalars({str(i): x for i, x in enumerate(item)}, f"{tag}/")
        elif isinstance(item, int | float) and tag != "epoch":
            yield tag, item
