"""Values as plain JSON: what files keep of parts and numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any


def is_part(value: object) -> bool:
    """Whether it is a value made of named fields, as every part is, and not a class of such."""
    return is_dataclass(value) and not isinstance(value, type)


def described(value: object) -> Any:
    """A part, or a collection of parts, as plain values; the name of each part's class is among them.

    A function is described by its name, and anything else, such as a user's module, by its type.
    """
    if is_dataclass(value):
        return {"part": type(value).__name__} | {f.name: described(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [described(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    named = value if isinstance(value, FunctionType | BuiltinFunctionType) else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def finite(value: Any) -> Any:
    """The same with null instead of NaN and infinity, which are no JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [finite(item) for item in value]
    return value
