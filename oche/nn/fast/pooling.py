"""Pooling: once per state, however many edges leave it, and its batch normalization with it.

The candidates of all edges see the same pooled state and have no parameters, so their outputs are equal up to the
mixing weight: `y` and `z` are computed once, and the backward pass pools `sum_j a_j g_j` back once. Each edge's own
batch normalization still moves its running statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from oche.nn.fast.normalization import Norms, Statistics, centered_product, column, is_plain, linear
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
    """Maximum or average pooling, with or without BN.

    Args:
        form: how the members pool.
        members: the candidates.
    """

    def __init__(self, form: Form, members: Sequence[Member]) -> None:
        super().__init__(members)
        self._form = form
        self._norms = norms_of(members) if form.normalized else []

    @property
    def norms(self) -> Sequence[Norms]:
        """The members' own, if any."""
        return self._norms

    def run(self, source: Source, mixing: Sequence[Tensor], weights: Weights, sums: Sums) -> Saved:
        """See `Part`. Keeps the pooled state, for maxima where they were, and the statistics.

        By the batch all members have the same statistics; running ones are each member's own.
        """
        y, places = self._pool(source.x)
        statistics = []
        if self._norms and self._norms[0].by_batch:
            z, found = self._norms[0].normalize(y, shared=True)
            statistics = [found]
            for member, a in zip(self.members, mixing, strict=True):
                sums.add(member.edge, a, z)
        else:
            statistics = [s for norms in self._norms for s in norms.running()]
            for i, (member, a) in enumerate(zip(self.members, mixing, strict=True)):
                sums.add(member.edge, a, y, statistics[i] if statistics else None)
        return (y, *places, *(tensor for pair in statistics for tensor in pair))

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
        places = [rest.pop(0)] if self._form.largest else []
        pairs = [Statistics(*rest[i : i + 2]) for i in range(0, len(rest), 2)]
        gradients = [arriving.of[member.edge] for member in self.members]
        if not pairs:
            of_mixing = [torch.sum(g * y) for g in gradients]
        else:
            of_each = pairs if len(pairs) > 1 else pairs * len(gradients)
            products = [centered_product(g, y, s.mean) for g, s in zip(gradients, of_each, strict=True)]
            of_mixing = [torch.dot(s.rate, product) for s, product in zip(of_each, products, strict=True)]
        if wanted.source:
            if pairs and not self._norms[0].by_batch:
                dy = _weighted([a * column(s.rate) for a, s in zip(mixing, of_each, strict=True)], gradients)
            else:
                dy = _weighted(mixing, gradients)
            if pairs and self._norms[0].by_batch:
                sum_g = _weighted(mixing, [arriving.sum(member.edge) for member in self.members])
                count = y.numel() // y.shape[1]
                dy = linear(None, pairs[0], sum_g, _weighted(mixing, products), count, by_batch=True).of(dy, y)
            source.add_direct(self._unpool(dy, source.x, places))
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


def form_of(module: nn.Module) -> Form | None:
    """How the module pools; None: it does not, or in another way."""
    if type(module) is nn.Sequential:
        inner = _pool(module[0]) if len(module) == 2 and is_plain(module[1]) else None
        return inner._replace(normalized=True) if inner else None
    return _pool(module)


def norms_of(members: Sequence[Member]) -> list[Norms]:
    """The batch normalizations behind the pooling."""
    return [Norms([cast(nn.BatchNorm2d, cast(nn.Sequential, member.module)[1]) for member in members])]


def _weighted(weights: Sequence[Tensor], tensors: Sequence[Tensor]) -> Tensor:
    """`sum_j a_j t_j`."""
    out = weights[0] * tensors[0]
    for a, t in zip(weights[1:], tensors[1:], strict=True):
        out.addcmul_(a, t)
    return out


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
