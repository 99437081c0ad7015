"""What a network adds to its training loss: the loss of a second head, or a penalty of its own."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from oche.metrics import Loss
from oche.nn.mixture import Mixture


@runtime_checkable
class WithAuxiliary(Protocol):
    """A network whose training loss may have a second part."""

    def with_auxiliary(self, x: Any, mixture: Mixture) -> tuple[Tensor, Tensor | None]:
        """The output, and what `auxiliary_loss` needs; None: there is no second part."""
        ...

    def auxiliary_loss(self, inner: Tensor, target: Any, loss: Loss) -> Tensor:
        """The second part (a scalar), before its weight.

        Args:
            inner: what `with_auxiliary` gave beside the output.
            target: of the batch.
            loss: the training loss, for networks whose second part is a loss of further outputs.
        """
        ...
