"""The results file of a campaign: lines of JSON, one per finished cell, that alone suffice to go on elsewhere.

The first line says what the campaign is; each further one is a cell with its result, or the reason why it failed. Of
two lines about one cell the later counts. A kill can cut the last line short; it is then taken away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from filelock import FileLock, Timeout

from oche.campaign.task import Cell
from oche.checkpoint import LONGEST_VALUE
from oche.errors import InputError
from oche.files import append_line, sync, write_whole, writing
from oche.plain import finite
from oche.version import __version__

FORMAT = 1

Key: TypeAlias = tuple[tuple[str, str | int], ...]
Entry: TypeAlias = Mapping[str, Any]
"""A line of the file: `cell`, `status` (`done` or `failed`), and what belongs to it."""


class Ledger:
    """A results file and what it says.

    Attributes:
        path: of the file.
        header: what the campaign is.
        entries: the last line about each cell.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], entries: Mapping[Key, Entry]) -> None:
        self.path, self.header = path, dict(header)
        self.entries: dict[Key, Entry] = dict(entries)
        self._retry_failed = False

    @classmethod
    def read(cls, path: Path, kind: str) -> Ledger:
        """Read a results file.

        Args:
            path: the file.
            kind: of campaign that it must be of.

        Raises:
            InputError: it cannot be read, or is none of this kind.
        """
        try:
            *lines, _ = path.read_bytes().split(b"\n")
        except OSError as error:
            raise InputError(f"cannot read the results {str(path)!r}: {error.strerror or error}") from None
        values: list[Entry] = []
        entries: dict[Key, Entry] = {}
        for number, line in enumerate(lines, 1):
            try:
                value = json.loads(line)
                if number > 1:
                    value["status"]
                    entries[key_of(value["cell"])] = value
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise InputError(
                    f"line {number} of {str(path)!r} is no result ({type(error).__name__}: {error}); bring the file "
                    "back from a copy, or remove the line"
                ) from None
            values.append(value)
        if not values or not isinstance(values[0], dict) or values[0].get("kind") != kind:
            raise InputError(f"{str(path)!r} holds something else than a {kind}; give another results file")
        if values[0].get("format") != FORMAT:
            raise InputError(
                f"{str(path)!r} has format {values[0].get('format')!r}, but this oche reads format {FORMAT}; "
                "go on with the oche that wrote it"
            )
        return cls(path, values[0], entries)

    @classmethod
    def begin(cls, path: Path, kind: str, about: Mapping[str, Any]) -> Ledger:
        """Make a new results file.

        Raises:
            InputError: it cannot be written.
        """
        header = {"format": FORMAT, "kind": kind, "oche": __version__, **about}
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, _line(header).encode())
        return cls(path, header, {})

    @classmethod
    def take(cls, path: Path, kind: str, about: Mapping[str, Any], *, retry_failed: bool = False) -> Ledger:
        """Go on with a results file, or make a new one. An old one is not changed before `lock`.

        Args:
            path: the file.
            kind: of campaign.
            about: what must be the same when the campaign goes on.
            retry_failed: forget the cells that have failed, so that they are computed again.

        Raises:
            InputError: the file is of another campaign, or cannot be used.
        """
        with writing(path):  # a directory that may not be looked into
            begun = path.exists()
        if not begun:
            return cls.begin(path, kind, about)
        ledger = cls.read(path, kind)
        for name, value in about.items():
            before = ledger.header.get(name)
            if before != json.loads(json.dumps(value)):
                raise InputError(
                    f"{str(path)!r} is of another {kind}: its {name} is {_short(before)}, but now it is "
                    f"{_short(value)}; bring the old one back, or write to another file"
                )
        ledger._retry_failed = retry_failed
        ledger._forget_failed()
        return ledger

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Have the file for this process; only who has it may write.

        The file is read again first, because it may have grown since, and a line that a kill has cut short is taken
        away.

        Raises:
            InputError: another process has it, or it cannot be written.
        """
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        with writing(self.path):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise InputError(
                    f"another process is working on {str(self.path)!r}; wait for it, or stop it first"
                ) from None
        try:
            now = Ledger.read(self.path, self.header["kind"])
            self.entries = now.entries
            self._forget_failed()
            self.rewrite(now.header)
            yield
        finally:
            lock.release()

    def rewrite(self, header: Mapping[str, Any]) -> None:
        """Write the file anew, with another header."""
        self.header = dict(header)
        write_whole(self.path, "".join(map(_line, (self.header, *self.entries.values()))).encode())

    def append(self, entry: Entry) -> None:
        """Add what became of a cell; it is on the disk when this returns."""
        line = _line(entry)
        append_line(self.path, line.rstrip("\n"))
        sync(self.path)
        self.entries[key_of(entry["cell"])] = json.loads(line)  # as it will be read: null instead of NaN

    def done(self, cell: Cell) -> Entry | None:
        """The result of a cell, if there is one."""
        entry = self.entries.get(key_of(cell))
        return entry if entry is not None and entry["status"] == "done" else None

    def failed(self, cell: Cell) -> Entry | None:
        """Why a cell has failed, if it has."""
        entry = self.entries.get(key_of(cell))
        return entry if entry is not None and entry["status"] == "failed" else None

    def _forget_failed(self) -> None:
        if self._retry_failed:
            self.entries = {key: entry for key, entry in self.entries.items() if entry["status"] == "done"}

    def select(self, matches: Callable[[Entry], bool]) -> list[Entry]:
        """The results of the cells that are done and match."""
        return [entry for entry in self.entries.values() if entry["status"] == "done" and matches(entry)]


def key_of(cell: Cell) -> Key:
    """A cell as a key."""
    return tuple(sorted(cell.items()))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(finite(value), separators=(",", ":")) + "\n"
