"""Errors for people: what was given, the condition it breaks, and the cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")


class InputError(ValueError):
    """Something the user gave cannot be used; the message names the value, the condition and the cure.

    The command line prints the message alone and exits with status 2.
    """


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An error for a name that is not in `known`, with the nearest names first.

    >>> print(unknown("method", "dart", ["darts", "drnas"]))
    unknown method 'dart'; did you mean 'darts'? known: darts, drnas
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    return InputError(f"unknown {kind} {name!r}; {hint}known: {', '.join(names)}")


def named(kind: str, name: str, table: Mapping[str, Value]) -> Value:
    """The entry of `table` under `name`.

    Raises:
        InputError: there is none; the message has the nearest names.
    """
    if name not in table:
        raise unknown(kind, name, table)
    return table[name]
