"""Who knows the truth about the architectures of a comparison: a table, or trainings with the same protocol.

Only the process that writes the results has a judge; those that search do not (`oche.compare.tasks`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oche.architecture import Architecture
from oche.bench.columns import DATA
from oche.bench.commands import EMBEDDED
from oche.bench.curve_truth import CurveTruth
from oche.bench.encoding import SPACE as NASBENCH201
from oche.bench.ranking import Ranking
from oche.bench.table import Table
from oche.bench.truth import Truth
from oche.campaign.ledger import Entry
from oche.errors import InputError, unknown
from oche.spaces.space import Space

FEWEST_REFERENCES = 4
"""Random architectures without which a quartile says nothing."""

SHORT_SCHEDULE = 12
"""Epochs of NAS-Bench-201's schedule whose cost the table states."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a random search in a table pays and sees.

    Attributes:
        label: which schedule, and whose seconds.
        seconds: of training an architecture.
        validation: accuracy that it is chosen by.
    """

    label: str
    seconds: Callable[[Architecture], float]
    validation: Callable[[Architecture], float]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The truth about one space and data set.

    Attributes:
        label: where the truth comes from.
        table: test accuracy (percent) of any architecture; None: only of those that were trained.
        everything: the accuracies of the whole space; None: random architectures are trained for comparison.
        costs: of random search in the table; None: it states none.
        validation: share of the training images that the table's own trainings hold out.
    """

    label: str
    table: Callable[[Architecture], float] | None = None
    everything: Ranking | None = None
    costs: Costs | None = None
    validation: float = 0.0

    def accuracy(self, entry: Entry) -> float:
        """Test accuracy, in percent, of a cell's architecture."""
        if self.table is None:
            return float(entry["trained"]["test"])
        return self.table(Architecture.of(entry["cell"]["space"], entry["architecture"]))

    def ranking(self, references: Sequence[Entry]) -> Ranking | None:
        """Accuracies of random architectures; None if there are too few to tell."""
        if self.everything is not None:
            return self.everything
        if len(references) < FEWEST_REFERENCES:
            return None
        return Ranking(np.array([self.accuracy(entry) for entry in references]))


def judge(space: Space, data: str, fingerprint: str, table: Path | None) -> Judge | None:
    """Who knows the truth about a space on a data set; None: no table does.

    Args:
        space: whose architectures are to be judged.
        data: the name under which a table knows the data.
        fingerprint: of the data.
        table: a table of the user's; None: those that come with the package.

    Raises:
        InputError: the space has a table, but it does not cover these data, or cannot be read.
    """
    if space.name == NASBENCH201:
        if table is not None and table.is_dir():
            raise InputError(f"a table of space {space.name!r} is a CSV file, but {str(table)!r} is a directory")
        return _of_nasbench201(data, table)
    if table is not None:
        return _of_curves(CurveTruth.read(table), space, data, fingerprint)
    if space.name in EMBEDDED:
        return _of_curves(CurveTruth.embedded(space.name), space, data, fingerprint)
    return None


def _of_nasbench201(data: str, path: Path | None) -> Judge:
    if data not in DATA:
        raise InputError(
            f"{unknown('data of the table nasbench201', data, DATA)}; say which of them these data are with --truth, "
            "such as --truth cifar10"
        )
    truth = Truth.embedded() if path is None else Truth.read(path)
    table = Table.embedded() if path is None else Table.read(path)
    costs = Costs(
        label=f"{SHORT_SCHEDULE}-epoch schedule, the table's seconds",
        seconds=table.seconds,
        validation=lambda a: table.accuracy(a, "cifar10", epochs=SHORT_SCHEDULE),
    )
    return Judge(
        label=f"NAS-Bench-201, {data}, test after 200 epochs",
        table=lambda a: truth.accuracy(a, data),
        everything=truth.ranking(data),
        costs=costs if data == "cifar10" else None,
    )


def _of_curves(truth: CurveTruth, space: Space, data: str, fingerprint: str) -> Judge:
    table = truth.table
    if table.space.name != space.name:
        raise InputError(f"the table is of space {table.space.name!r}, but the comparison has space {space.name!r}")
    if data != table.about["data"]:
        raise InputError(
            f"the table of {space.name!r} covers the data {table.about['data']!r}, but got {data!r}; "
            f"give --data {table.about['data']}"
        )
    if fingerprint != table.about["fingerprint"]:
        raise InputError(
            f"the table of {space.name!r} is of other images than these {data!r}, whose fingerprint is "
            f"{fingerprint[:16]}... and not {table.about['fingerprint'][:16]}...; leave out --data.limit and the like"
        )
    return Judge(
        label=f"table {table.about['name']}, {data}, test after {table.epochs} epochs, {table.seeds} seeds",
        table=truth.accuracy,
        everything=truth.ranking,
        costs=Costs(
            label=f"{table.epochs} epochs, the table's seconds", seconds=table.seconds, validation=table.accuracy
        ),
        validation=table.about["protocol"]["validation"],
    )
