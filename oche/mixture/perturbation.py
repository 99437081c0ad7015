"""SDARTS: the weights are trained under perturbed mixing weights, so that the loss is flat around the mixture.

Chen and Hsieh, "Stabilizing Differentiable Architecture Search via Perturbation-based Regularization", ICML 2020.
Perturbed are the *mixing weights*, in the weight step only, and the logits do not change (Wang-2021 speaks of Gaussian
noise on alpha; the paper and its code do this). After a perturbation each row is put back on the simplex: clamped to
[0, 1], an all-zero row becomes 1 at the largest clean weight, divided by its sum.

The radius grows linearly over the search, `eps = 0.03 + 0.27 e / E`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from oche.moment import Moment
from oche.nn.mixture import Mixture
from oche.schedule import Linear, Schedule

RADIUS = Linear(0.03, 0.30)
"""Of the paper, over the finished share of the epochs."""


class TrainingLoss(Protocol):
    """The loss of this step's training batch at other mixing weights, by the supernet in evaluation mode."""

    def __call__(self, mixture: Mixture) -> Tensor:
        """A scalar, differentiable with respect to the mixture; nothing in the supernet moves."""
        ...


class Perturbation(Protocol):
    """Changes the mixture of the weight step."""

    def apply(self, mixture: Mixture, now: Moment, loss: TrainingLoss) -> Mixture:
        """The perturbed mixture, from the current random state.

        Args:
            mixture: the clean one, detached; rows on the simplex.
            now: of the search.
            loss: of the training batch.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Unperturbed:
    """Leaves the mixture as it is."""

    def apply(self, mixture: Mixture, now: Moment, loss: TrainingLoss) -> Mixture:
        """The same."""
        return mixture


@dataclass(frozen=True, kw_only=True)
class UniformPerturbation:
    """SDARTS-RS: `a + U(-eps, eps)`, back on the simplex.

    Attributes:
        radius: `eps` over the finished share of the epochs.
    """

    CITES: ClassVar[tuple[str, ...]] = ("sdarts",)

    radius: Schedule = RADIUS

    def apply(self, mixture: Mixture, now: Moment, loss: TrainingLoss) -> Mixture:
        """One draw for every row."""
        eps = self.radius.at(now.fraction)
        noise = {key: torch.empty_like(a).uniform_(-eps, eps) for key, a in mixture.items()}
        return {key: on_simplex(a + noise[key], a) for key, a in mixture.items()}


@dataclass(frozen=True, kw_only=True)
class AdversarialPerturbation:
    """SDARTS-ADV: projected gradient ascent of the training loss in a box around the mixture.

    The gradient is taken through the division by the sum; the box, and [0, 1] with it, holds before that. The rows
    themselves stay in [0, 1] all along: outside and at its ends a clamp passes no gradient, and a weight that starts
    there could never come back. The clean mixture stays where the ascent did not raise the loss,
    so that the perturbation never lowers it.

    Attributes:
        radius: `eps` over the finished share of the epochs.
        steps: of the ascent; each moves by `2 eps / steps` along the sign of the gradient.
    """

    CITES: ClassVar[tuple[str, ...]] = ("sdarts",)

    radius: Schedule = RADIUS
    steps: int = 7

    def apply(self, mixture: Mixture, now: Moment, loss: TrainingLoss) -> Mixture:
        """From a random start in the box."""
        eps = self.radius.at(now.fraction)
        lowest = {key: (a - eps).clamp_min(0) for key, a in mixture.items()}
        highest = {key: (a + eps).clamp_max(1) for key, a in mixture.items()}
        rows = {
            key: (a + torch.empty_like(a).uniform_(-eps, eps)).clamp(lowest[key], highest[key])
            for key, a in mixture.items()
        }
        for _ in range(self.steps):
            free = {key: row.requires_grad_() for key, row in rows.items()}
            risen = loss({key: normalized(free[key], a) for key, a in mixture.items()})
            gradients = torch.autograd.grad(risen, list(free.values()), allow_unused=True, materialize_grads=True)
            rows = {
                key: (row.detach() + 2 * eps / self.steps * g.sign()).clamp(lowest[key], highest[key])
                for (key, row), g in zip(free.items(), gradients, strict=True)
            }
        with torch.no_grad():
            perturbed = {key: normalized(rows[key], a) for key, a in mixture.items()}
            higher = loss(perturbed) > loss(mixture)
            return {key: torch.where(higher, perturbed[key], a) for key, a in mixture.items()}


def on_simplex(rows: Tensor, clean: Tensor) -> Tensor:
    """Rows (`... x candidates`) clamped to [0, 1], divided by their sum; an all-zero one becomes `clean`'s argmax."""
    return normalized(rows.clamp(0, 1), clean)


def normalized(rows: Tensor, clean: Tensor) -> Tensor:
    """Rows within [0, 1], divided by their sum; an all-zero one becomes `clean`'s argmax."""
    empty = rows.sum(-1, keepdim=True) == 0
    strongest = torch.zeros_like(clean).scatter_(-1, clean.argmax(-1, keepdim=True), 1.0)
    filled = torch.where(empty, strongest, rows)
    return filled / filled.sum(-1, keepdim=True)
