"""Magnitude selection: the largest mixing weights win (Liu et al. 2019, Sec. 2.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from oche.architecture import Architecture
from oche.domain import Domain
from oche.mixture.base import Relaxation


@dataclass(frozen=True, kw_only=True)
class Magnitude:
    """The strongest candidate per edge, then the strongest edges per node; ties to the lower index."""

    CITES: ClassVar[tuple[str, ...]] = ("darts",)

    def select(self, domain: Domain, logits: Mapping[str, Tensor], relaxation: Relaxation) -> Architecture:
        """Compare float64 log mixing weights, which do not saturate."""
        strengths = relaxation.log_strength(logits)
        return domain.strongest({key: strengths[key].tolist() for key in domain.edges})
