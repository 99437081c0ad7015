"""Numbers that change over a search or a training, as functions of the finished fraction (0 to 1); parts of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from oche.errors import InputError

ROUNDING = 1e-9
"""Epochs by which a product of a share may be off: 0.28 x 25 is 7.000000000000001."""


class Schedule(Protocol):
    """A number at each fraction of the way."""

    def at(self, fraction: float) -> float:
        """The value when `fraction` of the epochs is done."""
        ...


@dataclass(frozen=True)
class Constant:
    """The same number throughout."""

    value: float

    def at(self, fraction: float) -> float:
        """The value."""
        return self.value


@dataclass(frozen=True)
class Linear:
    """From `start` to `end` in proportion to the fraction."""

    start: float
    end: float

    def at(self, fraction: float) -> float:
        """The interpolated value."""
        return self.start + (self.end - self.start) * fraction


@dataclass(frozen=True)
class Cosine:
    """From `start` to `end` along half a cosine (Loshchilov and Hutter, SGDR, Eq. 5, one period)."""

    start: float
    end: float = 0.0

    def at(self, fraction: float) -> float:
        """`end + (start - end) (1 + cos(pi fraction)) / 2`."""
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * fraction)) / 2


@dataclass(frozen=True)
class ExponentialCosine:
    """From `start` to `end` along the exponential of half a cosine, which falls sooner (AllegroNAS Eq. 8).

    `end + (start - end) (exp((1 + cos(pi fraction)) / 2) - 1) / (e - 1)`. Eq. 8 prints a further factor `start - end`
    in the exponent, with which the rate would begin far below `start`: at 0.00037 for 0.025.

    Attributes:
        start: the value at 0.
        end: the value at 1.
        literal: with the printed factor.
    """

    start: float
    end: float = 0.0
    literal: bool = False

    CITES: ClassVar[tuple[str, ...]] = ("allegro",)

    def at(self, fraction: float) -> float:
        """The value at a fraction of the way."""
        exponent = (1 + math.cos(math.pi * fraction)) / 2 * ((self.start - self.end) if self.literal else 1.0)
        return self.end + (self.start - self.end) * math.expm1(exponent) / math.expm1(1)


@dataclass(frozen=True)
class Scaled:
    """Another schedule times a factor."""

    schedule: Schedule
    factor: float

    def at(self, fraction: float) -> float:
        """`factor` times the other schedule's value."""
        return self.factor * self.schedule.at(fraction)


def starting_at(schedule: Schedule, start: float) -> Schedule:
    """The schedule from another first value: to the same end where it has one, in proportion elsewhere."""
    if isinstance(schedule, Cosine | ExponentialCosine):
        return replace(schedule, start=start)
    return Scaled(schedule, start / schedule.at(0))


class Length(Protocol):
    """A part of a search from its beginning."""

    def of(self, epochs: int) -> int:
        """How many of so many epochs it is."""
        ...


@dataclass(frozen=True)
class Epochs:
    """So many epochs, however long the search is.

    Raises:
        InputError: less than none.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError(f"a part of a search needs epochs >= 0, but got {self.count}")

    def of(self, epochs: int) -> int:
        """The number, whatever `epochs` is."""
        return self.count


@dataclass(frozen=True)
class Share:
    """A share of the epochs, rounded up: the proportions of a paper in a search of another length.

    Raises:
        InputError: the share is not between 0 and 1.
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"0 <= share of the epochs <= 1 must hold, but got {self.share}")

    def of(self, epochs: int) -> int:
        """The share of `epochs`."""
        return math.ceil(self.share * epochs - ROUNDING)
