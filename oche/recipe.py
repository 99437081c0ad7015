"""Methods as text: `sp-darts/selection=decorrelation/objective=amended`. Imports no torch.

A recipe is the name of a method, and parts that take the place of the method's own, each with its axis. A part is a
name, perhaps with numbers; terms and stages are lists, in which `+` stands between two and `none` for an empty one:

    drnas/terms=concentration-divergence:weight=1e-2/stages=none
    sp-darts/mixture=batch-mixed:t_sparse=5e-4,p_up=0.9
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from oche.errors import InputError, unknown

AXES = ("structure", "regularization", "mixture", "perturbation", "objective", "terms", "stages", "selection")
"""In the order in which they are written."""

EMPTY = "none"
"""A list without entries."""


@dataclass(frozen=True)
class Recipe:
    """A method's name and the parts that replace its own.

    Attributes:
        base: the name.
        parts: axis and text, in the order of `AXES`.
    """

    base: str
    parts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, text: str, further: Mapping[str, str | None] | None = None) -> Recipe:
        """Read a recipe, and add to it.

        Args:
            text: a name, or more, as above.
            further: parts by axis; None: none for this axis.

        Raises:
            InputError: it cannot be read, or an axis is given twice.
        """
        base, *pieces = (piece.strip() for piece in text.split("/"))
        if not base:
            raise InputError(f"a method begins with its name, such as darts/selection=decorrelation, but got {text!r}")
        given = [_axis(piece, text) for piece in pieces]
        given += [(axis, part.strip()) for axis, part in (further or {}).items() if part is not None]
        for axis, part in given:
            if axis not in AXES:
                raise unknown("axis of a method", axis, AXES)
            if not part:
                raise InputError(
                    f"{axis} of {base!r} has no name behind it; give one such as {axis}=NAME, or leave it out"
                )
        axes = [axis for axis, _ in given]
        for axis in axes:
            if axes.count(axis) > 1:
                raise InputError(
                    f"the {axis} of {base!r} is given twice: {' and '.join(p for a, p in given if a == axis)}"
                )
        return cls(base, tuple(sorted(given, key=lambda item: AXES.index(item[0]))))

    def replaced(self, parts: Mapping[str, str]) -> Recipe:
        """The same with other parts on some axes."""
        return Recipe.of(self.base, dict(self.parts) | dict(parts))

    @property
    def described(self) -> str:
        """The parts in words."""
        return ", ".join(f"{axis} {part}" for axis, part in self.parts)

    def __str__(self) -> str:
        """The one form in which results and files keep it."""
        return "/".join([self.base, *(f"{axis}={part}" for axis, part in self.parts)])


def _axis(piece: str, text: str) -> tuple[str, str]:
    axis, equals, part = piece.partition("=")
    if not equals:
        raise InputError(
            f"behind the name of a method stand parts with their axes, such as darts/selection=decorrelation, "
            f"but got {piece!r} in {text!r}"
        )
    return axis.strip(), part.strip()


def listed(text: str) -> list[str]:
    """The entries of a list: `a+b:x=1e+3` is `a` and `b:x=1e+3`, `none` is empty."""
    return [] if text == EMPTY else [entry.strip() for entry in re.split(r"\+(?=\s*[A-Za-z]|$)", text)]
