"""What a selection may look at when the search is over."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from oche.data.batches import Batches
from oche.domain import Domain
from oche.mixture.base import Relaxation
from oche.nn.supernet import Supernet, logits


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A trained supernet and the images it was searched with.

    Attributes:
        domain: the decisions, exactly those of the supernet's logits.
        supernet: trained; a selection leaves it as it is.
        relaxation: logits to mixing weights.
        images: the half of the images that moved the logits, without augmentation.
        device: where the supernet lives.
    """

    domain: Domain
    supernet: Supernet
    relaxation: Relaxation
    images: Batches
    device: torch.device

    @property
    def logits(self) -> dict[str, Tensor]:
        """The logits by key, without gradient."""
        return {key: value.detach() for key, value in logits(self.supernet).items()}

    @property
    def mixture(self) -> dict[str, Tensor]:
        """The mean mixing weights."""
        return self.relaxation.mean(self.logits)
