"""What the parts of a fan share: the state that every edge reads, its ReLU, and the gradients that meet there.

ReLU is applied once per state instead of once per convolution, and masked once in the backward pass: with
`u = relu(x)`, the gradients of all convolutions add up in `du`, and `dx = du [x > 0]`, since the mask is the same.
Neither `u` nor any product of the mask is kept between the two passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from oche.nn.fast.normalization import Statistics, normalized


class Source:
    """A state and what is computed from it at most once.

    Attributes:
        x: the state, `N x C x H x W`.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self._positive: Tensor | None = None
        self._direct: Tensor | None = None
        self._rectified: Tensor | None = None

    @property
    def positive(self) -> Tensor:
        """`relu(x)`."""
        if self._positive is None:
            self._positive = torch.relu(self.x)
        return self._positive

    def add_direct(self, dx: Tensor) -> None:
        """Collect a gradient with respect to `x`."""
        self._direct = dx if self._direct is None else self._direct.add_(dx)

    def add_rectified(self, du: Tensor) -> None:
        """Collect a gradient with respect to `relu(x)`."""
        self._rectified = du if self._rectified is None else self._rectified.add_(du)

    def direct_target(self) -> Tensor:
        """Where to add a gradient with respect to `x` in place."""
        if self._direct is None:
            self._direct = torch.zeros_like(self.x)
        return self._direct

    def rectified_target(self) -> tuple[Tensor, bool]:
        """Where to put a gradient with respect to `relu(x)`, and whether to add it to what is there."""
        add = self._rectified is not None
        if self._rectified is None:
            self._rectified = torch.empty_like(self.x)
        return self._rectified, add

    def gradient(self) -> Tensor:
        """The sum of what was collected, with respect to `x`."""
        if self._rectified is not None:
            masked = torch.ops.aten.threshold_backward(self._rectified, self.x, 0)
            self._rectified = None
            self.add_direct(masked)
        return torch.zeros_like(self.x) if self._direct is None else self._direct


class Sums(Protocol):
    """The output of each edge of a fan, to which the parts add their candidates."""

    def add(self, edge: int, weight: Tensor, y: Tensor, statistics: Statistics | None = None) -> None:
        """Add `weight * y` (a scalar, `N x C x H x W`), normalized first where there are statistics."""
        ...

    def add_zeros(self, edge: int, like: Tensor) -> None:
        """Add zeros of a shape, which matter only where nothing else was added."""
        ...

    def of(self, edge: int) -> Tensor:
        """What was added to an edge."""
        ...


class Running:
    """`Sums` that are added up as they come."""

    def __init__(self) -> None:
        self._sums: dict[int, Tensor] = {}

    def add(self, edge: int, weight: Tensor, y: Tensor, statistics: Statistics | None = None) -> None:
        """See `Sums`."""
        z = y if statistics is None else normalized(y, statistics)
        if edge in self._sums:
            self._sums[edge].addcmul_(weight, z)
        else:
            self._sums[edge] = weight * z

    def add_zeros(self, edge: int, like: Tensor) -> None:
        """See `Sums`."""
        if edge not in self._sums:
            self._sums[edge] = torch.zeros_like(like)

    def of(self, edge: int) -> Tensor:
        """See `Sums`."""
        return self._sums[edge]


class Arriving:
    """The gradients that arrive at the outputs of a fan, and their sums over samples and pixels.

    Attributes:
        of: by edge, `N x C x H x W`.
    """

    def __init__(self, gradients: Mapping[int, Tensor]) -> None:
        self.of = gradients
        self._sums: dict[int, Tensor] = {}

    def sum(self, edge: int) -> Tensor:
        """`sum g` per channel; every candidate on the edge needs it."""
        if edge not in self._sums:
            self._sums[edge] = self.of[edge].sum(dim=(0, 2, 3))
        return self._sums[edge]
