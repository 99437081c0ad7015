"""The tables that a search by query can ask, each with the truth that only the run learns, when the search is over."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass

from oche.architecture import Architecture
from oche.bench.columns import DATA
from oche.bench.commands import EMBEDDED
from oche.bench.curve_truth import CurveTruth
from oche.bench.curves import CurveTable
from oche.bench.encoding import SPACE as NASBENCH201
from oche.bench.ranking import Ranking
from oche.bench.table import Table
from oche.bench.truth import Truth
from oche.config.options import RunCommand, SearchCommand
from oche.nosh.backend import TASKS, Backend, CurveBackend, ScheduleBackend
from oche.runs.session import Session
from oche.task import ImageTask, image_task

SearchSession = Session[RunCommand] | Session[SearchCommand]


class KnownSpace(ABC):
    """A space whose architectures have all been trained."""

    @property
    @abstractmethod
    def backend(self) -> Backend:
        """What a search asks; it has no test accuracy."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Of what the table says."""

    @property
    @abstractmethod
    def task(self) -> ImageTask:
        """Of the networks that the table is about."""

    @abstractmethod
    def accuracy(self, architecture: Architecture) -> float:
        """Test accuracy in percent."""

    @property
    @abstractmethod
    def ranking(self) -> Ranking:
        """The test accuracies of all architectures."""


@dataclass(frozen=True, eq=False)
class KnownSchedules(KnownSpace):
    """NAS-Bench-201.

    Attributes:
        data: which of its data sets.
    """

    data: str

    @property
    def backend(self) -> ScheduleBackend:
        """See `KnownSpace`."""
        return ScheduleBackend(Table.embedded(), self.data)

    @property
    def fingerprint(self) -> str:
        """See `KnownSpace`."""
        return hashlib.sha256(Table.embedded().accuracies(self.data).tobytes()).hexdigest()

    @property
    def task(self) -> ImageTask:
        """See `KnownSpace`."""
        return TASKS[self.data]

    def accuracy(self, architecture: Architecture) -> float:
        """See `KnownSpace`."""
        return Truth.embedded().accuracy(architecture, self.data)

    @property
    def ranking(self) -> Ranking:
        """See `KnownSpace`."""
        return Truth.embedded().ranking(self.data)


@dataclass(frozen=True, eq=False)
class KnownCurves(KnownSpace):
    """A table of curves that comes with the package.

    Attributes:
        name: of the table.
        seed: of the search, which sees one training of each architecture; seeds take turns.
        images: the shapes of the images and classes that it was made with.
    """

    name: str
    seed: int
    images: ImageTask

    @property
    def backend(self) -> CurveBackend:
        """See `KnownSpace`."""
        table = CurveTable.embedded(self.name)
        return CurveBackend(table, self.seed % table.seeds)

    @property
    def fingerprint(self) -> str:
        """See `KnownSpace`: that of the images."""
        return str(CurveTable.embedded(self.name).about["fingerprint"])

    @property
    def task(self) -> ImageTask:
        """See `KnownSpace`."""
        return self.images

    def accuracy(self, architecture: Architecture) -> float:
        """See `KnownSpace`."""
        return CurveTruth.embedded(self.name).accuracy(architecture)

    @property
    def ranking(self) -> Ranking:
        """See `KnownSpace`."""
        return CurveTruth.embedded(self.name).ranking


def table_of(session: SearchSession) -> KnownSpace | None:
    """The table that knows the session's space on its data; None: there is none, or real training is asked for."""
    options = session.options
    if options.query.train:
        return None
    if options.space.name == NASBENCH201 and options.data.name in DATA:
        return KnownSchedules(options.data.name)
    if options.space.name in EMBEDDED:
        dataset = session.dataset
        if dataset.fingerprint == CurveTable.embedded(options.space.name).about["fingerprint"]:
            return KnownCurves(options.space.name, options.seed, image_task(options.space.name, dataset.task))
    return None
