"""The dominant eigenvalue of the validation loss's Hessian in the logits (R-DARTS, Zela et al. 2020).

Architectures found where the loss is sharply curved in the logits lose most when they are discretized (R-DARTS;
Wang-2021, Sec. 2.2). The loss is that of the mean mixture, with batch statistics, at fixed weights:

1. `g(A) = dL_valid(w, mean(A))/dA`, once, with its graph;
2. power iteration `v, H v, H (H v), ...`, where `H v = d<g, v>/dA` is exact (double backward), no difference quotient;
3. the best eigenvector in the span of all of them (Rayleigh-Ritz; the Lanczos method). The last of them alone, as in
   the plain power iteration, needs several times as many products, and never settles where two eigenvalues differ in
   sign alone. For `||v|| = 1` and symmetric `H` an eigenvalue lies within `||H v - (v^T H v) v||` of `v^T H v`; the
   iteration ends when that is small.

"Dominant" is the eigenvalue of the largest absolute value, with its sign. R-DARTS looks at how it *grows* within a
search; the number of one moment has no threshold, because it depends on the temperature and the loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from oche.evaluation import by_batch
from oche.nn.cell import one_by_one
from oche.nn.recording import graphs, rewired
from oche.nn.supernet import weights
from oche.probe.few import first_batch
from oche.randomness import derive, frozen, generator
from oche.select.scene import Scene

IMAGES = 32
"""Of the one batch that is looked at: the graph of a double backward pass lies in memory as a whole."""

PRODUCTS = 20
"""Largest number of Hessian-vector products; each costs about as much as a gradient of the logits."""

TOLERANCE = 0.05
"""Of the residual, relative to the eigenvalue. Where eigenvalues are apart, the error is of the order of its square."""


@dataclass(frozen=True, kw_only=True)
class Eigenvalue:
    """The end of an iteration.

    Attributes:
        value: the Rayleigh quotient, in units of the loss per squared logit.
        residual: some eigenvalue lies at most this far from it.
        products: Hessian-vector products that were made.
    """

    value: float
    residual: float
    products: int

    @property
    def converged(self) -> bool:
        """Whether the iteration ended by itself."""
        return self.residual <= TOLERANCE * abs(self.value)


def dominant_eigenvalue(
    scene: Scene, *, images: int = IMAGES, products: int = PRODUCTS, tolerance: float = TOLERANCE
) -> Eigenvalue:
    """By repeated products, from a start that the scene's seed fixes.

    Args:
        scene: what remains of its decisions is what the Hessian is about.
        images: of the first batch, at most.
        products: Hessian-vector products, at most.
        tolerance: of the residual, relative to the eigenvalue.

    Raises:
        RuntimeError: the supernet or the loss refuses a second derivative. PyTorch does not notice an operation of the
            user's that is marked `once_differentiable`; its part of the Hessian is then missing.
    """
    x, y = first_batch(scene, images)
    values = {key: value.clone().requires_grad_() for key, value in scene.logits.items()}
    variables, cells = list(values.values()), graphs(scene.supernet)
    # The reference, since PyTorch differentiates it twice at no more than its own cost.
    with (
        frozen(derive(scene.seed, "eigenvalue"), scene.device),
        by_batch(scene.supernet),
        rewired(cells, [one_by_one] * len(cells)),
    ):
        fixed = [w.detach() for w in weights(scene.supernet)]
        mixture = scene.widened(scene.relaxation.mean(values))
        loss = scene.loss(scene.supernet.with_weights(fixed, mixture, x), y)
        gradient = _flat(
            torch.autograd.grad(loss, variables, create_graph=True, allow_unused=True, materialize_grads=True)
        )
        v = torch.randn(gradient.shape, generator=generator(scene.seed, "eigenvalue"), dtype=gradient.dtype)
        v = v.to(gradient.device)
        basis, images_of = gradient.new_zeros(0, len(v)), gradient.new_zeros(0, len(v))
        value = residual = 0.0
        while len(basis) < min(products, len(v)):
            basis = torch.cat([basis, (v / v.norm())[None]])
            product = torch.autograd.grad(
                gradient, variables, basis[-1], retain_graph=True, allow_unused=True, materialize_grads=True
            )
            images_of = torch.cat([images_of, _flat(product)[None]])
            small = basis @ images_of.T
            ritz, vectors = torch.linalg.eigh((small + small.T) / 2)
            place = int(ritz.abs().argmax())
            value, of_basis = float(ritz[place]), vectors[:, place]
            residual = float((of_basis @ images_of - value * (of_basis @ basis)).norm())
            v = images_of[-1]
            for _ in range(2):  # rounding leaves a part of the basis the first time
                v = v - (basis @ v) @ basis
            if residual <= tolerance * abs(value) or v.norm() == 0:
                break
    return Eigenvalue(value=value, residual=residual, products=len(basis))


def _flat(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])
