"""The interface of everything that turns a trained supernet into an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from oche.architecture import Architecture
from oche.domain import Domain
from oche.mixture.base import Relaxation


class Selection(Protocol):
    """A rule of discretization."""

    def select(self, domain: Domain, logits: Mapping[str, Tensor], relaxation: Relaxation) -> Architecture:
        """An architecture of `domain`."""
        ...
