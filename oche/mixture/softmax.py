"""`a = softmax(A / T)`: the relaxation of DARTS (Liu et al. 2019, Eq. 2; SP-DARTS Eq. 1, 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from oche.errors import InputError
from oche.moment import Moment
from oche.needs import TWICE_DIFFERENTIABLE, Feature


@dataclass(frozen=True, kw_only=True)
class Softmax:
    """Softmax at a temperature.

    Attributes:
        temperature: `T > 0`; small values make the mixture sparse.
    """

    CITES: ClassVar[tuple[str, ...]] = ("darts",)
    OFFERS: ClassVar[tuple[Feature, ...]] = (TWICE_DIFFERENTIABLE,)

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(f"softmax needs temperature > 0, but got {self.temperature}")

    @property
    def scale(self) -> float:
        """The temperature."""
        return self.temperature

    def draw(self, logits: Mapping[str, Tensor], now: Moment) -> dict[str, Tensor]:
        """`softmax(A / T)`; nothing is random."""
        return self.mean(logits)

    def mean(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same as `draw`."""
        return {key: torch.softmax(value / self.temperature, dim=-1) for key, value in logits.items()}

    def views(self, logits: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """None."""
        return {}

    def log_strength(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`log softmax(A / T)` in float64, which still tells edges apart where the softmax saturates."""
        return {
            key: torch.log_softmax(value.detach().double() / self.temperature, dim=-1) for key, value in logits.items()
        }
