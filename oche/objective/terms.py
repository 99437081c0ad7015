"""Terms that are added to the loss of the logit step: functions of the logits alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from oche.mixture.dirichlet import concentration, distribution
from oche.moment import Moment
from oche.needs import CONCENTRATIONS, ONE_REGULARIZER, Feature


class Term(Protocol):
    """Something to be small beside the validation loss."""

    def value(self, logits: Mapping[str, Tensor], now: Moment) -> Tensor:
        """A differentiable scalar."""
        ...


@dataclass(frozen=True, kw_only=True)
class ConcentrationAnchor:
    """DrNAS' regularizer: `(lambda / 2) sum (beta - 1)^2` (Wang-2021 Eq. 3.2, with the squared distance to 1).

    Attributes:
        weight: `lambda`.
    """

    CITES: ClassVar[tuple[str, ...]] = ("drnas", "wang-2021")
    NEEDS: ClassVar[tuple[Feature, ...]] = (CONCENTRATIONS,)
    OFFERS: ClassVar[tuple[Feature, ...]] = (ONE_REGULARIZER,)

    weight: float = 1e-3

    def value(self, logits: Mapping[str, Tensor], now: Moment) -> Tensor:
        """Over all rows; `logits` are those of a Dirichlet mixture."""
        return self.weight / 2 * torch.stack([(concentration(A) - 1).square().sum() for A in logits.values()]).sum()


@dataclass(frozen=True, kw_only=True)
class ConcentrationDivergence:
    """`lambda sum KL(Dir(beta) || Dir(1))`: the distance of Eq. 3.2 between the distributions themselves.

    Attributes:
        weight: `lambda`.
    """

    CITES: ClassVar[tuple[str, ...]] = ("drnas", "wang-2021")
    NEEDS: ClassVar[tuple[Feature, ...]] = (CONCENTRATIONS,)
    OFFERS: ClassVar[tuple[Feature, ...]] = (ONE_REGULARIZER,)

    weight: float = 1e-3

    def value(self, logits: Mapping[str, Tensor], now: Moment) -> Tensor:
        """Over all rows; `logits` are those of a Dirichlet mixture."""
        learned = [distribution(A) for A in logits.values()]
        distances = [kl_divergence(d, Dirichlet(torch.ones_like(d.concentration))).sum() for d in learned]
        return self.weight * torch.stack(distances).sum()
