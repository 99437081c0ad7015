"""The bilevel problem, and the interface of everything that moves the logits.

`min_A L_valid(w*(A), a(A))` subject to `w*(A) = argmin_w L_train(w, a(A))` (DARTS Eq. 3-4). An objective sees the
losses as functions of the network weights `w` and the *mixing weights* `a`, and returns a gradient with respect to
`a`; the loop applies the one vector-Jacobian product from `a` to the logits `A`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from oche.data.batches import Batch
from oche.errors import InputError
from oche.moment import Moment
from oche.nn.mixture import Mixture


class Bilevel(Protocol):
    """Two losses of the same variables. All evaluations within one step use the same random draws."""

    def train(self, weights: Sequence[Tensor], mixture: Mixture, batch: Batch) -> Tensor:
        """The training loss (a scalar)."""
        ...

    def valid(self, weights: Sequence[Tensor], mixture: Mixture, batch: Batch) -> Tensor:
        """The validation loss (a scalar)."""
        ...


@dataclass(frozen=True, kw_only=True)
class InnerStep:
    """The step of SGD that the weights are about to take: `w' = w - lr (momentum v + grad + decay w)`.

    Attributes:
        velocity: the momentum buffers `v`, one per weight; None where there is none yet (zero).
        clip: largest norm of the gradient; None: it is not clipped.
    """

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    velocity: Sequence[Tensor | None] | None = None
    clip: float | None = None

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer, clip: float | None = None) -> InnerStep:
        """Read the step from the optimizer of the weights.

        Args:
            optimizer: as it is before the step.
            clip: see the attributes.

        Raises:
            InputError: it is not plain SGD, whose step alone can be unrolled here.
        """
        group = optimizer.param_groups[0]
        if not isinstance(optimizer, torch.optim.SGD) or group["nesterov"] or group["dampening"]:
            raise InputError(
                f"an unrolled objective needs plain SGD for the weights, but got {type(optimizer).__name__} "
                "(or SGD with Nesterov momentum or dampening); choose SGD or the first-order objective"
            )
        return cls(
            lr=group["lr"],
            momentum=group["momentum"],
            weight_decay=group["weight_decay"],
            velocity=[optimizer.state[w].get("momentum_buffer") for w in group["params"]],
            clip=clip,
        )

    def apply(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """`w'` (AllegroNAS Eq. 2 with momentum and decay)."""
        gradients = self.clipped(gradients)
        velocity = self.velocity or [None] * len(weights)
        return [
            w - self.lr * ((0 if v is None else self.momentum * v) + g + self.weight_decay * w)
            for w, g, v in zip(weights, gradients, velocity, strict=True)
        ]

    def clipped(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """The gradients, shorter where together they are longer than `clip`."""
        if self.clip is None:
            return gradients
        factor = (self.clip / length(gradients).clamp(min=self.clip)).detach()
        return [factor * g for g in gradients]


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where a hypergradient is taken.

    Attributes:
        weights: the network weights, detached.
        mixture: the mixing weights of this step, detached leaves that require a gradient.
        train_batch: the batch of the training half.
        valid_batch: the batch of the validation half.
        optimizer: the optimizer of the weights, whose next step an objective may look ahead to.
        now: where the search stands.
        clip: largest norm of the gradients with which an objective looks ahead; None: they are not clipped.
    """

    weights: Sequence[Tensor]
    mixture: Mixture
    train_batch: Batch
    valid_batch: Batch
    optimizer: torch.optim.Optimizer
    now: Moment
    clip: float | None = None


class Objective(Protocol):
    """A rule for the gradient that moves the logits."""

    def check(self, optimizer: torch.optim.Optimizer) -> None:
        """Refuse, before the search, an optimizer of the weights that this objective cannot work with.

        Raises:
            InputError: it cannot.
        """
        ...

    def gradient(self, problem: Bilevel, point: Point) -> dict[str, Tensor]:
        """The gradient with respect to each entry of `point.mixture`."""
        ...


def length(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all numbers of all tensors (a scalar)."""
    norms = torch.stack([torch.linalg.vector_norm(t) for t in tensors])
    return torch.linalg.vector_norm(norms)  # type: ignore[no-any-return]


def mixture_gradient(loss: Tensor, mixture: Mixture) -> dict[str, Tensor]:
    """`d loss / d a`; zero where the loss does not depend on an entry. No other gradient is computed."""
    gradients = torch.autograd.grad(loss, list(mixture.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(mixture, gradients, strict=True))


def weight_gradient(loss: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """`d loss / d w`; zero where the loss does not depend on a weight."""
    return torch.autograd.grad(loss, list(weights), allow_unused=True, materialize_grads=True)
