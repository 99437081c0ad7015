"""DrNAS: mixing weights drawn from Dirichlet distributions (Wang-2021 Sec. 3.2; Chen et al., ICLR 2021).

1. Concentrations `beta = elu(A) + 1 > 0`, so that `A = 0` is the uniform distribution on the simplex.
2. `a ~ Dirichlet(beta)` per edge, one draw per step shared by all cells of a kind (Eq. 3.2), differentiated through
   the sample (`rsample`).
3. Selection by the mean `beta / sum(beta)`.

`rsample` has first derivatives only. Here that is enough for every objective, unrolled ones included: they
differentiate with respect to the mixing weights, and one vector-Jacobian product goes through the draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Dirichlet as DirichletDistribution
from torch.nn import functional as F

from oche.moment import Moment
from oche.needs import CONCENTRATIONS, ONE_REGULARIZER, Feature

LEAST = 1e-6
"""Concentrations below it are raised to it: `elu(A) + 1` underflows to 0 at strongly negative logits."""


def concentration(logits: Tensor) -> Tensor:
    """`beta = elu(A) + 1`, at least `LEAST`; for any shape."""
    return (F.elu(logits) + 1).clamp_min(LEAST)


def distribution(logits: Tensor) -> DirichletDistribution:
    """`Dirichlet(beta)` per row.

    PyTorch's validation is off: it would wait for the device, and turn logits that are NaN, after which a search ends
    with its last good selection, into an error.
    """
    return DirichletDistribution(concentration(logits), validate_args=False)


def _sample(logits: Tensor) -> Tensor:
    """One draw per row; of a single component it is 1, where `rsample` has no gradient but NaN."""
    return distribution(logits).rsample() if logits.shape[-1] > 1 else torch.softmax(logits, -1)


@dataclass(frozen=True, kw_only=True)
class Dirichlet:
    """`a ~ Dirichlet(elu(A) + 1)`."""

    CITES: ClassVar[tuple[str, ...]] = ("drnas", "wang-2021")
    NEEDS: ClassVar[tuple[Feature, ...]] = (ONE_REGULARIZER,)
    OFFERS: ClassVar[tuple[Feature, ...]] = (CONCENTRATIONS,)

    @property
    def scale(self) -> float:
        """`elu` bends at a distance of 1."""
        return 1.0

    def draw(self, logits: Mapping[str, Tensor], now: Moment) -> dict[str, Tensor]:
        """One draw for every key, a sample of the expectation in Wang-2021 Eq. 3.2."""
        return {key: _sample(value) for key, value in logits.items()}

    def mean(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`beta / sum(beta)`."""
        return {key: torch.exp(value).to(logits[key].dtype) for key, value in self._log_mean(logits).items()}

    def views(self, logits: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """None."""
        return {}

    def log_strength(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`log(beta / sum(beta))` in float64."""
        return {key: value.detach() for key, value in self._log_mean(logits).items()}

    def _log_mean(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        betas = {key: concentration(value.double()) for key, value in logits.items()}
        return {key: beta.log() - beta.sum(-1, keepdim=True).log() for key, beta in betas.items()}
