"""Numbers that change over a search or a training, as functions of the finished fraction (0 to 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


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
class Scaled:
    """Another schedule times a factor."""

    schedule: Schedule
    factor: float

    def at(self, fraction: float) -> float:
        """`factor` times the other schedule's value."""
        return self.factor * self.schedule.at(fraction)
