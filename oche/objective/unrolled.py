"""The second-order objective of DARTS: differentiate through one step of the weights.

1. `w' = w - lr (momentum v + dL_train/dw + decay w)` (AllegroNAS Eq. 2; DARTS Eq. 6);
2. `g1 = dL_valid(w', a)/da` and `v = dL_valid(w', a)/dw'`;
3. the mixed second derivative by central differences, with `eps = 0.01 / ||v||` (AllegroNAS Eq. 3; DARTS Eq. 8):
   `d2L_train/(da dw) v = (dL_train(w + eps v, a)/da - dL_train(w - eps v, a)/da) / (2 eps)`;
4. the gradient is `g1 - lr d2L_train/(da dw) v` (DARTS Eq. 7), since `dw'/da = -lr d2L_train/(dw da)`: decay and
   momentum do not depend on `a`.

On images nothing is clipped. On text (`Point.clip`) the gradient of step 1 and the `v` of steps 3 and 4 are, as in the
public code of DARTS' recurrent search, which moreover adds the decay of `w'` to `v`: `L_valid` has none, so we do not.

All of it is taken with respect to the mixing weights. This equals the paper's gradient after the vector-Jacobian
product to the logits, because that product is the same linear map for both terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from oche.data.batches import Batch
from oche.nn.mixture import Mixture, each
from oche.objective.base import Bilevel, InnerStep, Point, length, mixture_gradient, weight_gradient


@dataclass(frozen=True, kw_only=True)
class Unrolled:
    """`dL_valid(w'(a), a) / da`.

    Attributes:
        radius: the length of the displacement `eps ||v||` in the finite difference.
    """

    CITES: ClassVar[tuple[str, ...]] = ("darts",)

    radius: float = 0.01

    def check(self, optimizer: torch.optim.Optimizer) -> None:
        """The step of the weights must be one that can be written down: plain SGD.

        Raises:
            InputError: it is another optimizer.
        """
        InnerStep.of(optimizer)

    def gradient(self, problem: Bilevel, point: Point) -> dict[str, Tensor]:
        """Four evaluations with a backward pass each: w', validation at w', training at w + eps v and w - eps v.

        Raises:
            InputError: the weights are not optimized by plain SGD.
        """
        inner = InnerStep.of(point.optimizer, point.clip)
        ahead = look_ahead(problem, point, inner)
        return through_step(problem, point, inner, ahead, problem.valid, point.valid_batch, self.radius)


Loss: TypeAlias = Callable[[Sequence[Tensor], Mixture, Batch], Tensor]
"""The training or the validation loss of a bilevel problem."""


def look_ahead(problem: Bilevel, point: Point, inner: InnerStep) -> list[Tensor]:
    """Step 1: `w'`, where the next step of the weights leads (DARTS Eq. 6); leaves that require a gradient."""
    free = [w.detach().requires_grad_() for w in point.weights]
    fixed = each(point.mixture, Tensor.detach)
    ahead = inner.apply(point.weights, weight_gradient(problem.train(free, fixed, point.train_batch), free))
    return [w.detach().requires_grad_() for w in ahead]


def through_step(
    problem: Bilevel,
    point: Point,
    inner: InnerStep,
    ahead: Sequence[Tensor],
    outer: Loss,
    batch: Batch,
    radius: float,
) -> dict[str, Tensor]:
    """Steps 2 to 4: `d outer(w'(a), a) / da` for an outer loss on a batch.

    Args:
        problem: the two losses.
        point: where the gradient is taken.
        inner: the step from the weights to `ahead`.
        ahead: `w'`.
        outer: the loss to differentiate through that step.
        batch: what it is evaluated on.
        radius: length of the displacement in the finite difference.
    """
    a = point.mixture
    # Step 2: g1 and v, at w'.
    loss = outer(ahead, a, batch)
    both = torch.autograd.grad(loss, [*a.values(), *ahead], allow_unused=True, materialize_grads=True)
    first, direction = dict(zip(a, both[: len(a)], strict=True)), inner.clipped(both[len(a) :])
    # Steps 3 and 4: g1 - lr d2L_train/(da dw) v (DARTS Eq. 7, 8).
    mixed = mixed_product(problem, point, direction, displacement(direction, radius))
    return {key: first[key] - inner.lr * mixed[key] for key in a}


def mixed_product(problem: Bilevel, point: Point, direction: Sequence[Tensor], eps: Tensor) -> dict[str, Tensor]:
    """`d2L_train/(da dw) direction` by central differences at `w +- eps direction`."""
    plus, minus = (
        mixture_gradient(problem.train(shifted, point.mixture, point.train_batch), point.mixture)
        for shifted in displaced(point.weights, direction, eps)
    )
    return {key: (plus[key] - minus[key]) / (2 * eps) for key in point.mixture}


def displacement(direction: Sequence[Tensor], radius: float) -> Tensor:
    """`eps = radius / ||direction||`, so that `eps direction` has the length `radius`."""
    norm = length(direction)
    # Where the norm is zero, so is every displacement and the difference; any positive eps avoids 0/0.
    return torch.where(norm > 0, radius / norm, torch.ones_like(norm))


def displaced(weights: Sequence[Tensor], direction: Sequence[Tensor], eps: Tensor) -> list[list[Tensor]]:
    """`w + eps direction` and `w - eps direction`."""
    return [[w + sign * eps * d for w, d in zip(weights, direction, strict=True)] for sign in (1, -1)]
