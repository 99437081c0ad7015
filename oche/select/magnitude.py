"""Magnitude selection: the largest mixing weights win (Liu et al. 2019, Sec. 2.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from oche.architecture import Architecture
from oche.domain import Domain
from oche.mixture.base import Relaxation
from oche.select.scene import Scene


@dataclass(frozen=True, kw_only=True)
class Magnitude:
    """The strongest candidate per edge, then the strongest edges per node; ties to the lower index."""

    CITES: ClassVar[tuple[str, ...]] = ("darts",)

    needs_supernet: ClassVar[bool] = False
    tuning: ClassVar[None] = None

    def preview(self, domain: Domain, logits: Mapping[str, Tensor], relaxation: Relaxation) -> Architecture:
        """Compare float64 log mixing weights, which do not saturate."""
        strengths = relaxation.log_strength(logits)
        return domain.strongest({key: strengths[key].tolist() for key in domain.edges})

    def select(self, scene: Scene) -> Architecture:
        """The same: nothing but the logits counts."""
        return self.preview(scene.domain, scene.logits, scene.relaxation)
