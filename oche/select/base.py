"""The interface of everything that turns a trained supernet into an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from oche.architecture import Architecture
from oche.domain import Domain
from oche.mixture.base import Relaxation
from oche.optim import OptimizerSettings
from oche.remaining import Remaining
from oche.select.scene import Scene


class Deciding(Protocol):
    """A search whose selection decides, as `Tuning` sees it."""

    @property
    def scene(self) -> Scene:
        """The supernet as it is now."""
        ...

    def settle(self, remaining: Remaining) -> None:
        """From here on only this remains."""
        ...


class Tuning(Protocol):
    """How a selection goes on training the supernet between its decisions."""

    @property
    def optimizer(self) -> OptimizerSettings:
        """Of the weights, begun anew; its schedule runs over all of the tuning."""
        ...

    @property
    def move_logits(self) -> bool:
        """Whether the logits of what is undecided keep moving."""
        ...

    def steps(self, domain: Domain, epoch: int) -> int:
        """How many steps it takes, where an epoch of the search has so many."""
        ...

    def act(self, search: Deciding, done: int, epoch: int) -> None:
        """Make the decisions that are due: a function of the search alone, since it may be resumed here.

        Args:
            search: in which to decide.
            done: steps of tuning that are done.
            epoch: steps of an epoch of the search.
        """
        ...

    def left(self, scene: Scene) -> int:
        """How many decisions are still to be made."""
        ...

    def evaluations(self, domain: Domain) -> int:
        """How often all decisions together evaluate the validation half."""
        ...


class Selection(Protocol):
    """A rule of discretization."""

    @property
    def needs_supernet(self) -> bool:
        """Whether it looks at more than the logits, so that it cannot be repeated from a search's records."""
        ...

    @property
    def tuning(self) -> Tuning | None:
        """How it goes on training before `select`; None: it does not."""
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
