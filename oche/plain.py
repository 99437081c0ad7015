"""Values as plain JSON: what files keep of parts and numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def described(value: object) -> Any:
    """A part, or a collection of parts, as plain values; the name of each part's class is among them.

    What is neither plain nor a dataclass, such as a user's function, is described by its type.
    """
    if is_dataclass(value):
        return {"part": type(value).__name__} | {f.name: described(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [described(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else type(value).__name__


def finite(value: Any) -> Any:
    """The same with null instead of NaN and infinity, which are no JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [finite(item) for item in value]
    return value
