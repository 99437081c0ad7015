"""A run directory as it is read: one view of both formats, whether the run is finished or not.

Format 2 keeps the options in `config.yaml` and one entry per process in the manifest's `sessions`; format 1, which
oche 0.1 wrote, has `config.json` and a flat manifest. Reading needs no torch, so that `oche list` is quick.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from oche.architecture import Architecture
from oche.config.file import FORMAT as FORMAT
from oche.config.file import read_config
from oche.config.options import Baseline, Duration
from oche.errors import InputError
from oche.recipe import AXES, Recipe
from oche.score import ACCURACY, Score, score_in

if TYPE_CHECKING:
    from oche.spaces.space import Space

CONFIGS = ("config.yaml", "config.json")
"""A directory is a run if it has one of these; the first belongs to format 2, the second to format 1."""

LOCK = ".lock"
"""Locked while a process works on the run; the file itself may stay behind."""

TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%z"
"""Of the times in a manifest."""

Status = Literal["running", "complete", "interrupted"]
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Progress:
    """The last finished epoch of a run.

    Attributes:
        phase: `search`, `train`, `random 1`, ...
        epoch: counted from 1.
        epochs: how many the phase has; None if the run does not say.
    """

    phase: str
    epoch: int
    epochs: int | None

    def __str__(self) -> str:
        return f"{self.phase} epoch {self.epoch}" + (f" of {self.epochs}" if self.epochs is not None else "")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run directory says.

    Attributes:
        path: of the directory.
        format: of the directory, 1 or 2.
        command: run, search or train.
        options: nested plain values, as they were resolved (format 1: as they were given). What is not set is left
            out or None.
        data: the data set: `name`, `fingerprint` and `notes`.
        sessions: of every process that worked on the run, what it ran on; the first started the run.
        parts: the objects that the options came to, nested: space, protocol, augmentation, method.
        records: the epochs of each phase, in the order in which the phases began.
        result: verdict and scores, as far as they are there.
        started: when the first session began.
        running: whether a process works on the run at this moment.
    """

    path: Path
    format: int
    command: str
    options: Mapping[str, Any]
    data: Mapping[str, Any]
    sessions: tuple[Record, ...]
    parts: Mapping[str, Any]
    records: Mapping[str, tuple[Record, ...]]
    result: Mapping[str, Any]
    started: datetime
    running: bool

    @classmethod
    def read(cls, path: Path | str) -> RunRecord:
        """Read a run directory; it may be unfinished, read-only, or being written.

        Raises:
            InputError: it is no run directory, a newer oche wrote it, or a file in it is broken.
        """
        path = Path(path)
        # Before the files: a run that ends in the meantime then counts as running, not as interrupted.
        running = _is_locked(path / LOCK)
        config = _read_config(path)
        manifest = read_json(path, "manifest.json")
        parts = _read_if_there(path, "resolved.json")
        method = _read_if_there(path, "method.json")
        records = read_records(path / "metrics.jsonl")
        result = _read_if_there(path, "result.json")
        try:
            # A session of format 2 has the fields that the manifest of format 1 has itself.
            sessions = manifest["sessions"] if config["format"] > 1 else [manifest]
            return cls(
                path=path,
                format=config["format"],
                command=config["command"],
                options=config["options"],
                data=manifest["data"],
                sessions=tuple({k: v for k, v in s.items() if k not in ("data", "seed")} for s in sessions),
                parts=parts | ({"method": method} if method else {}),
                records=records,
                result=result,
                started=datetime.strptime(sessions[0]["started"], TIME_FORMAT),
                running=running,
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(
                f"the configuration or the manifest of {str(path)!r} is broken ({type(error).__name__}: {error}); "
                "bring them back from a copy"
            ) from None

    @property
    def status(self) -> Status:
        """Whether a process works on it, and if not, whether it came to its end."""
        if self.running:
            return "running"
        if self.format > 1:
            return "complete" if self.result.get("complete") else "interrupted"
        # Format 1 wrote each piece of the result when it was finished, and nothing at the end.
        wanted = Baseline.parse(self.options["baseline"]).count if self.options.get("baseline") else 0
        finished = "search" in self.result if self.command == "search" else "network" in self.result
        return "complete" if finished and len(self.result.get("random", ())) == wanted else "interrupted"

    @property
    def progress(self) -> Progress | None:
        """The last finished epoch; None before the first one."""
        if not self.records:
            return None
        phase, records = list(self.records.items())[-1]
        return Progress(phase, records[-1]["epoch"], self.epochs(phase))

    @cached_property
    def architecture(self) -> Architecture | None:
        """The architecture; None if none has been selected yet.

        Raises:
            InputError: its file is broken.
        """
        file = self.path / "architecture.json"
        return Architecture.load(file) if file.exists() else None

    @cached_property
    def space(self) -> Space | None:
        """The space; None if it has not been written yet (format 1 wrote it together with the architecture).

        Raises:
            InputError: its file is broken, or missing although there is an architecture.
        """
        return read_space(self.path) if self.architecture or (self.path / "space.json").exists() else None

    @cached_property
    def method(self) -> str | None:
        """The method with the parts that replace its own, as one text (`oche.recipe`); None: the run has none.

        Raises:
            InputError: the options of the run have something else there.
        """
        if "method" not in self.options:
            return None
        parts = {axis: str(self.options[axis]) for axis in AXES if self.options.get(axis) is not None}
        return str(Recipe.of(self.options["method"], parts))

    @property
    def search_phase(self) -> str:
        """The phase of the search that counts: of several the chosen one, before the choice the last one begun."""
        if "try" in self.result.get("search", {}):
            return f"search {self.result['search']['try']}"
        begun = [phase for phase in self.records if phase.partition(" ")[0] == "search"]
        return begun[-1] if begun else "search"

    @property
    def tested(self) -> tuple[Score, float] | None:
        """What the found network is judged by, and how it did on the test part; None if it has not been tested."""
        scores = self.result["network"]["test"] if "network" in self.result else {}
        score = score_in(scores)
        return None if score is None else (score, scores[score.name])

    @property
    def test_scores(self) -> dict[str, float | None]:
        """The same as reports for machines name it: `test_accuracy`, whose value is None before the test."""
        if self.tested is None:
            return {f"test_{ACCURACY.name}": None}
        score, value = self.tested
        return {f"test_{score.name}": value}

    def epochs(self, phase: str) -> int | None:
        """The planned epochs of a phase; None if the run does not say."""
        if phase.startswith("try "):
            return self.options.get("tries_epochs")
        searched = phase.partition(" ")[0] == "search"
        planned = self.options.get("search", {}) if searched else self.parts.get("protocol", {})
        return planned.get("epochs")  # type: ignore[no-any-return]

    def seconds(self, phase: str) -> float:
        """How long a phase took, or has taken up to its last finished epoch."""
        finished = self.scores(phase)
        return float((finished or self.records[phase][-1])["seconds"])

    def steps(self, phase: str) -> int | None:
        """How many steps a phase has made, at its last finished epoch; None if the run does not say."""
        return self.records[phase][-1].get("steps")

    def scores(self, phase: str) -> Mapping[str, Any] | None:
        """What the result says of a phase; None as long as the phase is not finished."""
        if phase.startswith("random "):
            number = int(phase.removeprefix("random "))
            random = self.result.get("random", ())
            return random[number - 1] if number <= len(random) else None
        kind, _, which = phase.partition(" ")
        if which:  # of several tries
            done = self.result.get("tries", ())
            piece = "search" if kind == "search" else "training"
            return done[int(which) - 1].get(piece) if int(which) <= len(done) else None
        return self.result.get("network" if phase == "train" else phase)


def is_run(path: Path) -> bool:
    """Whether a directory looks like a run."""
    return any((path / name).is_file() for name in CONFIGS)


def read_space(run: Path) -> Space:
    """The space of a run.

    Raises:
        InputError: the run has no readable space.
    """
    from oche.spaces.registry import space_from_json  # imports torch, which takes seconds, and only drawings need it

    try:
        return space_from_json((run / "space.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"{str(run)!r} is no run directory with a readable space.json: {error}") from None


def read_json(run: Path, name: str) -> dict[str, Any]:
    """Read a JSON file of a run directory.

    Raises:
        InputError: there is no such run or file, or it is no JSON.
    """
    try:
        value: Any = json.loads((run / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise _no_run(run, name) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {str(run / name)!r}: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"cannot read {str(run / name)!r}: a table is needed, but it holds {type(value).__name__}")
    return value


def _no_run(run: Path, name: str) -> InputError:
    return InputError(
        f"{str(run)!r} is no run directory with a {name}; a run makes one, for example: oche run --run {run}"
    )


def _read_if_there(run: Path, name: str) -> dict[str, Any]:
    return read_json(run, name) if (run / name).exists() else {}


def _read_config(path: Path) -> dict[str, Any]:
    """`format`, `command` and `options` of either format."""
    new, old = (path / name for name in CONFIGS)
    if old.is_file() and not new.is_file():
        config = read_json(path, old.name)
        if config.get("format") != 1 or not isinstance(config.get("options"), dict):
            raise InputError(f"{str(old)!r} is no configuration of a run: it has no options of format 1")
        return config | {"options": _options_of_format_1(config["options"])}
    if not new.is_file():
        raise _no_run(path, new.name)
    file = read_config(new)
    if file.command is None:
        raise InputError(f"{new} does not say which command made the run; add a line such as: command: run")
    return {"format": FORMAT, "command": file.command, "options": _nested(file.values)}


def _options_of_format_1(options: dict[str, Any]) -> dict[str, Any]:
    """The two options that format 1 keeps as objects, as the words that format 2 keeps."""
    words = dict(options)
    if words.get("baseline"):
        words["baseline"] = str(Baseline(**words["baseline"]))
    if words.get("time_limit"):
        words["time_limit"] = str(Duration(**words["time_limit"]))
    return words


def _nested(values: Mapping[str, tuple[str, ...] | None]) -> dict[str, Any]:
    """The words of a configuration file, by dotted name, as nested plain values; what is not given is left out."""
    options: dict[str, Any] = {}
    for name, words in values.items():
        group, _, last = name.rpartition(".")
        if words is not None:
            place = options.setdefault(group, {}) if group else options
            place[last] = _plain(words[0]) if len(words) == 1 else [_plain(word) for word in words]
    return options


def _plain(word: str) -> bool | int | float | str:
    """A word as the value that JSON would have, so that runs of both formats can be compared."""
    if word in ("true", "false"):
        return word == "true"
    if re.fullmatch(r"[-+]?\d+", word):
        return int(word)
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", word, re.IGNORECASE):
        return float(word)
    return word


def read_records(file: Path) -> dict[str, tuple[Record, ...]]:
    """The records of each phase.

    A kill, or reading while a line is being written, leaves a last line without its end: it is left out.

    Raises:
        InputError: another line is broken.
    """
    if not file.exists():
        return {}
    *lines, _ = file.read_bytes().split(b"\n")  # what follows the last line's end: nothing, or a cut line
    records: dict[str, list[Record]] = {}
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            records.setdefault(record["phase"], []).append(record)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"line {number} of {str(file)!r} is no record of an epoch ({type(error).__name__}: {error}); "
                "bring the file back from a copy, or remove the line"
            ) from None
    return {phase: tuple(of_phase) for phase, of_phase in records.items()}


def _is_locked(file: Path) -> bool:
    """Whether a process holds the lock, found out without leaving anything behind."""
    if not file.exists():  # acquiring would make it
        return False
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # read-only: whoever works here can write, and we cannot ask
        return False
    lock.release()
    return False
