"""Real training as a backend: paused after so many epochs, taken up again from its checkpoint, bit for bit.

All levels are prefixes of one training of `protocol.epochs` epochs: its rates follow that number, whether or not the
candidate ever gets there. Every epoch is saved when it is done, so that a kill costs less than one epoch of each
training that was under way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from oche.architecture import Architecture
from oche.campaign.data import CampaignData
from oche.campaign.task import Workplace
from oche.checkpoint import Checkpoints, Keeper, Resumable
from oche.errors import InputError
from oche.feed import search_feed
from oche.listeners.base import Job, Listener
from oche.metrics import ACCURACY
from oche.nn.engine import FAST, set_engine
from oche.nosh.backend import Backend, Measured
from oche.randomness import derive, frozen
from oche.spaces.space import Space
from oche.training.protocol import TrainingProtocol
from oche.training.trainer import TrainingData, run_training

JOB = "candidate"
"""Of its checkpoints."""


@dataclass(frozen=True, kw_only=True)
class TrainingBackend(Backend):
    """Trains every candidate on one half of the images and measures it on the other, as searches with a supernet do.

    Attributes:
        searched: the space.
        data: the images; its test images are never looked at.
        protocol: of the whole training, whose last epoch is the highest level there can be.
        validation: share of the training images that the search leaves alone, for the training of what it finds.
        split: decides which images these are.
        seed: of the halves, of order and augmentation, and of initial weights.
        device: where.
        fit: whether a batch larger than a half shrinks to it, or is refused.
        work: directory for the checkpoints, one directory per candidate within.
    """

    searched: Space
    data: CampaignData
    protocol: TrainingProtocol
    validation: float
    split: int
    seed: int
    device: str
    fit: bool
    work: Path

    def __post_init__(self) -> None:
        if self.protocol.auxiliary > 0 and not self.searched.has_auxiliary:
            raise InputError(
                f"the networks of {self.searched.name} have no place for an auxiliary head; give --train.auxiliary 0"
            )

    @property
    def space(self) -> Space:
        """See `Backend`."""
        return self.searched

    @property
    def resumed(self) -> bool:
        """True: from checkpoints."""
        return True

    @property
    def epochs(self) -> tuple[int, ...]:
        """See `Backend`."""
        return tuple(range(1, self.protocol.epochs + 1))

    @property
    def label(self) -> str:
        """See `Backend`."""
        return (
            f"training of {self.protocol.epochs} epochs on {self.data.name}, paused and resumed; a promotion costs the "
            "further epochs"
        )

    def measure(self, architecture: Architecture, number: int, before: int, epochs: int, place: Workplace) -> Measured:
        """See `Backend`."""
        dataset, device = self.data.read(), torch.device(self.device)
        # The halves and the batches are those of the search; only the weights begin differently for each candidate.
        feed = search_feed(
            dataset, self.protocol.batch, self.seed, device, self.validation, fit=self.fit, split=self.split
        )
        seed = derive(self.seed, JOB, number)
        with frozen(derive(seed, "network"), device):
            network = self.searched.network(
                architecture, dataset.task, self.protocol.stack, auxiliary=self.protocol.auxiliary > 0
            )
        network = network.to(device)
        set_engine(network, FAST)
        checkpoints = place.checkpoints(self.work / str(number), JOB)
        assert checkpoints is not None
        try:
            records = run_training(
                network,
                network.with_auxiliary,
                self.protocol,
                data=TrainingData(train=feed.train, valid=feed.evaluation, test=None),
                train_loss=self.protocol.loss(dataset.train.labels, device),
                loss=torch.nn.functional.cross_entropy,
                metrics=ACCURACY,
                seed=derive(seed, "training"),
                device=device,
                listeners=[_Reporter(place, before, epochs)],
                keeper=PausedAfter(epochs, checkpoints),
                about={"architecture": dict(architecture.items), "data": self.data.fingerprint},
                job=JOB,
            ).records
        except PausedError as pause:
            records = pause.records
        if len(records) < epochs:
            raise InputError(f"the training came to no number after epoch {len(records)} of {epochs}")
        paid = records[before - 1]["seconds"] if before else 0.0
        return Measured(100 * records[epochs - 1]["valid_accuracy"], records[epochs - 1]["seconds"] - paid)


class PausedError(Exception):
    """A training has come as far as it should go for now; its state is saved.

    Attributes:
        records: of its epochs.
    """

    def __init__(self, records: tuple[Mapping[str, Any], ...]) -> None:
        super().__init__(f"paused after epoch {len(records)}")
        self.records = records


class PausedAfter:
    """Saves a training after every epoch, and pauses it after a given one.

    Args:
        epochs: after which it is paused.
        checkpoints: where it is saved.
    """

    def __init__(self, epochs: int, checkpoints: Checkpoints | Keeper) -> None:
        self._epochs, self._inner = epochs, checkpoints

    def begin(self, job: Resumable, plan: Mapping[str, Any]) -> None:
        """See `Keeper`.

        Raises:
            PausedError: it had come so far already, when its result was lost.
        """
        self._inner.begin(job, plan)
        self._pause(job)

    def offer(self, job: Resumable, *, epoch_done: bool = False) -> None:
        """See `Keeper`.

        Raises:
            PausedError: it has come so far.
        """
        if epoch_done:
            self._inner.finish(job)  # whatever it costs: an epoch that is trained is not trained again
            self._pause(job)
        self._inner.offer(job, epoch_done=epoch_done)

    def finish(self, job: Resumable) -> None:
        """See `Keeper`."""
        self._inner.finish(job)

    def _pause(self, job: Resumable) -> None:
        if job.position.epoch >= self._epochs and not job.position.over:
            raise PausedError(tuple(job.state()["records"]))


class _Reporter(Listener):
    """Tells the parent how far a piece of training is."""

    def __init__(self, place: Workplace, before: int, epochs: int) -> None:
        self._place, self._before, self._epochs = place, before, epochs

    def start(self, job: Job) -> None:
        pass

    def epoch(self, record: Mapping[str, Any]) -> None:
        share = (record["epoch"] - self._before) / (self._epochs - self._before)
        self._place.report(share, f"epoch {record['epoch']}/{self._epochs}, {record['valid_accuracy']:.1%}")
