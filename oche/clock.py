"""Time limits."""

from __future__ import annotations

import time

from oche.errors import InputError


class Deadline:
    """A moment after which a long job ends in good order.

    Args:
        seconds: from now; None: never.

    Raises:
        InputError: the time is not positive.
    """

    def __init__(self, seconds: float | None = None) -> None:
        if seconds is not None and (not isinstance(seconds, int | float) or not seconds > 0):
            raise InputError(f"a time limit is a number of seconds above 0, but got {seconds!r}")
        self.start = time.monotonic()
        self.seconds = seconds

    def carry(self, seconds: float) -> None:
        """Count the seconds that an earlier session has used."""
        self.start -= seconds

    @property
    def spent(self) -> float:
        """The share of the allowance that is used up; 0 without a limit."""
        return 0.0 if self.seconds is None else self.elapsed / self.seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    @property
    def passed(self) -> bool:
        """Whether the time is up."""
        return self.spent >= 1
