"""A part by its name, perhaps with numbers: `batch-mixed:t_sparse=5e-4,p_up=0.9`.

Which numbers there are, and how they are read, follows from the fields of the part's dataclass:

| type | written |
|---|---|
| `float`, `int`, `str` | `1e-3`, `7`, `word` |
| `bool` | `true` or `false` |
| `Length` | `15` for so many epochs, `0.3` for a share of the search |
| `Schedule` | `0.1` for a constant, `0.03..0.3` for a straight line over the search |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar, get_args, get_type_hints

from oche.errors import InputError, unknown
from oche.registry import Registry
from oche.schedule import Constant, Epochs, Length, Linear, Schedule, Share

Part = TypeVar("Part")


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
        form, read = readable[field]
        try:
            changes[field] = read(word)
        except ValueError:
            raise InputError(f"{field} of the {where} is {form}, but got {word!r}") from None
    return replace(part, **changes)  # type: ignore[type-var]


def readers(part: object) -> dict[str, tuple[str, Callable[[str], Any]]]:
    """Of every field of a part that a word can give: how it is written, and what reads it (`ValueError`: it cannot)."""
    hints = get_type_hints(type(part))
    found = {}
    for field in fields(part):  # type: ignore[arg-type]
        kinds = [hints[field.name], *get_args(hints[field.name])]  # `float | None` has `float` among its arguments
        known = [READERS[kind] for kind in kinds if kind in READERS]
        if known:
            found[field.name] = known[0]
    return found


def _bool(word: str) -> bool:
    if word not in ("true", "false"):
        raise ValueError(word)
    return word == "true"


def _length(word: str) -> Length:
    return Epochs(int(word)) if word.isdecimal() else Share(float(word))


def _schedule(word: str) -> Schedule:
    start, dots, end = word.partition("..")
    return Linear(float(start), float(end)) if dots else Constant(float(start))


READERS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    bool: ("true or false", _bool),
    int: ("a whole number", int),
    float: ("a number", float),
    str: ("a word", str),
    Length: ("a whole number of epochs, or a share of the search such as 0.3", _length),
    Schedule: ("a number, or two as in 0.03..0.3 for a straight line over the search", _schedule),
}
"""By type of a field: how it is written in words, and what reads it."""
