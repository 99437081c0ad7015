"""TensorBoard events of a run's jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from oche.listener import Job, Listener


class TensorBoard(Listener):
    """Writes every number of every epoch; a job that goes on is written again from its records.

    Args:
        directory: one directory per job is made below it, so that TensorBoard draws them over each other.
    """

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)
        self._writer: SummaryWriter | None = None

    def start(self, job: Job) -> None:
        """Write the epochs that earlier sessions have finished; what a kill has cut off is gone then."""
        for old in (self._directory / job.name).glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(self._directory / job.name)
        for record in job.records:
            self.epoch(record)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Write and flush the numbers of an epoch."""
        assert self._writer is not None
        for tag, value in _scalars(record):
            self._writer.add_scalar(tag, value, record["epoch"])
        self._writer.flush()

    def finish(self) -> None:
        """Close the file."""
        assert self._writer is not None
        self._writer.close()


def _scalars(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers by path: `train_loss`, `entropy_by_kind/normal`, `logits/normal/2_from_0/3`."""
    for key, item in value.items():
        tag = f"{prefix}{key}".replace("<-", "_from_")  # TensorBoard allows no such signs
        if isinstance(item, Mapping):
            yield from _scalars(item, f"{tag}/")
        elif isinstance(item, list):
            yield from _scalars({str(i): x for i, x in enumerate(item)}, f"{tag}/")
        elif isinstance(item, int | float) and tag != "epoch":
            yield tag, item
