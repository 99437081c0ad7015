"""What a search measures architectures with: tables, or trainings. One interface, `Backend`.

- `CurveBackend`: a table of curves (`oche.bench.curves`). Its levels are true prefixes of one training.
- `ScheduleBackend`: NAS-Bench-201. Its 12 and 200 epochs are separate schedules, each of which anneals its own rate:
  nothing can be resumed, so that a promotion costs 200 epochs on top of the 12.
- `oche.nosh.training.TrainingBackend`: real training, paused and resumed from checkpoints.

None of them knows a test accuracy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from oche.architecture import Architecture
from oche.bench.columns import EPOCHS, SECONDS_DATA, SECONDS_EPOCHS
from oche.bench.curves import CurveTable
from oche.bench.encoding import SPACE
from oche.bench.table import Table
from oche.campaign.task import Workplace
from oche.errors import InputError
from oche.nosh.schedule import Levels
from oche.spaces.registry import space as named_space
from oche.spaces.space import Space
from oche.task import ImageTask


@dataclass(frozen=True)
class Measured:
    """What a piece of training has shown.

    Attributes:
        accuracy: on the validation data, in percent.
        seconds: of this piece alone.
    """

    accuracy: float
    seconds: float


class Backend(ABC):
    """Trains architectures, or knows what came of it."""

    @property
    @abstractmethod
    def space(self) -> Space:
        """Whose architectures it can measure."""

    @property
    @abstractmethod
    def resumed(self) -> bool:
        """Whether a training can be taken up where it was paused."""

    @property
    @abstractmethod
    def epochs(self) -> tuple[int, ...]:
        """The numbers of epochs that it can measure after, the lowest first."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What it is, and what its epochs and seconds mean, for people."""

    @abstractmethod
    def measure(self, architecture: Architecture, number: int, before: int, epochs: int, place: Workplace) -> Measured:
        """Train on.

        Args:
            architecture: which one.
            number: of the candidate in its search.
            before: epochs that it was trained for so far.
            epochs: until which it is trained now.
            place: where this runs.

        Raises:
            InputError: the training fails, such as with a loss that is no number.
            Interrupted: it was told to stop; what was trained is kept.
        """

    def check(self, levels: Levels) -> None:
        """Refuse levels that cannot be measured here, before anything is measured.

        Raises:
            InputError: a level has a number of epochs that this backend does not have, or promotions cost something
                else here.
        """
        lacking = [e for e in levels.epochs if e not in self.epochs]
        if lacking:
            known = f"{self.epochs[0]} to {self.epochs[-1]}" if len(self.epochs) > 2 else _and(self.epochs)
            raise InputError(
                f"levels at {', '.join(map(str, levels.epochs))} epochs need what is known after {lacking[0]}, but "
                f"{self.label} has {known} only"
            )
        if levels.resumed != self.resumed and len(levels.epochs) > 1:
            can = "can" if self.resumed else "cannot"
            raise InputError(
                f"{self.label}: trainings {can} be resumed there, but the levels say resumed={levels.resumed}"
            )


@dataclass(frozen=True, eq=False)
class CurveBackend(Backend):
    """A table of curves: what one of its trainings has shown after each epoch.

    Attributes:
        table: the table.
        seed: whose trainings count; a search sees one of each architecture, like one that trains.
    """

    table: CurveTable
    seed: int

    @property
    def space(self) -> Space:
        """See `Backend`."""
        return self.table.space

    @property
    def resumed(self) -> bool:
        """True: the curves are of one training each."""
        return True

    @property
    def epochs(self) -> tuple[int, ...]:
        """See `Backend`."""
        return tuple(range(1, self.table.epochs + 1))

    @property
    def label(self) -> str:
        """See `Backend`."""
        return (
            f"table {self.table.about['name']}: true curves of {self.table.epochs} epochs, training {self.seed} of "
            f"{self.table.seeds}; a promotion costs the further epochs"
        )

    def measure(self, architecture: Architecture, number: int, before: int, epochs: int, place: Workplace) -> Measured:
        """See `Backend`."""
        paid = self.table.seconds(architecture, epoch=before, seed=self.seed) if before else 0.0
        return Measured(
            self.table.accuracy(architecture, epoch=epochs, seed=self.seed),
            self.table.seconds(architecture, epoch=epochs, seed=self.seed) - paid,
        )


@dataclass(frozen=True, eq=False)
class ScheduleBackend(Backend):
    """NAS-Bench-201: validation accuracy after 12 and after 200 epochs, mean over the table's seeds.

    Seconds are stated for CIFAR-10 and 12 epochs. 200 epochs count as 200/12 of them, and other data as nothing.

    Attributes:
        table: validation accuracies.
        data: which of the table's data sets.
    """

    table: Table
    data: str

    def __post_init__(self) -> None:
        self.table.accuracies(self.data)  # refuses data that the table does not cover

    @property
    def space(self) -> Space:
        """See `Backend`."""
        return named_space(SPACE)

    @property
    def resumed(self) -> bool:
        """False: the schedules are separate trainings."""
        return False

    @property
    def epochs(self) -> tuple[int, ...]:
        """See `Backend`."""
        return EPOCHS

    @property
    def label(self) -> str:
        """See `Backend`."""
        counted = "seconds by the table" if self.data == SECONDS_DATA else "seconds unknown and counted as 0"
        return (
            f"table nasbench201, {self.data}: its schedules of {_and(EPOCHS)} epochs are separate trainings, so a "
            f"promotion from one to the other costs {' + '.join(map(str, EPOCHS))} epochs; {counted}"
        )

    def measure(self, architecture: Architecture, number: int, before: int, epochs: int, place: Workplace) -> Measured:
        """See `Backend`."""
        seconds = 0.0
        if self.data == SECONDS_DATA:
            seconds = self.table.seconds(architecture) * epochs / SECONDS_EPOCHS
        return Measured(self.table.accuracy(architecture, self.data, epochs=epochs), seconds)


TASKS = {
    "cifar10": ImageTask(channels=3, height=32, width=32, classes=10),
    "cifar100": ImageTask(channels=3, height=32, width=32, classes=100),
    "imagenet16-120": ImageTask(channels=3, height=16, width=16, classes=120),
}
"""The shapes behind NAS-Bench-201's data, which nobody reads."""


def _and(numbers: tuple[int, ...]) -> str:
    return " and ".join(map(str, numbers))
