"""Which probes a search has, and when they look.

What costs nothing is written into the record of every epoch. The others look once, when the search is over and has
selected: at a few images each, so that they take the time of a step or two however long the search was. Only the
eigenvalue costs more, about a step for each Hessian-vector product; how many it gets depends on the length of the
search. Nothing of a search depends on a probe: they leave weights, statistics and random states as they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from oche.architecture import Architecture
from oche.probe.correlation import Correlation, correlation
from oche.probe.gap import Gap, discretization_gap
from oche.probe.hessian import PRODUCTS, Eigenvalue, dominant_eigenvalue
from oche.probe.nodes import node_norms
from oche.probe.shares import none_weight, parameter_free, skip_lead
from oche.select.scene import Scene

Value = TypeVar("Value")

STEPS_PER_PRODUCT = 100
"""Steps of a search for each Hessian-vector product, which takes about as long as a step (docs/verdict.md), so that
the products take about 1 % of the search at most."""

FEWEST_PRODUCTS = 5
"""After fewer a power iteration has seldom settled; then it does not begin."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What the probes saw at the end of a search; None where one did not look, or there was nothing to see.

    Attributes:
        eigenvalue: of the validation Hessian in the logits.
        nodes: per kind of cell, the norms of its nodes relative to the first input.
        correlation: between candidates.
        gap: between mixture and selection.
        unseen: the reason, by probe, where one could not look.
        seconds: what all of them took.
    """

    eigenvalue: Eigenvalue | None = None
    nodes: dict[str, tuple[float, ...]] | None = None
    correlation: Correlation | None = None
    gap: Gap | None = None
    unseen: dict[str, str] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, kw_only=True)
class Probes:
    """When probes look.

    Attributes:
        each_epoch: those that cost nothing, after every epoch.
        at_end: the others, when the search is over.
    """

    each_epoch: bool
    at_end: bool

    def of_epoch(self, scene: Scene, architecture: Architecture) -> dict[str, float]:
        """What goes into an epoch's record, by name.

        Args:
            scene: after the epoch.
            architecture: what would be selected.
        """
        if not self.each_epoch:
            return {}
        rows, domain = scene.rows, scene.domain
        found = {
            "parameter_free": parameter_free(architecture),
            "none_weight": none_weight(domain, rows),
            "skip_lead": skip_lead(domain, rows),
        }
        return {name: value for name, value in found.items() if value is not None}

    def of_search(self, scene: Scene, architecture: Architecture, steps: int) -> Looked:
        """Look at the end.

        Args:
            scene: the supernet as the search leaves it.
            architecture: what was selected.
            steps: that the search has taken.
        """
        if not self.at_end:
            return Looked()
        began, unseen = time.monotonic(), dict[str, str]()

        def tried(name: str, probe: Callable[[], Value]) -> Value | None:
            try:
                return probe()
            except RuntimeError as error:
                # Memory, or an operation of the user's without a second derivative: a search that is done must not be
                # lost because it could not be looked at.
                unseen[name] = (str(error).strip().splitlines() or [type(error).__name__])[0]
                return None

        decidable = any(len(edge.candidates) > 1 for edge in scene.domain.edges.values())
        products = min(steps // STEPS_PER_PRODUCT, PRODUCTS)
        affordable = products >= FEWEST_PRODUCTS
        if decidable and not affordable:
            least = FEWEST_PRODUCTS * STEPS_PER_PRODUCT
            unseen["eigenvalue"] = f"it would take too much of a search of {steps} steps (from {least} on)"
        return Looked(
            eigenvalue=(
                tried("eigenvalue", lambda: dominant_eigenvalue(scene, products=products))
                if decidable and affordable
                else None
            ),
            nodes=tried("nodes", lambda: node_norms(scene)),
            correlation=tried("correlation", lambda: correlation(scene)),
            gap=tried("gap", lambda: discretization_gap(scene, architecture)) if decidable else None,
            unseen=unseen,
            seconds=time.monotonic() - began,
        )


NO_PROBES = Probes(each_epoch=False, at_end=False)

PROBES: dict[str, Probes] = {
    "all": Probes(each_epoch=True, at_end=True),
    "cheap": Probes(each_epoch=True, at_end=False),
    "none": NO_PROBES,
}
