"""Tasks for the tests, in a module that other processes can import."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oche.campaign.task import Cell, Workplace
from oche.errors import InputError
from oche.interrupt import Interrupted

LONG = 300.0
"""Seconds that no test waits for."""

EPOCHS = 6
"""Of `Searches`."""


@dataclass(frozen=True)
class Sample:
    """A task whose cell is its kind and a number."""

    number: int = 0

    @property
    def cell(self) -> Cell:
        return {"kind": type(self).__name__, "number": self.number}


class Double(Sample):
    def run(self, workplace: Workplace) -> dict[str, Any]:
        return {"double": 2 * self.number, "pid": os.getpid()}


class Raises(Sample):
    def run(self, workplace: Workplace) -> dict[str, Any]:
        raise ZeroDivisionError("first line\nsecond line")


class Refuses(Sample):
    def run(self, workplace: Workplace) -> dict[str, Any]:
        raise InputError("give --cure")


class Killed(Sample):
    """As by the kernel, for lack of memory."""

    def run(self, workplace: Workplace) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


class Exits(Sample):
    def run(self, workplace: Workplace) -> dict[str, Any]:
        os._exit(7)


class Large(Sample):
    """A result that no pipe holds at once."""

    def run(self, workplace: Workplace) -> dict[str, Any]:
        return {"text": "x" * 5_000_000}


class Torn(Sample):
    """Killed while it sends a result that no pipe holds at once."""

    def run(self, workplace: Workplace) -> dict[str, Any]:
        workplace.report(0.0, str(os.getpid()))
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return {"text": "x" * 5_000_000}


class Indescribable(Sample):
    def run(self, workplace: Workplace) -> dict[str, Any]:
        return {"function": lambda: None}


class Threads(Sample):
    def run(self, workplace: Workplace) -> dict[str, Any]:
        import torch

        return {"threads": torch.get_num_threads()}


class Reports(Sample):
    def run(self, workplace: Workplace) -> dict[str, Any]:
        for step in range(4):
            workplace.report((step + 1) / 4, f"step {step}")
        return {}


class HasChild(Sample):
    """As a data set that other processes read."""

    def run(self, workplace: Workplace) -> dict[str, Any]:
        child = multiprocessing.get_context("fork").Process(target=sys.exit, args=(3,))
        child.start()
        child.join()
        return {"status": child.exitcode}


@dataclass(frozen=True)
class Waits(Sample):
    """Until it is told to stop; it says when it has begun."""

    def run(self, workplace: Workplace) -> dict[str, Any]:
        workplace.report(0.0, str(os.getpid()))
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            if workplace.stop.received is not None:
                raise Interrupted(workplace.stop.received, "saved")
            time.sleep(0.01)
        return {}


@dataclass(frozen=True)
class Sleeps(Sample):
    """Deaf to every wish."""

    seconds: float = LONG

    def run(self, workplace: Workplace) -> dict[str, Any]:
        workplace.report(0.0, str(os.getpid()))
        time.sleep(self.seconds)
        return {"pid": os.getpid()}


@dataclass(frozen=True)
class Talks(Sample):
    """Reports without end, also when nobody listens."""

    def run(self, workplace: Workplace) -> dict[str, Any]:
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            workplace.report(0.5, str(os.getpid()))
        return {}


@dataclass(frozen=True)
class Searches(Sample):
    """A real search, with checkpoints where there is a directory for them."""

    directory: Path | None = None

    def run(self, workplace: Workplace) -> dict[str, Any]:
        import oche
        from oche.listeners.base import Listener
        from oche.nn.network import Stack
        from oche.spaces.staged_space import StagedSpace

        class Tells(Listener):
            def epoch(self, record: Any) -> None:
                workplace.report(0.0, f"epoch {record['epoch']}")
                if self.pause:
                    time.sleep(0.05)

            pause = self.directory is not None

        space = StagedSpace(
            name="two",
            nodes=2,
            candidates=("none", "skip_connect", "nor_conv_1x1"),
            supernet_stack=Stack(cells=1, channels=2),
        )
        found = oche.search(
            space,
            data=oche.load("digits", oche.DataOptions(limit=100)),
            epochs=EPOCHS,
            batch=20,
            seed=self.number,
            checkpoints=workplace.checkpoints(self.directory, "search"),
            listeners=[Tells()],
        )
        weights = {name: value.tolist() for name, value in found.supernet.state_dict().items()}
        return {"weights": weights, "architecture": dict(found.architecture.items)}
