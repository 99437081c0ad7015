"""The run directory as it is written: what a run leaves on disk, readable by people and by `oche show`.

```
config.yaml        every option as it was resolved; `oche run --config RUN/config.yaml` repeats the run
manifest.json      data fingerprint; per session: versions, platform, device, threads, command line, git state
resolved.json      what the options came to: space, training protocol, augmentation; method.json: the method's parts
space.json         the space, with the size of its supernet
metrics.jsonl      one record per epoch of the search and of every training
tensorboard/       the same numbers as TensorBoard events, one directory per job
architecture.json  the selected architecture; architecture.txt shows it drawn
architecture-2.json  ... of the second of several tries; so method-2.json, architecture-2.txt
network.pt         the trained network: how to build it, how to normalize its input, its weights
result.json        verdict, scores, what saving has cost
log.txt            what was said, with the time
checkpoints/       the state of the running job and of the search (`oche.checkpoint`)
```
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from tempfile import mkdtemp
from typing import Any

from filelock import FileLock, Timeout

from oche.errors import InputError
from oche.files import append_line, remove_temporary, slug, sync, write_whole, writing
from oche.listeners.base import Job, Listener
from oche.plain import finite
from oche.runs.provenance import changes
from oche.runs.record import FORMAT, LOCK, is_run, read_json, read_records

ORPHANS = 15.0
"""Seconds that data workers of a killed process may hold its lock: they look for their parent every 5 s."""


METRICS = "metrics.jsonl"

MOST_AT_ONCE = 100
"""Runs that may begin within one second without a name of their own."""

GLANCE = 1.0
"""Seconds to wait for a lock: `oche list` holds it for an instant to see whether it is free."""


class RunDirectory(Listener):
    """A directory that this process works on, alone; as a listener it appends every epoch's record.

    Attributes:
        path: of the directory.
        result: the finished pieces of the result.

    Raises:
        InputError: another process works on it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = _locked(path)
        remove_temporary(path)
        self.result: dict[str, Any] = read_json(path, "result.json") if (path / "result.json").exists() else {}

    @classmethod
    def create(
        cls, path: str | None, name: str, session: Mapping[str, Any], data: Mapping[str, Any], files: Mapping[str, str]
    ) -> RunDirectory:
        """Make a new directory with what is about to be run; it appears with all of that or not at all.

        Args:
            path: where; None: `runs/` with the time and a name.
            name: for the default path.
            session: what this process is.
            data: what the run is about.
            files: further contents by name.

        Raises:
            InputError: the path exists already, or cannot be made.
        """
        manifest = {"format": FORMAT, "data": data, "sessions": [session]}
        contents = {**files, "manifest.json": as_json(manifest)}
        if path is None:
            return cls(_made_under_free_name(Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{slug(name)}", contents))
        refuse_occupied(path)
        _make(Path(path), contents)
        return cls(Path(path))

    @classmethod
    def reopen(
        cls, path: Path, session: Mapping[str, Any], read_fingerprint: Callable[[], str]
    ) -> tuple[RunDirectory, list[str]]:
        """Take up a directory.

        Args:
            path: of the directory.
            session: what this process is; it is added to the manifest.
            read_fingerprint: of the data as they are now; called once the directory is ours, as it may take long.

        Returns:
            The directory, and what has changed since the run began and can change its numbers.

        Raises:
            InputError: the data have changed, another process works on it, or it cannot be written.
        """
        read_json(path, "manifest.json")  # an error that names the path, if it is no run
        directory = cls(path)
        manifest = read_json(path, "manifest.json")  # again, as nobody else can change it now
        began = manifest["data"]
        try:
            fingerprint = read_fingerprint()
        except BaseException:
            directory.close()
            raise
        if fingerprint != began["fingerprint"]:
            directory.close()
            raise InputError(
                f"the data are not the {began['name']!r} that the run {str(path)!r} began with: their fingerprint is "
                f"{fingerprint[:16]}..., and was {began['fingerprint'][:16]}...; bring the old data back (oche resume "
                f"{quote(str(path))} --data PATH if they lie elsewhere), or start a new run with --config "
                f"{quote(str(path / 'config.yaml'))}"
            )
        directory.write_json("manifest.json", manifest | {"sessions": [*manifest["sessions"], session]})
        return directory, changes(manifest["sessions"][0], session)

    def close(self) -> None:
        """Let others work on it."""
        self._lock.release()

    @property
    def seconds(self) -> float:
        """Time that the finished pieces took."""
        pieces = [self.result[name] for name in ("search", "network") if name in self.result]
        if "tries" in self.result:  # the search is one of them
            pieces = [entry[name] for entry in self.result["tries"] for name in ("search", "training") if name in entry]
            pieces += [self.result["network"]] if "network" in self.result else []
        return float(sum(piece["seconds"] for piece in (*pieces, *self.result.get("random", ()))))

    def add_result(self, name: str, value: Any) -> None:
        """Write a finished piece down at once, so that what comes after it cannot lose it."""
        if (self.path / METRICS).exists():
            sync(self.path / METRICS)  # a piece that is done is not done again, so its epochs must be safe too
        self.result[name] = value
        self.write_json("result.json", self.result)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file."""
        self.write_text(name, as_json(value))

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        write_whole(self.path / name, text.encode())

    def log(self, text: str) -> None:
        """Add a line to the log."""
        append_line(self.path / "log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}")

    # -- a listener --------------------------------------------------------------------------------------------------

    def start(self, job: Job) -> None:
        """Leave out the epochs of this job that its checkpoint does not know: they will be made again."""
        others = [r for phase, rs in read_records(self.path / METRICS).items() if phase != job.name for r in rs]
        lines = [json.dumps(finite(record)) + "\n" for record in (*others, *job.records)]
        self.write_text(METRICS, "".join(lines))

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Append the record."""
        append_line(self.path / METRICS, json.dumps(finite(record)))


def refuse_occupied(path: str) -> None:
    """Refuse a place for a new run where something is already; an empty directory will do.

    Raises:
        InputError: a run, or something else, is there.
    """
    chosen = Path(path)
    if is_run(chosen):
        raise InputError(
            f"the run directory {path!r} exists already, and a run never writes over another; go on with that run by: "
            f"oche resume {quote(path)}; or give another --run DIR"
        )
    if chosen.exists() and not (chosen.is_dir() and not any(chosen.iterdir())):
        what = "holds something else than a run" if chosen.is_dir() else "is a file"
        raise InputError(f"{path!r} exists already and {what}; give another --run DIR")


def _locked(path: Path) -> FileLock:
    with writing(path):
        lock = FileLock(path / LOCK)
        try:
            lock.acquire(timeout=GLANCE)
        except Timeout:
            last = read_json(path, "manifest.json")["sessions"][-1]
            if _alive(last):
                raise InputError(
                    f"the run {str(path)!r} is being worked on by process {last['pid']} on {last['host']} since "
                    f"{last['started']}; wait for it, or stop it first"
                ) from None
            try:
                lock.acquire(timeout=ORPHANS)
            except Timeout:
                raise InputError(
                    f"the run {str(path)!r} is locked by another process, though not by the one in its manifest "
                    f"({last['pid']} on {last['host']}); wait for it, or stop it first"
                ) from None
    return lock


def _alive(session: Mapping[str, Any]) -> bool:
    """Whether the process of a session may still run; on another host we cannot know."""
    if session["host"] != socket.gethostname():
        return True
    try:
        os.kill(session["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs, as another user
    return True


def as_json(value: Mapping[str, Any]) -> str:
    """The text of a JSON file."""
    return json.dumps(finite(value), indent=1) + "\n"


def _make(path: Path, files: Mapping[str, str]) -> None:
    """Make a directory that appears with its files or not at all.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            for name, text in files.items():
                with (unfinished / name).open("w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
            unfinished.chmod(0o777 & ~_umask())  # mkdtemp gives it to its owner alone
            unfinished.rename(path)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        sync(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot make the directory {str(path)!r}: {reason}; give another --run DIR") from None


def _made_under_free_name(path: Path, files: Mapping[str, str]) -> Path:
    """Make the directory, with a number behind its name if another run of this second has it."""
    for chosen in (path, *(path.with_name(f"{path.name}-{i}") for i in range(2, MOST_AT_ONCE))):
        if not chosen.exists():
            try:
                _make(chosen, files)
            except InputError:
                if not chosen.exists():  # or another process has just taken the name
                    raise
            else:
                return chosen
    raise InputError(f"{MOST_AT_ONCE} runs have begun as {str(path)!r} within a second; give each its own --run DIR")


def _umask() -> int:
    """The permissions that new files lack; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
