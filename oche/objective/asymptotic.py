"""AllegroNAS: the unrolled gradient of the validation loss and, ever more, of the training loss.

"Enhanced Differentiable Architecture Search Based on Asymptotic Regularization" (CMC 2024). The logits move along
`dL_valid(w', a)/da + chi dL_train(w', a)/da`, both differentiated through the step to `w'` on the same batches (Eq.
4-5), with `chi` rising linearly over the first `H` epochs.

Eq. 6 prints `chi = (chi_max - chi_min) tau / H`, without offset and without a word on what follows epoch H. Here `chi =
chi_min + (chi_max - chi_min) min(tau / H, 1)`, which is the same up to H for the paper's `chi_min = 0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from oche.moment import Moment
from oche.objective.base import Bilevel, InnerStep, Point
from oche.objective.unrolled import look_ahead, through_step
from oche.schedule import Epochs, Length


@dataclass(frozen=True, kw_only=True)
class Asymptotic:
    """`dL_valid(w'(a), a)/da + chi dL_train(w'(a), a)/da`.

    Attributes:
        chi_min: `chi` in the first epoch.
        chi_max: `chi` after the horizon.
        horizon: `H`, the part of the search in which it rises.
        radius: length of the displacements in the finite differences.
    """

    CITES: ClassVar[tuple[str, ...]] = ("allegro",)

    chi_min: float = 0.0
    chi_max: float = 0.1
    horizon: Length = Epochs(25)
    radius: float = 0.01

    def chi(self, now: Moment) -> float:
        """The coefficient of Eq. 6."""
        horizon = self.horizon.of(now.epochs)
        risen = min(now.epoch / horizon, 1.0) if horizon else 1.0
        return self.chi_min + (self.chi_max - self.chi_min) * risen

    def check(self, optimizer: torch.optim.Optimizer) -> None:
        """The step of the weights must be one that can be written down: plain SGD.

        Raises:
            InputError: it is another optimizer.
        """
        InnerStep.of(optimizer)

    def gradient(self, problem: Bilevel, point: Point) -> dict[str, Tensor]:
        """Seven evaluations: w', then both losses there, each with two displaced ones (w1 to w4 of Eq. 5)."""
        inner = InnerStep.of(point.optimizer, point.clip)
        ahead = look_ahead(problem, point, inner)
        valid = through_step(problem, point, inner, ahead, problem.valid, point.valid_batch, self.radius)
        train = through_step(problem, point, inner, ahead, problem.train, point.train_batch, self.radius)
        chi = self.chi(point.now)
        return {key: valid[key] + chi * train[key] for key in valid}
