"""The supernet: a body with choices inside, and the one owner of their logits.

`weights(supernet)` and `logits(supernet)` are disjoint lists, so that no optimizer of the one touches the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from oche.metrics import Loss
from oche.nn.auxiliary import WithAuxiliary
from oche.nn.choice import decisions
from oche.nn.mixture import Mixture
from oche.nn.statistics import at_rest, moving
from oche.text.window import Window

SLOT = "A/"
"""Stands before a key in the parameter dictionary, whose own attributes (`values`, `half`, ...) are no names there."""

Input: TypeAlias = Tensor | Window
"""What a body reads."""


class ModuleBody(nn.Module):
    """A user's module as the body of a supernet: each choice sees its mixing weights for the duration of a call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.places = [(f"{path}.mixing" if path else "mixing", key) for path, key, _ in decisions(module)]

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        """What the module returns for `x`."""
        return functional_call(self.module, {place: mixture[key] for place, key in self.places}, (x,))  # type: ignore[no-any-return]

    def with_auxiliary(self, x: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor | None]:
        """The same; there is no auxiliary head."""
        return self(x, mixture), None

    def auxiliary_loss(self, inner: Tensor, target: Tensor, loss: Loss) -> Tensor:
        """Of what a module put out beside its output it is the loss."""
        return loss(inner, target)


class _Both(nn.Module):
    """A body whose call is `with_auxiliary`, for `functional_call`, which knows one method."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Any, mixture: Mixture) -> tuple[Tensor, Tensor | None]:
        assert isinstance(self.body, WithAuxiliary)
        return self.body.with_auxiliary(x, mixture)


class Supernet(nn.Module):
    """A body, called as `body(x, mixture)`, and the logits of the choices inside it.

    Attributes:
        body: the network; an `ImageNetwork`, a `LanguageModel` or a `ModuleBody`.
        logits: the logits `A` of each key, zero until a search initializes them; read them by `logits(supernet)`.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        options = {key: len(choice.options) for _, key, choice in decisions(_searched(body))}
        self.logits = nn.ParameterDict()
        for key, n in options.items():
            self.logits[SLOT + key] = torch.zeros(n)

    def add_logits(self, counts: Mapping[str, int]) -> None:
        """Further logits, of decisions that are about choices and not in the body."""
        for key, count in counts.items():
            if SLOT + key not in self.logits:
                device = next(iter(self.logits.values())).device
                self.logits[SLOT + key] = torch.zeros(count, device=device)

    def forward(self, x: Input, mixture: Mixture) -> Tensor:
        """The body's output under the given mixing weights."""
        return self.body(x, mixture)  # type: ignore[no-any-return]

    def with_auxiliary(self, x: Input, mixture: Mixture) -> tuple[Tensor, Tensor | None]:
        """The output, and that of the auxiliary head where there is one."""
        return _Both(self.body)(x, mixture)  # type: ignore[no-any-return]

    def auxiliary_loss(self, inner: Tensor, target: Tensor, loss: Loss) -> Tensor:
        """The body's part of the training loss beside that of its output, before its weight."""
        assert isinstance(self.body, WithAuxiliary)
        return self.body.auxiliary_loss(inner, target, loss)

    def with_weights(self, weights: Sequence[Tensor], mixture: Mixture, x: Input) -> Tensor:
        """The output with other weights, in the order of `weights(supernet)`.

        Running statistics of batch normalization do not move; all other buffers are copies for this call.
        """
        with at_rest(self.body):
            return functional_call(self.body, self._state(weights), (x, mixture))  # type: ignore[no-any-return]

    def both_with_weights(self, weights: Sequence[Tensor], mixture: Mixture, x: Input) -> tuple[Tensor, Tensor | None]:
        """The same with the output of the auxiliary head where there is one."""
        state = {f"body.{name}": value for name, value in self._state(weights).items()}
        with at_rest(self.body):
            return functional_call(_Both(self.body), state, (x, mixture))  # type: ignore[no-any-return]

    def _state(self, weights: Sequence[Tensor]) -> dict[str, Tensor]:
        """Of the body, for a call that leaves it as it is."""
        kept = {id(buffer) for norm in moving(self.body) for buffer in norm.buffers()}
        state = {name: buffer.clone() for name, buffer in self.body.named_buffers() if id(buffer) not in kept}
        trained = [name for name, w in self.body.named_parameters() if w.requires_grad]
        return state | dict(zip(trained, weights, strict=True))


def weights(supernet: Supernet) -> list[nn.Parameter]:
    """The network weights `w`: everything that is trained and no logit (a frozen backbone is neither)."""
    return [w for w in supernet.body.parameters() if w.requires_grad]


def logits(supernet: Supernet) -> dict[str, Tensor]:
    """The logits `A` by key."""
    return {slot.removeprefix(SLOT): value for slot, value in supernet.logits.items()}


def initialize_logits(supernet: Supernet, std: float, generator: torch.Generator) -> None:
    """Draw the logits from `std * N(0, 1)`; with `std` 0 all candidates start equal."""
    with torch.no_grad():
        for value in supernet.logits.values():
            value.copy_(std * torch.randn(value.shape, generator=generator))


def one_hot(supernet: Supernet, chosen: Mapping[str, int]) -> dict[str, Tensor]:
    """A mixture with weight 1 on one candidate of each key in `chosen` and zeros elsewhere (dropped edges)."""
    mixture = {key: torch.zeros_like(value) for key, value in logits(supernet).items()}
    for key, index in chosen.items():
        mixture[key][index] = 1
    return mixture


def _searched(body: nn.Module) -> nn.Module:
    """The module whose paths name the choices: the user's own, not our wrapping of it."""
    return body.module if isinstance(body, ModuleBody) else body
