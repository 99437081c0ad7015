"""The selections by name."""

from __future__ import annotations

from oche.select.base import Selection
from oche.select.decorrelation import Decorrelation
from oche.select.magnitude import Magnitude
from oche.select.perturbation import PerturbationSelection

SELECTIONS: dict[str, Selection] = {
    "magnitude": Magnitude(),
    "decorrelation": Decorrelation(),
    "perturbation": PerturbationSelection(),
}
