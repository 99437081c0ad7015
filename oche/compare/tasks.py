"""What the processes of a comparison do. Nothing here can see a test accuracy of a table.

- `Search`: one method on one space and data set with one seed. Where no table knows the truth, the architecture is
  then trained and tested.
- `RandomSearch`: the same budget in measured seconds: architectures drawn uniformly from the same candidates, trained
  one after the other on the half of the images that trained the supernet's weights, and compared on the other half.
- `Reference`: a random architecture trained and tested, to tell what collapse is where no table does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn import functional as F

from oche import api
from oche.architecture import Architecture
from oche.campaign.data import CampaignData
from oche.campaign.task import Cell, Workplace, cell_slug
from oche.checkpoint import Resumable
from oche.clock import Deadline
from oche.data.split import TEST_SEED
from oche.feed import search_feed
from oche.files import append_line, write_whole
from oche.interrupt import Interrupted, Stop
from oche.listeners.base import Job, Listener
from oche.methods import method
from oche.metrics import ACCURACY
from oche.randomness import derive, frozen
from oche.runs.provenance import this_machine
from oche.spaces.space import Space
from oche.training.protocol import NASBENCH201, TrainingProtocol
from oche.training.trainer import TrainingData, run_training

RANDOM = "random"
"""Random search among the methods of a comparison."""

SPLIT = TEST_SEED
"""Seed of the images that are held out from searches: the same for every method and seed."""

SHORTEST = 0.001
"""Seconds that remain of a budget when it is already used up."""

DIGITS = 9
"""Significant digits of a logit in the results: all that float32 has."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all cells of a comparison on one space and data set have in common.

    Attributes:
        space: with the size of its supernet.
        data: the images.
        truth: what a table calls them.
        epochs: of every search.
        batch: images per step; None: each method's own, or fewer for few images.
        logit_lr: rate of the logits; None: each method's own, raised in short searches.
        validation: share of the training images that searches leave alone.
        protocol: how architectures are trained and tested where no table knows them; None: a table does.
        random_epochs: of each architecture in a random search.
        device: where.
        threads: of each process.
        engine: that evaluates supernets.
        work: directory for checkpoints of unfinished searches.
        table: of the user's, which searches by query ask; None: one that comes with the package.
    """

    space: Space
    data: CampaignData
    truth: str
    epochs: int
    batch: int | None
    logit_lr: float | None
    validation: float
    protocol: TrainingProtocol | None
    random_epochs: int
    device: str
    threads: int
    engine: str
    work: Path
    table: Path | None = None

    @property
    def names(self) -> dict[str, str]:
        """How cells call space and data."""
        return {"space": self.space.name, "data": self.data.name}

    def facts(self) -> dict[str, Any]:
        """What a result says about where it was made, and of which data."""
        machine = this_machine(torch.device(self.device)) | {"threads": self.threads}
        return {"fingerprint": self.data.fingerprint, "machine": machine}

    def test(self, architecture: Architecture, seed: int) -> dict[str, Any]:
        """Train an architecture and test it, where no table knows it.

        Returns:
            `trained` with test accuracy (percent), validation accuracy and parameters; nothing if a table knows it.
        """
        if self.protocol is None:
            return {}
        trained = api.train(
            architecture,
            data=self.data.read(),
            protocol=self.protocol,
            space=self.space,
            fit_batch=True,
            seed=seed,
            split=SPLIT,
            device=self.device,
        )
        accuracy = round(100 * trained.test["accuracy"], 4)
        return {"trained": {"test": accuracy, "parameters": trained.parameters, "seconds": trained.seconds}}


@dataclass(frozen=True)
class Search:
    """A search by one method with one seed.

    Attributes:
        method: its name.
        seed: of everything random.
        setting: what all have in common.
    """

    method: str
    seed: int
    setting: Setting

    @property
    def cell(self) -> Cell:
        """See `Task`."""
        return {"method": self.method, **self.setting.names, "seed": self.seed}

    @property
    def directory(self) -> Path:
        """Of its checkpoints."""
        return self.setting.work / cell_slug(self.cell)

    def run(self, workplace: Workplace) -> dict[str, Any]:
        """See `Task`."""
        setting = self.setting
        result = api.search(
            setting.space,
            data=setting.data.read(),
            method=method(self.method).fitted(setting.space.name, setting.truth),
            epochs=setting.epochs,
            batch=setting.batch,
            logit_lr=setting.logit_lr,
            validation=setting.validation,
            split=SPLIT,
            # The networks of the tables had neither Cutout nor drop-path nor an auxiliary head.
            protocol=setting.protocol or NASBENCH201,
            seed=self.seed,
            device=setting.device,
            engine=setting.engine,
            probes="cheap",
            listeners=[_Reporter(workplace)],
            checkpoints=workplace.checkpoints(self.directory, "search"),
        )
        found, records = result.found, result.found.records
        return {
            "architecture": dict(result.architecture.items),
            "logits": [_rounded(table) for table in found.logits],
            "remaining": [record.get("remaining", {}) for record in records],
            "entropy": [record["entropy"] for record in records],
            "valid_accuracy": [100 * record["valid_accuracy"] for record in records if "valid_accuracy" in record],
            "epoch_seconds": [record["seconds"] for record in records],
            "seconds": found.seconds,
            "steps": found.steps,
            "paper_steps": result.method.steps,
            "logit_rate": result.method.logit_optimizer.lr.at(0),
            "travel": result.verdict.travel_mean,
            "verdict": result.verdict.status,
            "stopped": found.stopped,
            **setting.facts(),
            **setting.test(result.architecture, self.seed),
        }


@dataclass(frozen=True)
class RandomSearch:
    """Random search for as many seconds as the searches took that it is compared with.

    Attributes:
        seconds: the budget: of the longest of them; shorter budgets are read off its course.
        seed: of everything random.
        setting: what all have in common.
    """

    seconds: float
    seed: int
    setting: Setting

    @property
    def cell(self) -> Cell:
        """See `Task`."""
        return {"method": RANDOM, **self.setting.names, "seed": self.seed}

    def run(self, workplace: Workplace) -> dict[str, Any]:
        """See `Task`. The first architecture is trained to its end in any case, or there would be no result."""
        setting = self.setting
        dataset, device = setting.data.read(), torch.device(setting.device)
        numbers = method("darts")
        batch = setting.batch or numbers.batch
        feed = search_feed(
            dataset, batch, self.seed, device, setting.validation, fit=setting.batch is None, split=SPLIT
        )
        protocol = TrainingProtocol(
            name=RANDOM,
            summary="an architecture in a random search",
            stack=setting.space.supernet_stack,
            epochs=setting.random_epochs,
            batch=batch,
            optimizer=numbers.weight_optimizer,
            clip=numbers.clip,
            keep_best=False,
        )
        data = TrainingData(train=feed.train, valid=feed.evaluation, test=None)
        course = self._earlier_course()
        began = time.monotonic() - (course[-1]["seconds"] if course else 0.0)
        while not course or time.monotonic() - began < self.seconds:
            left = max(self.seconds - (time.monotonic() - began), SHORTEST) if course else None
            architecture = setting.space.sample(Random(derive(self.seed, RANDOM, len(course))))
            with frozen(derive(self.seed, "network", len(course)), device):
                network = setting.space.network(architecture, dataset.task, protocol.stack).to(device)
            trained = run_training(
                network,
                network.with_auxiliary,
                protocol,
                data=data,
                train_loss=F.cross_entropy,
                loss=F.cross_entropy,
                metrics=ACCURACY,
                seed=derive(self.seed, "training", len(course)),
                device=device,
                deadline=Deadline(left),
                keeper=_OnlyStops(workplace.stop),
                job=RANDOM,
            )
            accuracy, seconds = 100 * trained.records[-1]["valid_accuracy"], time.monotonic() - began
            if course and (trained.stopped is not None or seconds > self.seconds):
                break  # it has outrun the budget
            course.append({"architecture": dict(architecture.items), "valid_accuracy": accuracy, "seconds": seconds})
            append_line(self._file, json.dumps(course[-1]))
            workplace.report(min(seconds / self.seconds, 1.0), f"{len(course)} architectures")
        best = max(course, key=lambda entry: entry["valid_accuracy"])
        architecture = Architecture.of(setting.space.name, best["architecture"])
        return {
            "architecture": best["architecture"],
            "course": course,
            "budget": self.seconds,
            "seconds": time.monotonic() - began,
            **setting.facts(),
            **setting.test(architecture, self.seed),
        }

    @property
    def _file(self) -> Path:
        return self.setting.work / f"{cell_slug(self.cell)}.jsonl"

    def _earlier_course(self) -> list[dict[str, Any]]:
        """What an earlier process has trained before it was stopped."""
        if not self._file.exists():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            return []
        *lines, _ = self._file.read_text(encoding="utf-8").split("\n")
        write_whole(self._file, "".join(f"{line}\n" for line in lines).encode())  # a kill may have cut the last line
        return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class Reference:
    """A random architecture, trained and tested.

    Attributes:
        number: which one; it is drawn by this number.
        setting: what all have in common.
    """

    number: int
    setting: Setting

    @property
    def cell(self) -> Cell:
        """See `Task`."""
        return {"reference": self.number, **self.setting.names}

    def run(self, workplace: Workplace) -> dict[str, Any]:
        """See `Task`."""
        architecture = self.setting.space.sample(Random(derive(0, "reference", self.number)))
        facts = self.setting.facts()
        return {"architecture": dict(architecture.items), **facts, **self.setting.test(architecture, self.number)}


class _Reporter(Listener):
    """Tells the parent how far a search is."""

    def __init__(self, workplace: Workplace) -> None:
        self._workplace, self._epochs = workplace, 1

    def start(self, job: Job) -> None:
        self._epochs = job.epochs

    def epoch(self, record: Mapping[str, Any]) -> None:
        accuracy = f", validation {record['valid_accuracy']:.1%}" if "valid_accuracy" in record else ""
        self._workplace.report(record["epoch"] / self._epochs, f"epoch {record['epoch']}/{self._epochs}{accuracy}")


class _OnlyStops:
    """Keeps nothing of a short training, but lets the user stop it."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def begin(self, job: Resumable, plan: Mapping[str, Any]) -> None:
        pass

    def offer(self, job: Resumable, *, epoch_done: bool = False) -> None:
        if self._stop.received is not None:
            raise Interrupted(self._stop.received, "stopped between two architectures")

    def finish(self, job: Resumable) -> None:
        pass


def _rounded(table: Mapping[str, Any]) -> dict[str, list[float]]:
    return {key: [float(f"{value:.{DIGITS}g}") for value in row] for key, row in table.items()}
