"""An architecture (genotype) as a value: which candidate each edge keeps.

An edge that is absent was dropped. The same form serves every space: an edge of a cell maps to a candidate's
name, an `InputChoice` to the tuple of inputs it keeps, a `ValueChoice` to a number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from oche.errors import InputError

Candidate: TypeAlias = str | int | float | tuple[int, ...]

FORMAT = 1


@dataclass(frozen=True)
class Architecture:
    """A choice for every kept edge of a space; equal, hashable, and readable as JSON.

    Attributes:
        space: name of the space it belongs to.
        items: `(key, candidate)` pairs in the order of their keys.
    """

    space: str
    items: tuple[tuple[str, Candidate], ...]

    @classmethod
    def of(cls, space: str, choices: Mapping[str, Candidate]) -> Architecture:
        """Make an architecture from a mapping, in any order."""
        return cls(space, tuple(sorted(choices.items())))

    @cached_property
    def choices(self) -> Mapping[str, Candidate]:
        """The kept edges: key to candidate, read-only."""
        return MappingProxyType(dict(self.items))

    def __reduce__(self) -> tuple[type[Architecture], tuple[str, tuple[tuple[str, Candidate], ...]]]:
        """For other processes: its fields alone, as a read-only view cannot be sent."""
        return Architecture, (self.space, self.items)

    def to_json(self) -> str:
        """JSON text with a format number; `from_json` reads it back to an equal value."""
        return json.dumps({"format": FORMAT, "space": self.space, "choices": dict(self.items)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Read what `to_json` wrote.

        Raises:
            InputError: the text is no JSON, has another format, or lacks a field.
        """
        try:
            data: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"an architecture must be JSON, but reading it failed: {error}") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise InputError(f"an architecture file needs format {FORMAT}, but has {found!r}; update oche or the file")
        space, choices = data.get("space"), data.get("choices")
        if not isinstance(space, str) or not isinstance(choices, dict):
            raise InputError("an architecture file needs a text 'space' and a table 'choices'; write it with to_json()")
        return cls.of(space, {key: _candidate(key, value) for key, value in choices.items()})

    def save(self, path: Path | str) -> None:
        """Write the JSON form to a file."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> Architecture:
        """Read an architecture file.

        Raises:
            InputError: the file is missing or is no architecture.
        """
        path = Path(path)
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the architecture file {str(path)!r}: {error}") from None
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def _candidate(key: str, value: Any) -> Candidate:
    if isinstance(value, list) and all(type(i) is int for i in value):
        return tuple(value)
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    raise InputError(f"edge {key!r}: a candidate is a name, a number or a list of inputs, but got {value!r}")
