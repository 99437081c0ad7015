"""The stages by name."""

from __future__ import annotations

from oche.registry import Registry, part_of
from oche.schedule import Share
from oche.stages.base import Stage
from oche.stages.edge_search import EdgeSearch, FixedEdges
from oche.stages.freeze_logits import FreezeLogits
from oche.stages.greedy import Greedy
from oche.stages.progressive import Progressive

STAGES = Registry[Stage](
    "stage",
    "oche.stages",
    {
        "freeze-logits": FreezeLogits(first=Share(15 / 50)),
        "edge-search": EdgeSearch(),
        "fixed-edges": FixedEdges(),
        "progressive": Progressive(first=Share(25 / 50), keep=4, frozen=Share(10 / 25)),
        "greedy": Greedy(),
    },
    made=part_of(Stage),
)
"""The logits stand still for 15 of 50 epochs, as in PC-DARTS and iDARTS; `progressive` has DrNAS' numbers for the
DARTS space."""
