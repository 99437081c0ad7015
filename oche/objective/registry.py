"""The objectives and the terms by name, each with the numbers of its paper."""

from __future__ import annotations

from oche.objective.amended import Amended, ExactProducts
from oche.objective.asymptotic import Asymptotic
from oche.objective.base import Objective
from oche.objective.first_order import FirstOrder
from oche.objective.terms import ConcentrationAnchor, ConcentrationDivergence, Term
from oche.objective.unrolled import Unrolled
from oche.registry import Registry, part_of
from oche.schedule import Share

OBJECTIVES = Registry[Objective](
    "objective",
    "oche.objectives",
    {
        "first-order": FirstOrder(),
        "unrolled": Unrolled(),
        "amended": Amended(),
        "amended-exact": Amended(products=ExactProducts()),
        "asymptotic": Asymptotic(horizon=Share(25 / 90)),
    },
    made=part_of(Objective),
)

TERMS = Registry[Term](
    "term",
    "oche.terms",
    {"concentration-anchor": ConcentrationAnchor(), "concentration-divergence": ConcentrationDivergence()},
    made=part_of(Term),
)
