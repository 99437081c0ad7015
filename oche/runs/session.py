"""What every command works with: its options and what they come to, the data, the console, the run directory."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Generic, TypeVar

import torch
from rich.console import Console

from oche import api
from oche.checkpoint import Checkpoints, Cost
from oche.config.file import as_yaml, command_line
from oche.config.options import NamedData, OutputOptions, RunCommand, SearchCommand, TrainCommand
from oche.config.resolve import resolve, sizes_of
from oche.data.dataset import Dataset
from oche.data.options import KNOWN
from oche.data.read import load
from oche.errors import InputError
from oche.files import WriteError
from oche.interrupt import Interrupted, Interrupts
from oche.listeners.base import Listener
from oche.listeners.console import PlainLines, progress
from oche.listeners.tensorboard import TensorBoard
from oche.plain import described
from oche.presets import Preset
from oche.runs.directory import RunDirectory, as_json, refuse_occupied
from oche.runs.provenance import this_process
from oche.text.corpus import Corpus

Options = TypeVar("Options", SearchCommand, RunCommand, TrainCommand)

SHORTEST = 0.001
"""Seconds that remain for a piece when the time is already up: it makes one step, so that there is a network."""


class Session(Generic[Options]):
    """A command at work.

    Args:
        command: its name.
        options: what is asked for; what can be known without the data is filled in.
        output: what to print.

    Attributes:
        options: with everything filled in that is known so far.
        directory: the run directory, once `create` or `reopen` was called.

    Raises:
        InputError: the options do not fit together, or the data cannot be read.
    """

    directory: RunDirectory

    def __init__(self, command: str, options: Options, output: OutputOptions) -> None:
        self.command, self.output = command, output
        self._start = time.monotonic()
        self._console, self._errors = Console(), Console(stderr=True)
        self._interrupts, self._cost = Interrupts(), Cost()
        if options.run is not None:
            refuse_occupied(options.run)  # before the data are read, which may take long
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self.device = api.resolve_device(options.device)
        self.options: Options = resolve(options, self.device)[0]

    @cached_property
    def dataset(self) -> Dataset | Corpus:
        """The data, read when they are first needed."""
        data = self.options.data
        dataset = load(data.name, data, self.options.seed)
        for note in dataset.notes:
            (self.warn if note.startswith("warning:") else self.say)(note)
        return dataset

    @property
    def sizes(self) -> Preset:
        """Of the preset."""
        return sizes_of(self.options, self.device)

    # -- the directory -----------------------------------------------------------------------------------------------

    def create(self, name: str, parts: Mapping[str, object], files: Mapping[str, str]) -> None:
        """Make the run directory, with what is about to be run.

        Args:
            name: for a directory that nobody named.
            parts: what the options came to.
            files: further contents by name.
        """
        dataset = self.dataset
        data = {"name": dataset.name, "fingerprint": dataset.fingerprint, "notes": list(dataset.notes)}
        options = replace(self.options, data=_spelled_out(self.options.data, dataset))
        texts = {
            "config.yaml": as_yaml(self.command, options),
            "resolved.json": as_json(described(_augmentation(dataset) | dict(parts))),
            **files,
        }
        self.directory = RunDirectory.create(self.options.run, name, this_process(self.device), data, texts)

    def reopen(self, path: Path) -> None:
        """Take up a run directory."""
        self.directory, changes = RunDirectory.reopen(path, this_process(self.device), lambda: self.dataset.fingerprint)
        for change in changes:
            self.warn(f"warning: {change}; the numbers may differ from those of an uninterrupted run")
        self._start -= self.directory.seconds
        self._cost = Cost(**self.directory.result.get("checkpoints", {}))

    @contextmanager
    def working(self, opening: Callable[[], None]) -> Iterator[None]:
        """Work on the directory: signals let it save, errors are logged and say how to go on.

        Args:
            opening: makes the directory or takes it up; a signal meanwhile is heard afterwards.
        """
        with self._interrupts:
            opening()
            resume = f"oche resume {quote(str(self.directory.path))}"
            try:
                self.directory.log(command_line(self.command, self.options))
                yield
            except Interrupted as stop:
                self.directory.log(stop.hint)
                raise Interrupted(stop.signal, f"{stop.hint}; go on with: {resume}") from None
            except KeyboardInterrupt:
                number = self._interrupts.received or signal.SIGINT
                raise Interrupted(number, f"stopped at once; go on from what was saved last with: {resume}") from None
            except WriteError as error:
                raise InputError(f"{error}: {resume}") from None
            except Exception as error:
                self.directory.log(f"{type(error).__name__}: {error}")
                raise
            finally:
                self._note_cost()
                self.directory.close()

    def checkpoints(self, name: str, budget: int = 0) -> Checkpoints:
        """The checkpoints of a piece of the run, with so many bytes for those of earlier epochs."""
        return Checkpoints(
            self.directory.path / "checkpoints",
            name,
            every=self.options.save_every.seconds,
            budget=budget,
            interrupts=self._interrupts,
            warn=self.warn,
            cost=self._cost,
        )

    def add_result(self, name: str, value: object) -> None:
        """Write a finished piece down."""
        self.directory.add_result(name, value)

    def _note_cost(self) -> None:
        """Write down what saving has cost, unless even that cannot be written."""
        with suppress(WriteError):
            self.directory.add_result("checkpoints", asdict(self._cost))

    @property
    def listeners(self) -> Sequence[Listener]:
        """The progress display, the run directory, its log and its TensorBoard events."""
        kept: list[Listener] = [
            self.directory,
            PlainLines(self.directory.log),
            TensorBoard(self.directory.path / "tensorboard"),
        ]
        return [*self.display, *kept]

    @property
    def display(self) -> Sequence[Listener]:
        """The progress display, unless nothing but results shall be printed."""
        return [] if self._silent else [progress(self._console)]

    # -- time and words ----------------------------------------------------------------------------------------------

    def share(self, part: float) -> float | None:
        """A part of the time that is left, in seconds; None without a time limit."""
        if self.options.time_limit is None:
            return None
        left = self.options.time_limit.seconds - (time.monotonic() - self._start)
        return max(part * left, SHORTEST)

    def say(self, text: str) -> None:
        """A line for the user, and for the log once there is one."""
        if not self._silent:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        self._log(text)

    def warn(self, text: str) -> None:
        """A line that is printed in any case, on standard error."""
        self._errors.print(text, highlight=False, markup=False, soft_wrap=True)
        self._log(text)

    def _log(self, text: str) -> None:
        if "directory" in vars(self):
            self.directory.log(text)

    @property
    def _silent(self) -> bool:
        return self.output.quiet or self.output.json


def _spelled_out(data: NamedData, dataset: Dataset | Corpus) -> NamedData:
    """The same data from any working directory, with the augmentation that suits them."""
    found = replace(
        data,
        name=data.name if data.name in KNOWN else str(Path(data.name).expanduser().resolve()),
        root=data.root and str(Path(data.root).expanduser().resolve()),
    )
    if isinstance(dataset, Corpus):
        return found
    return replace(found, flip=dataset.augment.flip, crop_padding=dataset.augment.crop_padding)


def _augmentation(dataset: Dataset | Corpus) -> dict[str, object]:
    """How training images are changed; a text is read as it is."""
    return {} if isinstance(dataset, Corpus) else {"augment": dataset.augment}
