"""Tasks in parallel processes of this machine.

`concurrent.futures` breaks its whole pool when one process dies; here that is the failure of one task, and another
process takes its place. Each process is fresh (`spawn`), so that CUDA works in it, and ends with its parent. It is no
daemon in the sense of `multiprocessing`, because those may not start processes that load data.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from oche.campaign.task import Cell, Failed, Outcome, Task, Workplace

GLANCE = 0.2
"""Seconds after which a waiting parent looks up, so that Ctrl-C is noticed soon."""

PATIENCE = 5.0
"""Seconds that a process gets to end by itself."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""They reach all processes of a terminal or a job; the parent decides what they mean."""


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
        worker = self._rested() or _Worker(self._context, self._threads)
        self._busy.append(worker)
        worker.give(task)

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

    def _rested(self) -> _Worker | None:
        """An idle process; one that has died meanwhile is no loss."""
        while self._idle:
            worker = self._idle.pop()
            if worker.running:
                return worker
            worker.end()
        return None

    def stop(self) -> None:
        """Ask all tasks to save and stop."""
        for worker in self._busy:
            worker.ask_to_stop()

    def close(self) -> None:
        """End all processes; what a busy one has not saved is lost."""
        for worker in self._busy:  # all of them first: whoever is impatient may interrupt the waiting below
            worker.kill()
        for worker in self._idle:
            worker.connection.close()  # it ends when it reads the end of its connection
        for worker in (*self._busy, *self._idle):
            worker.end()
        self._idle, self._busy = [], []


class _Worker:
    """One process and the connection to it."""

    def __init__(self, context: multiprocessing.context.SpawnContext, threads: int) -> None:
        self.connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_serve, args=(theirs, threads))
        with _signals_held_back():
            self._process.start()
        theirs.close()  # so that the end of the process is the end of the connection
        self.cell: Cell = {}
        self.alive = True
        self._asked = False

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def give(self, task: Task) -> None:
        self.cell = task.cell
        self._send(task)

    def ask_to_stop(self) -> None:
        if not self._asked:
            self._asked = True
            self._send(None)

    def _send(self, message: Task | None) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has just died; `hear` says so
            self.connection.send(message)

    def hear(self) -> Outcome | tuple[float, str]:
        try:
            message: Outcome | tuple[float, str] = self.connection.recv()
        except (EOFError, OSError):  # before a message, or in the middle of one
            self.alive = False
            return Failed(self.cell, f"its process died ({_way_of_dying(self.end())})")
        return message

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int | None:
        """Wait for its end, not too long, and return the exit status."""
        self.connection.close()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        status = self._process.exitcode
        self._process.close()
        return status


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """What is started inside does not hear of signals before it says so: it would die of Ctrl-C while it imports."""
    if os.name != "posix":
        yield
        return
    resource_tracker.ensure_running()  # a process of Python's own; its start would let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Asked:
    """The wish to stop, as checkpoints ask for it.

    It is a message and not an `Event`, whose lock a process that is killed may hold for ever.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._number: int | None = None

    @property
    def received(self) -> int | None:
        if self._number is None and self._connection.poll():
            try:
                self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # the parent is gone
            self._number = signal.SIGINT
        return self._number


def _serve(connection: Connection, threads: int) -> None:
    """The life of a process: tasks, until the connection ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if os.name == "posix":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    from oche.campaign.work import work

    torch.set_num_threads(threads)

    def tell(message: Outcome | tuple[float, str]) -> None:
        try:
            connection.send(message)
        except OSError:  # the parent is gone, or wants nothing any more
            os._exit(1)

    workplace = Workplace(stop=_Asked(connection), report=lambda share, text: tell((share, text)))
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        if task is None:  # it came after the end of the last task
            continue
        outcome = work(task, workplace)
        try:
            tell(outcome)
        except Exception as error:  # it cannot be pickled; nothing of it has been sent
            tell(Failed(task.cell, f"its result cannot be sent: {type(error).__name__}: {error}"))


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
