"""The bilevel problem of one search step: a supernet, a loss, and one random state for all evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from oche.data.batches import Batch
from oche.evaluation import evaluating
from oche.metrics import Loss
from oche.nn.mixture import Mixture
from oche.nn.supernet import Supernet
from oche.randomness import frozen


@dataclass(frozen=True)
class SupernetProblem:
    """Losses of a supernet as functions of its weights and mixing weights.

    Attributes:
        supernet: the network.
        loss: the loss of a batch.
        seed: fixes every random draw of this step.
        device: where the supernet lives.
        auxiliary: weight of the auxiliary head's loss, or of the network's own penalty, in the training loss; 0: it
            is not evaluated.
    """

    supernet: Supernet
    loss: Loss
    seed: int
    device: torch.device
    auxiliary: float = 0.0

    def train(self, weights: Sequence[Tensor], mixture: Mixture, batch: Batch) -> Tensor:
        """The loss at other weights; running statistics do not move."""
        with frozen(self.seed, self.device):
            if not self.auxiliary:
                return self.loss(self.supernet.with_weights(weights, mixture, batch[0]), batch[1])
            return self._with_head(*self.supernet.both_with_weights(weights, mixture, batch[0]), batch[1])

    def valid(self, weights: Sequence[Tensor], mixture: Mixture, batch: Batch) -> Tensor:
        """The same function of a validation batch, without the auxiliary loss: it is about the network's own output."""
        with frozen(self.seed, self.device):
            return self.loss(self.supernet.with_weights(weights, mixture, batch[0]), batch[1])

    def loss_at(self, mixture: Mixture, batch: Batch) -> Tensor:
        """The training loss at other mixing weights and the supernet's own, by running statistics; nothing moves."""
        with frozen(self.seed, self.device), evaluating(self.supernet):
            return self._training_loss(mixture, batch)[0]

    def forward(self, mixture: Mixture, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss and output at the supernet's own weights: the one evaluation of a step that moves running statistics."""
        with frozen(self.seed, self.device):
            return self._training_loss(mixture, batch)

    def _training_loss(self, mixture: Mixture, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss and output at the supernet's own weights."""
        if not self.auxiliary:
            output = self.supernet(batch[0], mixture)
            return self.loss(output, batch[1]), output
        output, inner = self.supernet.with_auxiliary(batch[0], mixture)
        return self._with_head(output, inner, batch[1]), output

    def _with_head(self, output: Tensor, inner: Tensor | None, target: Tensor) -> Tensor:
        assert inner is not None
        return self.loss(output, target) + self.auxiliary * self.supernet.auxiliary_loss(inner, target, self.loss)
