"""One step of a search, logits first and then weights (methods.md, "Step").

1. draw the mixture `a` from the logits `A`;
2. the objective gives a gradient with respect to `a`, one vector-Jacobian product takes it to `A`, and the logits'
   optimizer steps;
3. redraw `a` with the same random numbers from the moved logits, and step the weights on the training batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from oche.data.batches import Batch
from oche.methods import Method
from oche.metrics import Loss
from oche.mixture.groups import EdgeGroups
from oche.moment import Moment
from oche.nn.mixture import Mixture, each, live_in
from oche.nn.supernet import Supernet, logits, weights
from oche.nn.widening import Replaced
from oche.objective.base import Point
from oche.objective.problem import SupernetProblem
from oche.optim import (
    OptimizerSettings,
    clip_gradients,
    finite_or_zero,
    follow,
    scaled_rate,
    set_decay,
    set_rate,
    step_share,
)
from oche.randomness import derive, frozen
from oche.remaining import Remaining
from oche.text.window import Window


class SearchStep:
    """One step of a search: its optimizers, and what they do with a batch of each half.

    Args:
        supernet: trained in place.
        method: a part on each axis.
        loss: the loss of a batch.
        device: where the supernet lives.

    Attributes:
        remaining: what has not been decided yet; a stage may change it between two steps.
        relaxation: logits to mixing weights; a stage may change it between two steps.
        groups: the sets of edges, where they compete; a stage may change it between two steps.

    Raises:
        InputError: the method's parts do not fit together.
    """

    def __init__(self, supernet: Supernet, method: Method, loss: Loss, device: torch.device) -> None:
        self._supernet, self._method, self._loss, self._device = supernet, method, loss, device
        self.remaining = Remaining()
        self.relaxation = method.relaxation
        self.groups: EdgeGroups | None = None
        self._lost: Tensor | int = 0
        self._sizes = {key: len(value) for key, value in logits(supernet).items()}
        self.begin_weights(method.weight_optimizer)
        self.begin_logits()
        method.objective.check(self._weight_optimizer)

    def begin_weights(self, settings: OptimizerSettings) -> None:
        """A new optimizer of the weights, which may be others now."""
        self._weights, self._weight_settings = weights(self._supernet), settings
        self._weight_optimizer = settings.build(self._weights)
        decay = self._method.regularization.numbers.weight_decay
        if decay is not None:
            set_decay(self._weight_optimizer, decay)

    def begin_logits(self) -> None:
        """A new optimizer of the logits."""
        self._logit_optimizer = self._method.logit_optimizer.build(logits(self._supernet).values())

    def replace_weights(self, replaced: Iterable[Replaced]) -> None:
        """Some weights of the supernet are others now; their optimizer goes on with what it knows of the old ones."""
        follow(self._weight_optimizer, replaced)
        self._weights = weights(self._supernet)

    def state(self) -> dict[str, Any]:
        """Of both optimizers."""
        return {
            "weights": self._weight_optimizer.state_dict(),
            "logits": self._logit_optimizer.state_dict(),
            "lost": self.lost,
        }

    @property
    def lost(self) -> int:
        """Steps of the weights whose gradient overflowed on its way back through time. Waits for the device."""
        return int(self._lost)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the state of both optimizers."""
        self._weight_optimizer.load_state_dict(state["weights"])
        self._logit_optimizer.load_state_dict(state["logits"])
        self._lost = state.get("lost", 0)  # what was kept before there were texts has no such entry

    def set_rates(self, fraction: float) -> dict[str, float]:
        """Set both learning rates for the finished fraction of the epochs, and return them by name."""
        weight_rate = self._weight_settings.lr.at(fraction)
        logit_rate = self._method.logit_optimizer.lr.at(fraction)
        set_rate(self._weight_optimizer, weight_rate)
        set_rate(self._logit_optimizer, logit_rate)
        return {"weight_rate": weight_rate, "logit_rate": logit_rate}

    def __call__(
        self, train_batch: Batch, valid_batch: Batch, *, seed: int, now: Moment, move_logits: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Update the logits, then the weights (or in the other order, if the method says so).

        Args:
            train_batch: of the training half.
            valid_batch: of the validation half.
            seed: fixes every draw of this step.
            now: where the search stands.
            move_logits: whether the logits are updated.

        Returns:
            Loss and output of the training batch, before the weights moved.
        """
        auxiliary = self._method.regularization.numbers.auxiliary
        problem = SupernetProblem(self._supernet, self._loss, seed, self._device, auxiliary)
        # Around both: an objective that looks ahead to the step of the weights looks at this one.
        with scaled_rate(self._weight_optimizer, step_share(train_batch[0])):
            if move_logits and self._method.logits_first:
                self._move_logits(problem, now, train_batch, valid_batch)
            before = self._move_weights(problem, now, train_batch)
            if move_logits and not self._method.logits_first:
                self._move_logits(problem, now, train_batch, valid_batch)
        return before

    def _move_logits(self, problem: SupernetProblem, now: Moment, train_batch: Batch, valid_batch: Batch) -> None:
        """No gradient of the weights is kept, and no running statistic moves."""
        values = logits(self._supernet)
        narrow = self.remaining.narrow(values)
        weighted = self._weighted(self._draw(problem, now, narrow))
        point = Point(
            weights=[w.detach() for w in self._weights],
            mixture=each(self._widened(each(weighted, Tensor.detach)), Tensor.requires_grad_),
            train_batch=train_batch,
            valid_batch=valid_batch,
            optimizer=self._weight_optimizer,
            now=now,
            # As the public code: what looks ahead is clipped on text, where the rate is 20, and not on images.
            clip=self._method.clip if isinstance(train_batch[0], Window) else None,
        )
        gradient = self.remaining.narrow(self._method.objective.gradient(problem, point))
        # The one vector-Jacobian product from the mixing weights to the logits; terms depend on these alone.
        outputs, weights_of_outputs = list(weighted.values()), [gradient[key] for key in weighted]
        for term in self._method.terms:
            outputs.append(term.value(narrow, now))
            weights_of_outputs.append(torch.ones_like(outputs[-1]))
        pulled = torch.autograd.grad(
            outputs, list(values.values()), weights_of_outputs, allow_unused=True, materialize_grads=True
        )
        if isinstance(train_batch[0], Window):
            pulled = tuple(finite_or_zero(pulled))
        for value, g in zip(values.values(), pulled, strict=True):
            value.grad = g
        self._logit_optimizer.step()

    def _move_weights(self, problem: SupernetProblem, now: Moment, batch: Batch) -> tuple[Tensor, Tensor]:
        """The logits get no gradient."""
        with torch.no_grad():
            rows = self._draw(problem, now, self.remaining.narrow(logits(self._supernet)))
        with frozen(derive(problem.seed, "perturbation"), self._device):
            rows = self._method.perturbation.apply(
                rows, now, lambda other: problem.loss_at(self._widened(self._weighted(other)), batch)
            )
        mixture = self._widened(self._weighted(rows))
        loss, output = problem.forward(mixture, batch)
        self._weight_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if live_in(mixture):  # momentum and decay of candidates that did not run go on
            for w in self._weights:
                w.grad = torch.zeros_like(w) if w.grad is None else w.grad
        recurrent = isinstance(batch[0], Window)
        finite = clip_gradients(self._weights, self._method.clip, recurrent=recurrent)
        if recurrent:
            self._lost = self._lost + ~finite
        self._weight_optimizer.step()
        return loss, output

    def _draw(self, problem: SupernetProblem, now: Moment, narrow: Mapping[str, Tensor]) -> Mixture:
        """The weights of what remains."""
        # A stream of its own: the mixture must not follow the masks that the network draws from the same seed.
        with frozen(derive(problem.seed, "mixture"), self._device):
            return self.relaxation.draw(narrow, now)

    def _weighted(self, rows: Mixture) -> Mixture:
        """The weights of what remains of the edges, each times the share of the sets that hold it."""
        return rows if self.groups is None else self.groups.apply(rows)

    def _widened(self, rows: Mixture) -> Mixture:
        return self.remaining.widen(rows, self._sizes)
