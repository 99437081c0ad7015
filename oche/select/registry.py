"""The selections by name."""

from __future__ import annotations

from oche.registry import Registry, part_of
from oche.select.base import Selection
from oche.select.decorrelation import Decorrelation
from oche.select.magnitude import Magnitude
from oche.select.perturbation import PerturbationSelection

SELECTIONS = Registry[Selection](
    "selection",
    "oche.selections",
    {"magnitude": Magnitude(), "decorrelation": Decorrelation(), "perturbation": PerturbationSelection()},
    made=part_of(Selection),
)
