"""Tasks in parallel processes of this machine.

`concurrent.futures` breaks its whole pool when one process dies; here that is the failure of one task, and another
process takes its place. Each process is fresh (`spawn`), so that CUDA works in it, and ends with its parent.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event

from oche.campaign.task import Cell, Failed, Outcome, Task, Workplace

GLANCE = 0.2
"""Seconds after which a waiting parent looks up, so that Ctrl-C is noticed soon."""

PATIENCE = 5.0
"""Seconds that an idle process gets to end by itself."""


class LocalProcesses:
    """Some processes, each with one task at a time.

    Args:
        workers: how many.
        threads: CPU threads of each.
        report: hears from the tasks: which one, the share that is done, a word on how it goes.
    """

    def __init__(self, workers: int, threads: int, report: Callable[[Cell, float, str], None]) -> None:
        self._threads, self._report = threads, report
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        self._places = workers

    @property
    def free(self) -> int:
        """How many more tasks can be started."""
        return self._places - len(self._busy)

    @property
    def running(self) -> int:
        """How many tasks are being done."""
        return len(self._busy)

    def start(self, task: Task) -> None:
        """Give a task to a process."""
        worker = self._idle.pop() if self._idle else _Worker(self._context, self._threads, self._stop)
        worker.give(task)
        self._busy.append(worker)

    def outcomes(self) -> list[Outcome]:
        """What has become of tasks since the last call; waits a moment where nothing has."""
        ready = wait([worker.connection for worker in self._busy], timeout=GLANCE)
        found: list[Outcome] = []
        for worker in [w for w in self._busy if w.connection in ready]:
            message = worker.hear()
            if isinstance(message, tuple):
                self._report(worker.cell, *message)
                continue
            found.append(message)
            self._busy.remove(worker)
            if worker.alive:
                self._idle.append(worker)
        return found

    def stop(self) -> None:
        """Ask all tasks to save and stop."""
        self._stop.set()

    def close(self) -> None:
        """End all processes; what a busy one has not saved is lost."""
        for worker in (*self._idle, *self._busy):
            worker.end(at_once=worker in self._busy)
        self._idle, self._busy = [], []


class _Worker:
    """One process and the connection to it."""

    def __init__(self, context: multiprocessing.context.SpawnContext, threads: int, stop: Event) -> None:
        self.connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_serve, args=(theirs, threads, stop), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the connection
        self.cell: Cell = {}
        self.alive = True

    def give(self, task: Task) -> None:
        self.cell = task.cell
        with suppress(BrokenPipeError):  # it has died while it was idle; `hear` says so
            self.connection.send(task)

    def hear(self) -> Outcome | tuple[float, str]:
        try:
            message: Outcome | tuple[float, str] = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.alive = False
            self._process.join()
            return Failed(self.cell, f"its process died ({_way_of_dying(self._process.exitcode)})")
        return message

    def end(self, *, at_once: bool) -> None:
        self.connection.close()  # an idle process ends when it reads the end of its connection
        self._process.join(0 if at_once else PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


class _StopEvent:
    """The wish to stop, as checkpoints ask for it."""

    def __init__(self, event: Event) -> None:
        self._event = event

    @property
    def received(self) -> int | None:
        return signal.SIGINT if self._event.is_set() else None


def _serve(connection: Connection, threads: int, stop: Event) -> None:
    """The life of a process: tasks, until the connection ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # both reach all processes of a terminal; the parent decides
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    from oche.campaign.work import work

    torch.set_num_threads(threads)
    workplace = Workplace(stop=_StopEvent(stop), report=lambda share, text: connection.send((share, text)))
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(work(task, workplace))


def _end_with_parent() -> None:
    """A parent that was killed can tell nobody; a long task would go on without anyone to take its result."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _way_of_dying(code: int | None) -> str:
    if code is not None and code < 0:
        hint = ", perhaps for lack of memory" if -code == signal.SIGKILL else ""
        return f"{signal.Signals(-code).name}{hint}"
    return f"exit status {code}"
