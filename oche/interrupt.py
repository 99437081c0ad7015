"""Ctrl-C and SIGTERM during a long job: the first lets it save and stop in good order, the second stops it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol

STOPPING = "oche: stopping after this step; once more stops at once"


class Stop(Protocol):
    """Whoever knows whether a job should stop."""

    @property
    def received(self) -> int | None:
        """The number of the signal that asked for it; None: go on."""
        ...


class Interrupted(Exception):
    """A job has stopped because it was told to; what it had computed is saved.

    Attributes:
        signal: the number of the signal that asked for it.
        hint: what is saved, and how to go on.
    """

    def __init__(self, signal: int, hint: str) -> None:
        super().__init__(hint)
        self.signal, self.hint = signal, hint


class Interrupts:
    """While it is entered, the first SIGINT or SIGTERM is noted here; the second is a `KeyboardInterrupt`.

    Python lets the main thread alone receive signals; elsewhere nothing changes.

    Attributes:
        received: the number of the first signal; None before it.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            # What is ignored stays ignored: the shell of a background job has its reasons.
            heard = [n for n in self.SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
            self._before = {number: signal.signal(number, self._receive) for number in heard}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked data worker, before it ignores signals: its parent decides
            return
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        # Not print(): a handler may run in the middle of another write to the same buffer.
        with suppress(OSError):  # whoever read it may be gone
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"\n{STOPPING}\n".encode())
