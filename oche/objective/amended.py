"""Amended-DARTS: the second term of the hypergradient with `H` in the place of `H^-1`.

Bi et al., "Stabilizing DARTS with Amended Gradient Estimation on Architectural Parameters". At the optimum of the
weights the gradient of the logits is `g1 + g2` with `g2 = -d2L_train/(da dw) H^-1 dL_valid/dw` (Eq. 4). The paper
replaces the inverse:

1. `g1 = dL_valid(w, a)/da` and `v = dL_valid(w, a)/dw`, at the current weights;
2. `H v`, with `H` the Hessian of the training loss in the weights, without weight decay;
3. `g2' = -eta d2L_train/(da dw) H v` (Eq. 5); the gradient is `g1 + g2'`.

Two routes compute the products. `FiniteDifferences` is the paper's (Eq. 14-15): four gradients of the training loss.
`ExactProducts` differentiates twice and needs a network with second derivatives.

**What is true of the sign.** Appendix A.3 claims `<g2', g2> >= 0` in general. That is false: for `H = diag(1, 4)`, `v =
(1, 1)` and `d2L_train/(da dw) = (1, -0.5)`, `g2 = -0.875` and `g2' = +0.1` at `eta = 0.1` (a test keeps it). It holds
for a single weight, for `v` an eigenvector of `H`, and for orthogonal mixed derivatives. Nor does the amended gradient
have the right sign wherever `g2'` has: on `L = (w x - A)^2` with `x = 1` for training and 2 for validation the true
gradient at `w = A` is `2A`, and `g1 + g2' = (-2 + 16 eta) A`, which at the paper's `eta = 0.1` is still negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from oche.nn.mixture import each
from oche.objective.base import Bilevel, Point, mixture_gradient, weight_gradient
from oche.objective.unrolled import displaced, displacement, mixed_product


class Products(Protocol):
    """A way to multiply with the second derivatives of the training loss."""

    def mixed_after_hessian(self, problem: Bilevel, point: Point, direction: Sequence[Tensor]) -> dict[str, Tensor]:
        """`d2L_train/(da dw) H direction`, one entry per key of the mixture."""
        ...


@dataclass(frozen=True, kw_only=True)
class FiniteDifferences:
    """Central differences (Eq. 14-15), two gradients in the weights and two in the mixing weights.

    Attributes:
        radius: length of the first displacement, `eps ||v||`.
        own_radius: displace by `radius / ||H v||` the second time, where the paper keeps `eps`, so that the length of
            the displacement depends on the size of `H v`.
    """

    radius: float = 0.01
    own_radius: bool = False

    def mixed_after_hessian(self, problem: Bilevel, point: Point, direction: Sequence[Tensor]) -> dict[str, Tensor]:
        """See `Products`."""
        eps = displacement(direction, self.radius)
        fixed = each(point.mixture, Tensor.detach)
        sides = []
        for shifted in displaced(point.weights, direction, eps):
            free = [w.requires_grad_() for w in shifted]
            sides.append(weight_gradient(problem.train(free, fixed, point.train_batch), free))
        # Eq. 14: H v = (dL_train(w + eps v)/dw - dL_train(w - eps v)/dw) / (2 eps).
        product = [(plus - minus) / (2 * eps) for plus, minus in zip(*sides, strict=True)]
        # Eq. 15: w3 and w4 are w +- eps H v.
        return mixed_product(problem, point, product, displacement(product, self.radius) if self.own_radius else eps)


@dataclass(frozen=True, kw_only=True)
class ExactProducts:
    """Hessian-vector products by differentiating twice."""

    def mixed_after_hessian(self, problem: Bilevel, point: Point, direction: Sequence[Tensor]) -> dict[str, Tensor]:
        """See `Products`."""
        free = [w.detach().requires_grad_() for w in point.weights]
        loss = problem.train(free, point.mixture, point.train_batch)
        gradient = torch.autograd.grad(loss, free, create_graph=True, allow_unused=True, materialize_grads=True)
        along = _inner(gradient, direction)
        product = torch.autograd.grad(along, free, retain_graph=True, allow_unused=True, materialize_grads=True)
        return mixture_gradient(_inner(gradient, product), point.mixture)


@dataclass(frozen=True, kw_only=True)
class Amended:
    """`dL_valid(w, a)/da - eta d2L_train/(da dw) H dL_valid/dw` (Eq. 5).

    Attributes:
        eta: the amending coefficient.
        products: how second derivatives are multiplied with.
    """

    CITES: ClassVar[tuple[str, ...]] = ("amended",)

    eta: float = 0.1
    products: Products = FiniteDifferences()

    def check(self, optimizer: torch.optim.Optimizer) -> None:
        """Every optimizer of the weights will do: no step is looked ahead."""

    def gradient(self, problem: Bilevel, point: Point) -> dict[str, Tensor]:
        """One evaluation on the validation batch, and what `products` needs on the training batch."""
        free = [w.detach().requires_grad_() for w in point.weights]
        loss = problem.valid(free, point.mixture, point.valid_batch)
        both = torch.autograd.grad(loss, [*point.mixture.values(), *free], allow_unused=True, materialize_grads=True)
        count = len(point.mixture)
        first = dict(zip(point.mixture, both[:count], strict=True))
        mixed = self.products.mixed_after_hessian(problem, point, both[count:])
        return {key: first[key] - self.eta * mixed[key] for key in first}


def _inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """The inner product of two lists of tensors."""
    return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()
