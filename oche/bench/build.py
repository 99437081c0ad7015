"""Make a table of a whole space: every architecture trained with several seeds, each epoch written down.

One training is one task of a campaign, so that the table is built by parallel processes and goes on after anything.
All trainings see the same images: the seed changes initial weights, order and augmentation, not the split.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from oche import api
from oche.architecture import Architecture
from oche.bench.curves import FORMAT, METRICS
from oche.campaign.data import CampaignData
from oche.campaign.ledger import Ledger
from oche.campaign.task import Cell, Workplace
from oche.data.split import TEST_SEED
from oche.errors import InputError
from oche.feed import training_feed
from oche.files import write_whole, writing
from oche.plain import described
from oche.spaces.space import Space
from oche.training.protocol import TrainingProtocol

KIND = "table"
"""Of the results file of a table that is being built."""

LARGEST = 20_000
"""Architectures of a space above which nobody trains them all."""

SPLIT = TEST_SEED
"""Seed of the validation part, the same in all trainings."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A table to be built.

    Attributes:
        name: of the table.
        space: every architecture of which is trained.
        data: the images.
        protocol: how each network is trained; it holds a validation part out, and keeps the last epoch.
        seeds: trainings of each architecture.
        device: where.
    """

    name: str
    space: Space
    data: CampaignData
    protocol: TrainingProtocol
    seeds: int
    device: str

    def __post_init__(self) -> None:
        if self.space.size > LARGEST:
            raise InputError(
                f"a table trains every architecture, but space {self.space.name!r} has {self.space.size:.3g}, "
                f"more than {LARGEST:,}; give a smaller space, such as --space bench125"
            )
        if self.seeds < 1:
            raise InputError(f"a table needs seeds >= 1, but got {self.seeds}")
        if self.protocol.validation == 0 or self.protocol.keep_best:
            raise InputError(
                "a table needs validation images that watch and do not choose the epoch; give --train bench125, or a "
                "protocol of yours with validation > 0 and keep_best=False"
            )

    def ready(self, ledger: Ledger) -> Iterator[Training]:
        """All trainings: one seed of every architecture, then the next seed."""
        for seed in range(self.seeds):
            for number, architecture in enumerate(self.space.enumerate()):
                yield Training(number, architecture, seed, self)

    def check(self) -> None:
        """See, before anything is trained, that the networks fit the images and the images the batches.

        Raises:
            InputError: they do not.
        """
        data, device = self.data.read(), torch.device(self.device)
        training_feed(data, self.protocol, 0, device, split=SPLIT)
        with torch.device("meta"):
            self.space.network(
                next(self.space.enumerate()), data.task, self.protocol.stack, auxiliary=self.protocol.auxiliary > 0
            )

    @property
    def facts(self) -> dict[str, Any]:
        """What the table says about itself, and what must be the same when its building goes on."""
        return {
            "space": json.loads(self.space.to_json()),
            "data": self.data.name,
            "fingerprint": self.data.fingerprint,
            "augment": described(self.data.read().augment),
            "protocol": described(self.protocol),
            "seeds": list(range(self.seeds)),
        }


@dataclass(frozen=True)
class Training:
    """The training of one architecture with one seed.

    Attributes:
        number: of the architecture, in the order of its space.
        architecture: which one.
        seed: of initial weights, order and augmentation.
        plan: of the table.
    """

    number: int
    architecture: Architecture
    seed: int
    plan: Plan

    @property
    def cell(self) -> Cell:
        """See `Task`."""
        return {"architecture": self.number, "seed": self.seed}

    def run(self, workplace: Workplace) -> dict[str, Any]:
        """See `Task`."""
        trained = api.train(
            self.architecture,
            data=self.plan.data.read(),
            protocol=self.plan.protocol,
            space=self.plan.space,
            seed=self.seed,
            split=SPLIT,
            device=self.plan.device,
        )
        if trained.stopped is not None:
            raise InputError(f"the training stopped: {trained.stopped}; a table needs whole curves")
        curves = {name: [_rounded(record, name) for record in trained.records] for name in METRICS}
        return {"parameters": trained.parameters, "curves": curves, "test": round(100 * trained.test["accuracy"], 4)}


def write_table(directory: Path, plan: Plan, ledger: Ledger, machine: Mapping[str, Any]) -> None:
    """Write the finished table.

    Raises:
        InputError: a training is missing or has failed, or the files cannot be written.
    """
    count = plan.space.size
    curves = np.zeros((count, plan.seeds, plan.protocol.epochs, len(METRICS)), np.float32)
    test, parameters = np.zeros((count, plan.seeds), np.float32), np.zeros(count, np.int64)
    for task in plan.ready(ledger):
        entry = ledger.done(task.cell)
        if entry is None:
            failed = ledger.failed(task.cell)
            reason = failed["error"] if failed else "it was not trained"
            raise InputError(
                f"the table lacks architecture {task.number}, seed {task.seed}: {reason}; --retry-failed trains again "
                "what has failed"
            )
        curves[task.number, task.seed] = np.array([entry["curves"][name] for name in METRICS], np.float32).T
        test[task.number, task.seed], parameters[task.number] = entry["test"], entry["parameters"]
    about = {"format": FORMAT, "name": plan.name, **plan.facts, "machine": dict(machine)}
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    for name, array in (("curves.npy", curves), ("parameters.npy", parameters), ("test.npy", test)):
        write_whole(directory / name, _bytes(array))
    write_whole(directory / "about.json", (json.dumps(about, indent=1) + "\n").encode())


def _rounded(record: Mapping[str, Any], name: str) -> float:
    """Accuracies in percent; seven digits are what float32 holds."""
    value = 100 * record[name] if name.endswith("accuracy") else record[name]
    return float(f"{value:.7g}")


def _bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
