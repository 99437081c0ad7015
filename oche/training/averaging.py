"""Averaged SGD that begins by itself (Merity, Keskar, Socher: Regularizing and Optimizing LSTM Language Models. 2018).

Algorithm 1 (NT-ASGD): SGD with a constant rate goes on until the validation loss has not improved for some validations;
from then on the network that counts has the mean of the weights after every step, while the steps themselves go on from
the weights as they are.

The public code averages by `torch.optim.ASGD(t0=0, lambd=0)`, whose mean leaves out the first step after the switch;
the mean here is of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from oche.errors import InputError
from oche.schedule import Length


@dataclass(frozen=True, kw_only=True)
class NonMonotone:
    """Averaging begins when the validation loss is worse than the best one, the newest ones aside.

    In a short training that may or may not happen, and decides more than the network does: so there it begins in any
    case after some time, which Algorithm 1 does not have.

    Attributes:
        interval: `n`, how many of the newest earlier losses are left aside.
        latest: of all epochs, the part after which it begins in any case; None: never.

    Raises:
        InputError: there are no losses to leave aside.
    """

    interval: int = 5
    latest: Length | None = None

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise InputError(f"averaging needs interval >= 1, but got interval={self.interval}")

    def begins(self, losses: Sequence[float], epochs: int) -> bool:
        """Whether it does after these validation losses, the newest one last, of a training of so many epochs.

        With `t` losses before the newest one `v`: `t > n` and `v > min(losses[0], ..., losses[t - n - 1])`.
        """
        if self.latest is not None and len(losses) >= max(self.latest.of(epochs), 1):
            return True
        before = losses[:-1]
        return len(before) > self.interval and losses[-1] > min(before[: -self.interval])


class Average:
    """The mean of a network's parameters after every step since it was made; buffers are the network's own.

    Args:
        model: is not changed.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._current = list(model.parameters())
        self._mean = [w.detach().clone() for w in self._current]
        self._steps = 0

    @torch.no_grad()
    def take(self) -> None:
        """A step was made: take in the parameters of the model as they are now."""
        self._steps += 1
        # m + (w - m) / n. PyTorch's AveragedModel does the same, but waits for the device at every step.
        torch._foreach_lerp_(self._mean, [w.detach() for w in self._current], 1 / self._steps)

    def __call__(self, x: Any) -> Tensor:
        """What the model returns for `x` with the mean parameters."""
        of = self._of()
        mean = {name: of[id(w)] for name, w in self._model.named_parameters()}
        return functional_call(self._model, mean, (x,))  # type: ignore[no-any-return]

    def weights(self) -> dict[str, Tensor]:
        """The model's state with the mean parameters."""
        of, names = self._of(), self._model.named_parameters(remove_duplicate=False)
        return self._model.state_dict() | {name: of[id(w)].detach() for name, w in names}

    def state(self) -> dict[str, Any]:
        """The means, and of how many steps they are."""
        return {"steps": self._steps, "mean": self._mean}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        self._steps = state["steps"]
        for mean, kept in zip(self._mean, state["mean"], strict=True):
            mean.copy_(kept)

    def _of(self) -> dict[int, Tensor]:
        """The mean of each parameter, by its identity."""
        return {id(w): mean for w, mean in zip(self._current, self._mean, strict=True)}
