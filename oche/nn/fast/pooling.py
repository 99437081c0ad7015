"""Pooling: once per state, however many edges leave it, and its batch normalization with it.

The candidates of all edges see the same pooled state and have no parameters, so their outputs are equal up to the
mixing weight: `y` and `z` are computed once, and the backward pass pools `sum_j a_j g_j` back once. Each edge's own
batch normalization still moves its running statistics.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from oche.nn.fast.normalization import Norms, Statistics, centered_product, is_plain, linear
from oche.nn.fast.part import Member, Part, Pulled, Saved, Wanted, Weights
from oche.nn.fast.source import Arriving, Source, Sums


class Form(NamedTuple):
    """How a state is pooled.

    Attributes:
        largest: the largest value of a window; else the mean of those inside the image.
        kernel: side of a window.
        stride: of the windows.
        padding: around the image.
        normalized: whether BN follows.
    """

    largest: bool
    kernel: int
    stride: int
    padding: int
    normalized: bool


class Pooled(Part):
    """Maximum or average pooling, with or without BN."""

    def __init__(self, form: Hashable, members: Sequence[Member]) -> None:
        super().__init__(form, members)
        self._form = cast(Form, form)
        modules = [cast(nn.Sequential, member.module) for member in members]
        self._norms = [Norms([cast(nn.BatchNorm2d, m[1]) for m in modules])] if self._form.normalized else []

    @staticmethod
    def recognize(module: nn.Module) -> Hashable | None:
        """Window and stride."""
        if type(module) is nn.Sequential:
            inner = _pool(module[0]) if len(module) == 2 and is_plain(module[1]) else None
            return inner._replace(normalized=True) if inner else None
        return _pool(module)

    @property
    def norms(self) -> Sequence[Norms]:
        """The members' own, if any."""
        return self._norms

    def run(self, source: Source, mixing: Sequence[Tensor], weights: Weights, sums: Sums) -> Saved:
        """See `Part`. Keeps the pooled state, for maxima where they were, and mean and rate."""
        y, places = self._pool(source.x)
        saved = [y, *places]
        z = y
        for norms in self._norms:
            z, statistics = norms.normalize(y, shared=True)
            saved += statistics
        for member, a in zip(self.members, mixing, strict=True):
            sums.add(member.edge, a, z)
        return tuple(saved)

    def pull(
        self,
        source: Source,
        mixing: Sequence[Tensor],
        weights: Weights,
        arriving: Arriving,
        saved: Saved,
        wanted: Wanted,
    ) -> Pulled:
        """See `Part`."""
        y, *rest = saved
        statistics = Statistics(*rest[-2:]) if self._norms else None
        gradients = [arriving.of[member.edge] for member in self.members]
        if statistics is None:
            products = [torch.sum(g * y) for g in gradients]
            of_mixing = products
        else:
            products = [centered_product(g, y, statistics.mean) for g in gradients]
            of_mixing = [torch.dot(statistics.rate, product) for product in products]
        if wanted.source:
            dy = mixing[0] * gradients[0]
            for a, g in zip(mixing[1:], gradients[1:], strict=True):
                dy.addcmul_(a, g)
            if statistics is not None:
                by_batch = self._norms[0].by_batch
                sum_g = _weighted(mixing, [arriving.sum(member.edge) for member in self.members])
                count = y.numel() // y.shape[1]
                dy = linear(None, statistics, sum_g, _weighted(mixing, products), count, by_batch).of(dy, y)
            source.add_direct(self._unpool(dy, source.x, rest))
        return Pulled(of_mixing)

    def _pool(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        kernel, stride, padding = ([side] * 2 for side in self._form[1:4])
        if self._form.largest:
            y, places = torch.ops.aten.max_pool2d_with_indices(x, kernel, stride, padding)
            return y, [places]
        return torch.ops.aten.avg_pool2d(x, kernel, stride, padding, False, False), []

    def _unpool(self, dy: Tensor, x: Tensor, places: Sequence[Tensor]) -> Tensor:
        kernel, stride, padding = ([side] * 2 for side in self._form[1:4])
        if self._form.largest:
            return torch.ops.aten.max_pool2d_with_indices_backward(  # type: ignore[no-any-return]
                dy, x, kernel, stride, padding, [1, 1], False, places[0]
            )
        return torch.ops.aten.avg_pool2d_backward(  # type: ignore[no-any-return]
            dy, x, kernel, stride, padding, False, False, None
        )


def _weighted(mixing: Sequence[Tensor], channels: Sequence[Tensor]) -> Tensor:
    """`sum_j a_j c_j` of one number per channel."""
    return torch.stack(list(mixing)) @ torch.stack(list(channels))


def _pool(module: nn.Module) -> Form | None:
    if type(module) is nn.MaxPool2d and module.dilation == 1 and not module.return_indices:
        largest = True
    elif type(module) is nn.AvgPool2d and not module.count_include_pad and module.divisor_override is None:
        largest = False
    else:
        return None
    sides = (module.kernel_size, module.stride, module.padding)
    if module.ceil_mode or not all(isinstance(side, int) for side in sides):
        return None
    kernel, stride, padding = cast(tuple[int, int, int], sides)
    return Form(largest, kernel, stride, padding, normalized=False)
