"""The first-order objective of DARTS: treat the current weights as the best ones (Liu et al. 2019, Eq. 6, xi = 0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from oche.objective.base import Bilevel, Point, mixture_gradient


@dataclass(frozen=True, kw_only=True)
class FirstOrder:
    """`dL_valid(w, a) / da`."""

    CITES: ClassVar[tuple[str, ...]] = ("darts",)

    def check(self, optimizer: torch.optim.Optimizer) -> None:
        """Every optimizer will do."""

    def gradient(self, problem: Bilevel, point: Point) -> dict[str, Tensor]:
        """One forward and one backward pass on the validation batch, for the mixing weights alone."""
        return mixture_gradient(problem.valid(point.weights, point.mixture, point.valid_batch), point.mixture)
