"""Optimizers as values: what to build, and how its rate changes over the epochs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from oche.nn.widening import Replaced
from oche.schedule import Constant, Cosine, Schedule
from oche.text.window import Window


class OptimizerSettings(Protocol):
    """Builds an optimizer and knows its schedule."""

    @property
    def lr(self) -> Schedule:
        """The learning rate at each fraction of the epochs."""
        ...

    @property
    def weight_decay(self) -> float:
        """How strongly the parameters are pulled towards 0."""
        ...

    def build(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """An optimizer at the rate of the start."""
        ...

    def at_rate(self, lr: Schedule) -> OptimizerSettings:
        """The same with another rate."""
        ...


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum; the defaults are those of the DARTS search."""

    lr: Schedule = Cosine(0.025, 0.001)
    momentum: float = 0.9
    weight_decay: float = 3e-4
    nesterov: bool = False

    def build(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Build it."""
        return torch.optim.SGD(
            list(parameters),
            lr=self.lr.at(0),
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )

    def at_rate(self, lr: Schedule) -> OptimizerSettings:
        """The same with another rate."""
        return replace(self, lr=lr)


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam with L2 decay; the defaults are those of the DARTS logits."""

    lr: Schedule = Constant(3e-4)
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3

    def build(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Build it."""
        return torch.optim.Adam(list(parameters), lr=self.lr.at(0), betas=self.betas, weight_decay=self.weight_decay)

    def at_rate(self, lr: Schedule) -> OptimizerSettings:
        """The same with another rate."""
        return replace(self, lr=lr)


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled decay (Loshchilov and Hutter 2019)."""

    lr: Schedule = Cosine(2e-3)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05

    def build(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Build it."""
        return torch.optim.AdamW(list(parameters), lr=self.lr.at(0), betas=self.betas, weight_decay=self.weight_decay)

    def at_rate(self, lr: Schedule) -> OptimizerSettings:
        """The same with another rate."""
        return replace(self, lr=lr)


def follow(optimizer: torch.optim.Optimizer, replaced: Iterable[Replaced]) -> None:
    """Go on with other parameters in the place of some, and with what is known of those.

    Everything that has the shape of a parameter goes the way of its values. That is exact for momentum, which is linear
    in the weights' steps, and a guess for second moments.
    """
    by_old = {item.old: item for item in replaced}
    for group in optimizer.param_groups:
        group["params"] = [by_old[w].new if w in by_old else w for w in group["params"]]
    for old, item in by_old.items():
        known = optimizer.state.pop(old, None)
        if known is not None:
            optimizer.state[item.new] = {
                name: item.change(value) if isinstance(value, Tensor) and value.shape == old.shape else value
                for name, value in known.items()
            }


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def set_decay(optimizer: torch.optim.Optimizer, weight_decay: float) -> None:
    """Give every parameter group this weight decay."""
    for group in optimizer.param_groups:
        group["weight_decay"] = weight_decay


def step_share(inputs: Any) -> float:
    """By what the rate of a step on these inputs is multiplied: the relative length of a window, else 1.

    The loss of a window is a mean over its words, so that without it each word of a short one would count for more
    (Merity et al. 2018, Sec. 5).
    """
    return inputs.share if isinstance(inputs, Window) else 1.0


@contextmanager
def scaled_rate(optimizer: torch.optim.Optimizer, factor: float) -> Iterator[None]:
    """Every parameter group's learning rate times a factor; afterwards it is what it was."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def clip_gradients(parameters: Iterable[Tensor], largest: float, *, recurrent: bool) -> Tensor:
    """Shorten the gradients where together they are longer than `largest`.

    In its way back through the steps of a window a gradient may overflow; as it is then no direction, the step is made
    with zeros instead. (Public code has nothing of the kind: its weights become NaN, and the search ends, or the
    training goes back to its best epoch.)

    Args:
        parameters: with their gradients.
        largest: norm of all of them together.
        recurrent: whether they came back through time.

    Returns:
        Whether they were numbers, on their device.
    """
    parameters = list(parameters)
    norm = nn.utils.clip_grad_norm_(parameters, largest)
    finite = norm.isfinite()
    if recurrent:
        for p in parameters:
            if p.grad is not None:
                p.grad = torch.where(finite, p.grad, 0.0)
    return finite


def finite_or_zero(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Gradients as they are, or zeros for all of them where one is no number."""
    finite = torch.stack([g.isfinite().all() for g in gradients]).all()
    return [torch.where(finite, g, 0.0) for g in gradients]
