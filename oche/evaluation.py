"""Loss and metrics over a whole data set, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from oche.metrics import Loss, Meter, Metric
from oche.nn.statistics import at_rest


def all_finite(module: nn.Module) -> bool:
    """Whether every number of a module's state is one; waits for the device once."""
    values = [
        value for value in module.state_dict().values() if isinstance(value, Tensor) and value.is_floating_point()
    ]
    return bool(torch.stack([value.isfinite().all() for value in values]).all()) if values else True


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A module in evaluation mode; afterwards each part of it has its own mode again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def by_batch(model: nn.Module) -> Iterator[None]:
    """As `evaluating`, but batches are normalized by their own statistics; running statistics do not move."""
    with evaluating(model):
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.train()
        with at_rest(model):
            yield


@torch.no_grad()
def evaluate(
    model: nn.Module,
    forward: Callable[[Any], Tensor],
    batches: Iterable[tuple[Any, Any]],
    loss: Loss,
    metrics: Mapping[str, Metric],
) -> dict[str, float]:
    """Means by name (`loss` among them), with `model` in evaluation mode; the modes of its modules are restored.

    Args:
        model: the module whose mode matters.
        forward: inputs to outputs, through `model`.
        batches: inputs and targets.
        loss: the loss of a batch.
        metrics: further numbers by name.
    """
    meter = Meter(metrics)
    with evaluating(model):
        for x, y in batches:
            output = forward(x)
            meter.add(loss(output, y), output, y)
    return meter.means()
