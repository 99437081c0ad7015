"""The second-order objective of DARTS: differentiate through one step of the weights.

1. `w' = w - lr (momentum v + dL_train/dw + decay w)`, unclipped (AllegroNAS Eq. 2; DARTS Eq. 6);
2. `g1 = dL_valid(w', a)/da` and `v = dL_valid(w', a)/dw'`;
3. the mixed second derivative by central differences, with `eps = 0.01 / ||v||` (AllegroNAS Eq. 3; DARTS Eq. 8):
   `d2L_train/(da dw) v = (dL_train(w + eps v, a)/da - dL_train(w - eps v, a)/da) / (2 eps)`;
4. the gradient is `g1 - lr d2L_train/(da dw) v` (DARTS Eq. 7), since `dw'/da = -lr d2L_train/(dw da)`: decay and
   momentum do not depend on `a`.

All of it is taken with respect to the mixing weights. This equals the paper's gradient after the vector-Jacobian
product to the logits, because that product is the same linear map for both terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from oche.objective.base import Bilevel, InnerStep, Point, mixture_gradient, weight_gradient


@dataclass(frozen=True, kw_only=True)
class Unrolled:
    """`dL_valid(w'(a), a) / da`.

    Attributes:
        radius: the length of the displacement `eps ||v||` in the finite difference.
    """

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
        inner = InnerStep.of(point.optimizer)
        w, a = point.weights, point.mixture
        free = [x.detach().requires_grad_() for x in w]
        fixed = {key: x.detach() for key, x in a.items()}
        # Step 1: w' (DARTS Eq. 6).
        ahead = inner.apply(w, weight_gradient(problem.train(free, fixed, point.train_batch), free))

        # Step 2: g1 and v, at w'.
        ahead = [x.detach().requires_grad_() for x in ahead]
        loss = problem.valid(ahead, a, point.valid_batch)
        both = torch.autograd.grad(loss, [*a.values(), *ahead], allow_unused=True, materialize_grads=True)
        first, direction = dict(zip(a, both[: len(a)], strict=True)), both[len(a) :]

        # Steps 3 and 4: g1 - lr d2L_train/(da dw) v (DARTS Eq. 7, 8).
        mixed = mixed_product(problem, point, direction, self.radius)
        return {key: first[key] - inner.lr * mixed[key] for key in a}


def mixed_product(problem: Bilevel, point: Point, direction: Sequence[Tensor], radius: float) -> dict[str, Tensor]:
    """`d2L_train/(da dw) direction` by central differences, `eps = radius / ||direction||`; 0 for direction 0."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(d) for d in direction]))
    # Where the norm is zero, so is every displacement and the difference; any positive eps avoids 0/0.
    eps = torch.where(norm > 0, radius / norm, torch.ones_like(norm))
    sides = []
    for sign in (1, -1):
        shifted = [w + sign * eps * d for w, d in zip(point.weights, direction, strict=True)]
        sides.append(mixture_gradient(problem.train(shifted, point.mixture, point.train_batch), point.mixture))
    return {key: (sides[0][key] - sides[1][key]) / (2 * eps) for key in point.mixture}
