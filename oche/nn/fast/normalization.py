"""Batch normalization without affine, and the mixing weight behind it, as one scale per channel.

Forward: `z = (y - m) r` with `r = 1 / sqrt(v + eps)`, and a candidate adds `a z` to its edge. Kept are `y`, `m` and
`r`; `z` is not kept and, where a compiled kernel computes, never written.

Backward, for the gradient `g` of the edge: with `n` values per channel and `t = sum g (y - m)` the gradient of the
mixing weight is `sum_c r t`, and

    dy = a r (g - sum g / n - (y - m) r^2 t / n) = alpha g + beta y + gamma,

a linear combination of two tensors with three numbers per channel (`beta = 0 = gamma` where running statistics
normalize). `sum g` is the same for all candidates of an edge. This is the textbook gradient of batch normalization
with `a` taken inside, so one pass does what three did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Statistics(NamedTuple):
    """How a channel is normalized: `z = (y - mean) * rate`.

    Attributes:
        mean: per channel.
        rate: `1 / sqrt(variance + eps)` per channel.
    """

    mean: Tensor
    rate: Tensor


class Linear(NamedTuple):
    """`dy = alpha g + beta y + gamma`, each per channel; without `beta` and `gamma` they are zero."""

    alpha: Tensor
    beta: Tensor | None
    gamma: Tensor | None

    def of(self, g: Tensor, y: Tensor) -> Tensor:
        """`dy`, `N x C x H x W`."""
        if self.beta is None or self.gamma is None:
            return g * column(self.alpha)
        return torch.addcmul(column(self.gamma), y, column(self.beta)).addcmul_(g, column(self.alpha))


def is_plain(norm: nn.Module) -> bool:
    """Whether this is batch normalization as supernets have it: without affine, with a fixed momentum."""
    return type(norm) is nn.BatchNorm2d and norm.weight is None and norm.momentum is not None


class Norms:
    """Batch normalizations side by side: one module per block of channels, or all of the same channels.

    Args:
        modules: with equal channels and equal settings.
    """

    def __init__(self, modules: Sequence[nn.BatchNorm2d]) -> None:
        self.modules = tuple(modules)

    @property
    def by_batch(self) -> bool:
        """Whether statistics of the batch normalize, and not the running ones."""
        return _by_batch(self.modules[0])

    @property
    def alike(self) -> bool:
        """Whether all modules are in the same mode."""
        return len({(_by_batch(norm), _moves(norm)) for norm in self.modules}) == 1

    @property
    def moving(self) -> bool:
        """Whether running statistics move."""
        return _moves(self.modules[0])

    @property
    def momentum(self) -> float:
        """How far running statistics move."""
        momentum = self.modules[0].momentum
        assert momentum is not None
        return momentum

    @property
    def eps(self) -> float:
        """Added to the variances."""
        return self.modules[0].eps

    def running(self) -> list[Statistics]:
        """What each module normalizes by where the batch does not decide."""
        return [
            Statistics(_buffer(norm.running_mean), (_buffer(norm.running_var) + self.eps).rsqrt())
            for norm in self.modules
        ]

    def move(self, means: Sequence[Tensor], variances: Sequence[Tensor]) -> None:
        """What each module would have done by itself, all in three calls; nothing if they are at rest.

        Args:
            means: of the batch, one per module.
            variances: unbiased ones.
        """
        if not self.moving:
            return
        running_means, running_variances, batches = self.running_buffers()
        torch._foreach_lerp_(running_means, list(means), self.momentum)
        torch._foreach_lerp_(running_variances, list(variances), self.momentum)
        torch._foreach_add_(batches, 1)

    def running_buffers(self) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Running means, running variances and numbers of batches of the modules."""
        return (
            [_buffer(norm.running_mean) for norm in self.modules],
            [_buffer(norm.running_var) for norm in self.modules],
            [_buffer(norm.num_batches_tracked) for norm in self.modules],
        )

    def normalize(self, y: Tensor, *, shared: bool = False) -> tuple[Tensor, Statistics]:
        """`z` and the statistics behind it; running statistics move if the modules say so.

        Args:
            y: `N x (modules * C) x H x W`, or `N x C x H x W` if all modules read the same channels.
            shared: whether they do, which is only possible where the batch decides.

        Raises:
            ValueError: a batch has one value per channel, whose variance says nothing.
        """
        times = len(self.modules)
        if not self.by_batch:
            assert not shared
            statistics = Statistics(*(torch.cat(list(side)) for side in zip(*self.running(), strict=True)))
            return normalized(y, statistics), statistics
        count = values_per_channel(y)
        z, mean, rate = torch.native_batch_norm(y, None, None, None, None, True, 0.0, self.eps)
        unbiased = (rate.pow(-2) - self.eps) * (count / (count - 1))
        means, variances = ([side] * times if shared else side.chunk(times) for side in (mean, unbiased))
        self.move(means, variances)
        return z, Statistics(mean, rate)


def normalized(y: Tensor, statistics: Statistics) -> Tensor:
    """`z`, a new tensor."""
    return torch.sub(y, column(statistics.mean)).mul_(column(statistics.rate))


def values_per_channel(y: Tensor) -> int:
    """Over how many values a batch's statistics run.

    Raises:
        ValueError: over one, whose variance says nothing; as PyTorch's own batch normalization.
    """
    count = y.numel() // y.shape[1]
    if count == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {y.size()}")
    return count


def linear(
    weight: Tensor | None, statistics: Statistics, sum_g: Tensor, sum_gy: Tensor, count: int, by_batch: bool
) -> Linear:
    """The coefficients of `dy`.

    Args:
        weight: the mixing weight (anything that broadcasts with a channel); None: 1.
        statistics: of the forward pass.
        sum_g: `sum a g` per channel if `g` is weighted already, else `sum g`.
        sum_gy: `t = sum g (y - mean)` of the same `g`.
        count: values per channel.
        by_batch: whether the statistics are functions of `y`.
    """
    mean, rate = statistics
    alpha = rate if weight is None else weight * rate
    if not by_batch:
        return Linear(alpha, None, None)
    beta = alpha * rate.square() * sum_gy / -count
    return Linear(alpha, beta, alpha * sum_g / -count - beta * mean)


def centered_product(g: Tensor, y: Tensor, mean: Tensor) -> Tensor:
    """`t = sum g (y - mean)` per channel."""
    return torch.sub(y, column(mean)).mul_(g).sum(dim=(0, 2, 3))


def column(channel: Tensor) -> Tensor:
    """One number per channel, ready to broadcast over `N x C x H x W`."""
    return channel[:, None, None]


def _by_batch(norm: nn.BatchNorm2d) -> bool:
    return norm.training or norm.running_mean is None


def _moves(norm: nn.BatchNorm2d) -> bool:
    return norm.training and norm.track_running_stats and norm.running_mean is not None


def _buffer(buffer: Tensor | None) -> Tensor:
    assert buffer is not None
    return buffer
