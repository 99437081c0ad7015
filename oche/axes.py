"""The axes on which a method chooses a part, and what may stand on each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from oche.consistency import REGULARIZATIONS
from oche.mixture.registry import MIXTURES, PERTURBATIONS
from oche.nn.structures import STRUCTURES
from oche.numbers import part_named, spelled
from oche.objective.registry import OBJECTIVES, TERMS
from oche.recipe import EMPTY, listed
from oche.registry import Registry
from oche.select.registry import SELECTIONS
from oche.stages.registry import STAGES


@dataclass(frozen=True)
class Axis:
    """One choice of a method.

    Attributes:
        field: of `Method`.
        registry: the parts by name.
        many: whether several parts, or none, stand on it.
    """

    field: str
    registry: Registry[Any]
    many: bool = False

    def read(self, text: str) -> Any:
        """The part that a text means, or the tuple of parts.

        Raises:
            InputError: a name or a number is unknown or cannot be used.
        """
        if self.many:
            return tuple(part_named(self.registry, entry) for entry in listed(text))
        return part_named(self.registry, text)

    def text(self, value: Any) -> str:
        """The text that means a part, or a tuple of parts, as far as there is one (`oche.numbers.spelled`)."""
        if self.many:
            return "+".join(spelled(self.registry, part) for part in value) or EMPTY
        return spelled(self.registry, value)


AXES: dict[str, Axis] = {
    "structure": Axis("structure", STRUCTURES),
    "regularization": Axis("regularization", REGULARIZATIONS),
    "mixture": Axis("relaxation", MIXTURES),
    "perturbation": Axis("perturbation", PERTURBATIONS),
    "objective": Axis("objective", OBJECTIVES),
    "terms": Axis("terms", TERMS, many=True),
    "stages": Axis("stages", STAGES, many=True),
    "selection": Axis("selection", SELECTIONS),
}
"""By the names that recipes use (`oche.recipe.AXES`)."""


def placed(method: object) -> Iterator[tuple[str, Any]]:
    """Every part of a method, with its axis."""
    for name, axis in AXES.items():
        value = getattr(method, axis.field)
        for part in value if axis.many else (value,):
            yield name, part
