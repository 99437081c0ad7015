"""The interface of everything that turns a trained supernet into an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from oche.architecture import Architecture
from oche.domain import Domain
from oche.mixture.base import Relaxation
from oche.select.scene import Scene


class Selection(Protocol):
    """A rule of discretization."""

    @property
    def needs_supernet(self) -> bool:
        """Whether it looks at more than the logits, so that it cannot be repeated from a search's records."""
        ...

    def preview(self, domain: Domain, logits: Mapping[str, Tensor], relaxation: Relaxation) -> Architecture:
        """An architecture of `domain` from the logits alone: what stands after an epoch, at no cost."""
        ...

    def select(self, scene: Scene) -> Architecture:
        """The architecture that the search has found.

        Raises:
            InputError: the rule does not work with this supernet.
        """
        ...
