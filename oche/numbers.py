"""A part by its name, perhaps with numbers: `batch-mixed:t_sparse=5e-4,p_up=0.9`.

Which numbers there are, and how they are read, follows from the fields of the part's dataclass:

| type | written |
|---|---|
| `float`, `int`, `str` | `1e-3`, `7`, `word` |
| `bool` | `true` or `false` |
| `tuple[int, ...]` | `6..4` |
| `Length` | `15` for so many epochs, `0.3` for a share of the search |
| one of these, or `None` | the same, or `none` |
| `Schedule` | `0.1` for a constant, `0.03..0.3` for a straight line over the search |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar, get_args, get_type_hints

from oche.errors import InputError, unknown
from oche.registry import Registry
from oche.schedule import Constant, Epochs, Length, Linear, Schedule, Share

Part = TypeVar("Part")

MISSING = "none"
"""Where a value may be missing, and is."""


def part_named(registry: Registry[Part], text: str) -> Part:
    """The part that a text means.

    Args:
        registry: of its axis.
        text: a name, or a name with numbers that replace those of the entry.

    Raises:
        InputError: the name or a number's name is unknown, or a number cannot be read or is out of its range.
    """
    name, colon, numbers = text.partition(":")
    part = registry.named(name.strip())
    if not colon:
        return part
    where = f"{registry.kind} {name.strip()!r}"
    readable = readers(part)
    changes: dict[str, Any] = {}
    for piece in numbers.split(","):
        field, equals, word = (side.strip() for side in piece.partition("="))
        field = field.replace("-", "_")
        if not equals or not word:
            raise InputError(
                f"numbers of a part are written as {name.strip()}:NAME=VALUE, but got {piece!r} in {text!r}"
            )
        if not readable:
            raise InputError(f"the {where} has no numbers to give, but got {piece.strip()!r}; leave it out")
        if field not in readable:
            raise unknown(f"number of the {where}", field, readable)
        if field in changes:
            raise InputError(f"{field} is given twice in {text!r}; leave one out")
        try:
            changes[field] = readable[field].read(word)
        except InputError:  # out of its range, and says so
            raise
        except ValueError:
            raise InputError(f"{field} of the {where} is {readable[field].words}, but got {word!r}") from None
    return replace(part, **changes)  # type: ignore[type-var]


def spelled(registry: Registry[Any], part: object) -> str:
    """The text that means a part: the reverse of `part_named`, as far as there is one.

    A part that no text means, not being registered or having a value that no word can give, is called by its class.
    """
    known = registry.working()[0]
    for name, entry in known.items():
        if entry == part:
            return name
    for name, entry in known.items():
        if type(entry) is type(part):
            own = {field.name: getattr(part, field.name) for field in fields(part)}  # type: ignore[arg-type]
            changed = {field: value for field, value in own.items() if value != getattr(entry, field)}
            forms = readers(part)
            words = {field: forms[field].write(value) for field, value in changed.items() if field in forms}
            if len(words) == len(changed) and None not in words.values():
                return f"{name}:{','.join(f'{field}={word}' for field, word in words.items())}"
    return type(part).__name__


@dataclass(frozen=True)
class Form:
    """How a value stands in a text.

    Attributes:
        words: what a user is told of it.
        read: a word to the value.
        write: the value to a word; None: no word means it.

    Raises:
        ValueError: from `read`, the word means no such value.
    """

    words: str
    read: Callable[[str], Any]
    write: Callable[[Any], str | None] = repr


def readers(part: object) -> dict[str, Form]:
    """The fields of a part that a word can give, and how."""
    hints = get_type_hints(type(part))
    found = {}
    for field in fields(part):  # type: ignore[arg-type]
        kinds = [hints[field.name], *get_args(hints[field.name])]  # `float | None` has `float` among its arguments
        known = [FORMS[kind] for kind in kinds if kind in FORMS]
        if known:
            found[field.name] = _perhaps(known[0]) if type(None) in kinds else known[0]
    return found


def _perhaps(form: Form) -> Form:
    """Of a value that may be missing."""
    return Form(
        f"{form.words}, or {MISSING}",
        lambda word: None if word == MISSING else form.read(word),
        lambda value: MISSING if value is None else form.write(value),
    )


def _read_bool(word: str) -> bool:
    if word not in ("true", "false"):
        raise ValueError(word)
    return word == "true"


def _read_counts(word: str) -> tuple[int, ...]:
    return tuple(int(count) for count in word.split(".."))


def _read_length(word: str) -> Length:
    return Epochs(int(word)) if word.isdecimal() else Share(float(word))


def _write_length(length: Length) -> str | None:
    if isinstance(length, Epochs):
        return str(length.count)
    return repr(float(length.share)) if isinstance(length, Share) else None


def _read_schedule(word: str) -> Schedule:
    start, dots, end = word.partition("..")
    return Linear(float(start), float(end)) if dots else Constant(float(start))


def _write_schedule(schedule: Schedule) -> str | None:
    if isinstance(schedule, Linear):
        return f"{float(schedule.start)!r}..{float(schedule.end)!r}"
    return repr(float(schedule.value)) if isinstance(schedule, Constant) else None


FORMS: dict[Any, Form] = {
    bool: Form("true or false", _read_bool, lambda value: str(value).lower()),
    int: Form("a whole number", int),
    tuple[int, ...]: Form("whole numbers as in 6..4", _read_counts, lambda value: "..".join(map(str, value))),
    float: Form("a number", float),
    str: Form("a word", str, str),
    Length: Form("a whole number of epochs, or a share of the search such as 0.3", _read_length, _write_length),
    Schedule: Form("a number, or two as in 0.03..0.3 for a straight line", _read_schedule, _write_schedule),
}
"""By the type of a field."""
