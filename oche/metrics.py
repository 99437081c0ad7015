"""Metrics of a batch, and their means over many batches without a device synchronization per step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from oche.text.loss import word_loss

Loss: TypeAlias = Callable[[Any, Any], Tensor]
"""`(output, target)` to a scalar."""


@dataclass(frozen=True)
class Metric:
    """A number about the outputs of a batch.

    Attributes:
        function: `(output, target)` to a scalar tensor, the mean over the batch.
        higher_is_better: the direction, for choosing the best epoch.
        finish: from the mean over all batches to the number that is reported; None: the mean itself.
    """

    function: Callable[[Any, Any], Tensor]
    higher_is_better: bool = True
    finish: Callable[[float], float] | None = None


def top1(output: Tensor, target: Tensor) -> Tensor:
    """Share of samples (0 to 1) whose largest score, of `N x classes`, is the target's (`N`)."""
    return (output.argmax(dim=1) == target).float().mean()


ACCURACY: Mapping[str, Metric] = {"accuracy": Metric(top1)}
"""The metrics of classification."""


def exponential(value: float) -> float:
    """`exp(value)`, infinite where that is too large for a number."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


PERPLEXITY: Mapping[str, Metric] = {
    "perplexity": Metric(word_loss, higher_is_better=False, finish=exponential),
}
"""The metrics of language models: the exponential of the mean loss per word, of all words and not batch by batch."""


def better(new: Mapping[str, float], old: Mapping[str, float], metrics: Mapping[str, Metric]) -> bool:
    """Whether scores are better than others: by the first metric, then by the loss. Equal ones are not, NaN never is.

    Args:
        new: loss and metrics by name; empty: nothing was measured, and what is newer counts.
        old: the others.
        metrics: their directions.
    """
    if not new:
        return True
    higher = {name: metric.higher_is_better for name, metric in metrics.items()} | {"loss": False}
    for name in (next(iter(metrics), "loss"), "loss"):
        if math.isnan(new[name]) or math.isnan(old[name]):
            return not math.isnan(new[name])
        if new[name] != old[name]:
            return (new[name] > old[name]) == higher[name]
    return False


class Meter:
    """Means of a loss and metrics, weighted by the number of targets; sums stay on the device until `means`.

    A batch has as many targets as its tensor of targets has numbers: labels of its images, words of its windows.
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self._metrics = metrics
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    @torch.no_grad()
    def add(self, loss: Tensor, output: Any, target: Any) -> None:
        """Take in one batch."""
        n = target.numel() if isinstance(target, Tensor) else len(target)
        values = {"loss": loss} | {name: metric.function(output, target) for name, metric in self._metrics.items()}
        for name, value in values.items():
            value = torch.as_tensor(value).detach().double() * n
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += n

    def state(self) -> dict[str, Any]:
        """The sums so far."""
        return {"sums": dict(self._sums), "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up sums; adding to a scalar on the CPU brings it to the device of the losses."""
        self._sums, self._count = dict(state["sums"]), state["count"]

    def clear(self) -> None:
        """Begin anew."""
        self._sums, self._count = {}, 0

    def means(self) -> dict[str, float]:
        """The means so far by name, `loss` among them; empty before the first batch. Waits for the device."""
        if not self._count:
            return {}
        values = (torch.stack(list(self._sums.values())) / self._count).tolist()
        means = dict(zip(self._sums, values, strict=True))
        for name, metric in self._metrics.items():
            if metric.finish is not None:
                means[name] = metric.finish(means[name])
        return means
