"""The parts of a fan by compiled kernels: the same candidates, formulas and saved tensors as the pure parts.

What the kernels save beyond those: nothing but `y` is written between reading a state and adding to an edge, because
ReLU, normalization, depthwise and pointwise convolution run on an image that stays in the core's cache; and each edge
is written once, as the sum of all its candidates (`Together`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from oche.nn.fast import convolution, pooling, separable
from oche.nn.fast.compiled.library import Library, shape
from oche.nn.fast.depthwise import Geometry, convolution_gradients
from oche.nn.fast.normalization import Norms, Statistics, values_per_channel
from oche.nn.fast.part import Member, Part, Pulled, Saved, Wanted, Weights
from oche.nn.fast.source import Arriving, Source, Sums


class Together:
    """`Sums` that are remembered, and added up in one pass over each edge.

    Args:
        kernels: the library.
    """

    def __init__(self, kernels: Library) -> None:
        self._kernels = kernels
        self._terms: dict[int, list[tuple[Tensor, Tensor, Statistics | None]]] = {}
        self._zeros: dict[int, Tensor] = {}

    def add(self, edge: int, weight: Tensor, y: Tensor, statistics: Statistics | None = None) -> None:
        """See `Sums`."""
        self._terms.setdefault(edge, []).append((_dense(y), weight, statistics))

    def add_zeros(self, edge: int, like: Tensor) -> None:
        """See `Sums`."""
        self._zeros[edge] = like

    def of(self, edge: int) -> Tensor:
        """See `Sums`."""
        if edge not in self._terms:
            return torch.zeros_like(self._zeros[edge])
        terms = self._terms.pop(edge)
        out = torch.empty_like(terms[0][0])
        channels = out.shape[1]
        means, rates = ([None if s is None else s[side] for *_, s in terms] for side in (0, 1))
        sizes = (out.numel() // channels, channels, len(terms))
        self._kernels("combine", out.dtype, *sizes, [y for y, *_ in terms], [a for _, a, _ in terms], means, rates, out)
        return out


class CompiledSeparable(Part):
    """See `separable.Separable`: one call per member and round.

    Args:
        kernels: the library.
        geometries: of the depthwise convolution of each round.
        members: the candidates.
    """

    def __init__(self, kernels: Library, geometries: Sequence[Geometry], members: Sequence[Member]) -> None:
        super().__init__(members)
        self._kernels = kernels
        self._geometries = tuple(geometries)
        self._norms = separable.norms_of(members, len(self._geometries))

    @property
    def norms(self) -> Sequence[Norms]:
        """One of each round."""
        return self._norms

    def run(self, source: Source, mixing: Sequence[Tensor], weights: Weights, sums: Sums) -> Saved:
        """See `Part`. Keeps `y`, mean and rate, member by member within each round."""
        inputs: list[tuple[Tensor, Statistics | None]] = [(source.x, None)] * len(self.members)
        saved: list[Tensor] = []
        for r, (geometry, norms) in enumerate(zip(self._geometries, self._norms, strict=True)):
            outputs = [_output(x, geometry) for x, _ in inputs]
            measured = _Measured(self._kernels, norms, outputs)
            for (x, before), own, y, into in zip(inputs, weights, outputs, measured.into, strict=True):
                both = [w.contiguous() for w in own[2 * r : 2 * r + 2]]
                assert both[0].shape[0] == x.shape[1]
                self._kernels(
                    "round_forward", x.dtype, shape(x.shape, geometry), x, *_pair(before), *both, norms.eps, y, *into
                )
            inputs = list(zip(outputs, measured.finish(), strict=True))
            saved += [tensor for y, statistics in inputs for tensor in (y, *_pair(statistics)) if tensor is not None]
        for member, a, (y, statistics) in zip(self.members, mixing, inputs, strict=True):
            sums.add(member.edge, a, y, statistics)
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
        k = len(self.members)
        kept = [(saved[i], Statistics(*saved[i + 1 : i + 3])) for i in range(0, len(saved), 3)]
        of_mixing, of_weights = [], []
        for i, (member, a, given) in enumerate(zip(self.members, mixing, weights, strict=True)):
            own = [w.contiguous() for w in given]
            g: Tensor = arriving.of[member.edge]
            y, statistics = kept[-k + i]
            sums, da = _products(self._kernels, g, y, statistics)
            of_mixing.append(da)
            if not (wanted.source or wanted.weights):
                continue
            weight: Tensor | None = a
            gradients = [torch.empty_like(w) for w in own] if wanted.weights else [None] * len(own)
            for r in reversed(range(len(self._geometries))):
                (x, before), (y, statistics) = kept[k * (r - 1) + i] if r else (source.x, None), kept[k * r + i]
                before_sums = None if before is None else x.new_empty((2, x.shape[1]))
                dx, add = self._target(r, x, source, wanted)
                self._kernels(
                    "round_backward", x.dtype, shape(x.shape, self._geometries[r]), x, *_pair(before),
                    *own[2 * r : 2 * r + 2], g, weight, sums if self._norms[r].by_batch else None, y, *statistics,
                    dx, int(add), before_sums, *gradients[2 * r : 2 * r + 2],
                )  # fmt: skip
                if dx is not None and before_sums is not None:
                    g, sums, weight = dx, before_sums, None
            of_weights.append([w for w in gradients if w is not None])
        return Pulled(of_mixing, of_weights)

    @staticmethod
    def _target(r: int, x: Tensor, source: Source, wanted: Wanted) -> tuple[Tensor | None, bool]:
        """Where round `r` puts the gradient of its input, and whether it adds it to what is there."""
        if r:
            return torch.empty_like(x), False
        return source.rectified_target() if wanted.source else (None, False)


class CompiledConvolution(Part):
    """See `convolution.Convolution`: PyTorch's convolutions are quick, and what is around them is compiled.

    Args:
        kernels: the library.
        geometry: of the convolution.
        members: the candidates.
    """

    def __init__(self, kernels: Library, geometry: Geometry, members: Sequence[Member]) -> None:
        super().__init__(members)
        self._kernels = kernels
        self._geometry = geometry
        self._norms = convolution.norms_of(members)

    @property
    def norms(self) -> Sequence[Norms]:
        """One."""
        return (self._norms,)

    def run(self, source: Source, mixing: Sequence[Tensor], weights: Weights, sums: Sums) -> Saved:
        """See `Part`. Keeps the convolution's output, mean and rate, member by member."""
        u = source.positive
        outputs = [_dense(convolution.convolve(u, weight, self._geometry)) for (weight,) in weights]
        measured = _Measured(self._kernels, self._norms, outputs)
        for y, into in zip(outputs, measured.into, strict=True):
            if self._norms.by_batch:
                self._kernels("measure", y.dtype, *_sizes(y), y, self._norms.eps, *into)
        saved: list[Tensor] = []
        for member, a, y, statistics in zip(self.members, mixing, outputs, measured.finish(), strict=True):
            sums.add(member.edge, a, y, statistics)
            saved += [y, *statistics]
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
        of_mixing, of_weights = [], []
        masks = [wanted.source, wanted.weights, False]
        for i, (member, a, (weight,)) in enumerate(zip(self.members, mixing, weights, strict=True)):
            g, y, statistics = arriving.of[member.edge], saved[3 * i], Statistics(*saved[3 * i + 1 : 3 * i + 3])
            sums, da = _products(self._kernels, g, y, statistics)
            of_mixing.append(da)
            if not any(masks):
                continue
            dy = torch.empty_like(y)
            known = sums if self._norms.by_batch else None
            self._kernels("pull", y.dtype, *_sizes(y), g, a, known, y, *statistics, dy)
            du, dw, _ = convolution_gradients(dy, source.positive, weight, self._geometry, 1, masks)
            if wanted.source:
                source.add_rectified(_dense(du))
            if wanted.weights:
                of_weights.append([dw])
        return Pulled(of_mixing, of_weights)


class CompiledPooled(Part):
    """See `pooling.Pooled`.

    Args:
        kernels: the library.
        form: how the members pool.
        members: the candidates.
    """

    def __init__(self, kernels: Library, form: pooling.Form, members: Sequence[Member]) -> None:
        super().__init__(members)
        self._kernels = kernels
        self._form = form
        self._geometry = Geometry(self._form.kernel, self._form.stride, self._form.padding, dilation=1)
        self._norms = pooling.norms_of(members) if self._form.normalized else []

    @property
    def norms(self) -> Sequence[Norms]:
        """The members' own, if any."""
        return self._norms

    def run(self, source: Source, mixing: Sequence[Tensor], weights: Weights, sums: Sums) -> Saved:
        """See `Part`. Keeps the pooled state, mean and rate if there is BN, and for maxima which tap they were."""
        x = source.x
        y = _output(x, self._geometry)
        places = torch.empty_like(y, dtype=torch.uint8) if self._form.largest else None
        norms = self._norms[0] if self._norms else None
        measured = None if norms is None else _Measured(self._kernels, norms, [y] * len(self.members))
        into = (None, None, None) if measured is None else measured.into[0]
        eps = 0.0 if norms is None else norms.eps
        self._kernels("pool_forward", x.dtype, shape(x.shape, self._geometry), x, eps, y, places, *into)
        statistics: Sequence[Statistics | None] = [None] if measured is None else measured.finish(shared=True)
        for i, (member, a) in enumerate(zip(self.members, mixing, strict=True)):
            sums.add(member.edge, a, y, statistics[i % len(statistics)])
        return tuple(t for t in (y, places, *(t for pair in statistics for t in _pair(pair))) if t is not None)

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
        places = rest.pop(0) if self._form.largest else None
        pairs = [Statistics(*rest[i : i + 2]) for i in range(0, len(rest), 2)]
        shared = len(pairs) < 2
        gradients = [arriving.of[member.edge] for member in self.members]
        of_each = pairs if not shared else [pairs[0] if pairs else None] * len(gradients)
        found = [_products(self._kernels, g, y, s) for g, s in zip(gradients, of_each, strict=True)]
        if wanted.source:
            by_batch = bool(self._norms) and self._norms[0].by_batch
            places_of = range(len(gradients))
            for together in [places_of] if shared else [[i] for i in places_of]:
                self._kernels(
                    "pool_backward", y.dtype, shape(source.x.shape, self._geometry), len(together),
                    [gradients[i] for i in together], [mixing[i] for i in together],
                    [found[i][0] for i in together] if by_batch else None, y, *_pair(of_each[together[0]]),
                    places, source.direct_target(),
                )  # fmt: skip
        return Pulled([da for _, da in found])


class CompiledSkip(Part):
    """See `free.Skip`.

    Args:
        kernels: the library.
        form: nothing; all identities are alike.
        members: the candidates.
    """

    def __init__(self, kernels: Library, form: object, members: Sequence[Member]) -> None:
        super().__init__(members)
        self._kernels = kernels

    @property
    def norms(self) -> Sequence[Norms]:
        """None."""
        return ()

    def run(self, source: Source, mixing: Sequence[Tensor], weights: Weights, sums: Sums) -> Saved:
        """See `Part`."""
        for member, a in zip(self.members, mixing, strict=True):
            sums.add(member.edge, a, source.x)
        return ()

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
        x, gradients = source.x, [arriving.of[member.edge] for member in self.members]
        if wanted.source:
            target = source.direct_target()
            terms, scalars = [target, *gradients], [x.new_ones(()), *mixing]
            nothing = [None] * len(terms)
            sizes = (x.numel() // x.shape[1], x.shape[1], len(terms))
            self._kernels("combine", x.dtype, *sizes, terms, scalars, nothing, nothing, target)
        return Pulled([_products(self._kernels, g, x, None)[1] for g in gradients])


class _Measured:
    """Statistics of the outputs of a part, by whatever its batch normalizations go by.

    Args:
        kernels: the library.
        norms: of the members.
        outputs: one per member, not yet computed.

    Attributes:
        into: per member, where a kernel writes mean, rate and unbiased variance of the batch; None: it shall not.
    """

    into: list[tuple[Tensor | None, ...]]

    def __init__(self, kernels: Library, norms: Norms, outputs: Sequence[Tensor]) -> None:
        self._kernels, self._norms = kernels, norms
        if norms.by_batch:
            values_per_channel(outputs[0])
            self.into = [y.new_empty((3, y.shape[1])).unbind() for y in outputs]
        else:
            self.into = [(None, None, None)] * len(outputs)

    def finish(self, *, shared: bool = False) -> list[Statistics]:
        """The statistics, once the kernels have run; running ones move.

        Args:
            shared: the members normalize the same channels, which were measured once: then one for all of them.
        """
        if not self._norms.by_batch:
            return self._norms.running()
        found = [self.into[0]] * len(self.into) if shared else self.into
        means, rates, variances = ([cast(Tensor, triple[i]) for triple in found] for i in range(3))
        if self._norms.moving:
            sizes = (len(means), means[0].shape[0], self._norms.momentum)
            self._kernels("move", means[0].dtype, *sizes, means, variances, *self._norms.running_buffers())
        statistics = [Statistics(mean, rate) for mean, rate in zip(means, rates, strict=True)]
        return statistics[:1] if shared else statistics


def _output(x: Tensor, geometry: Geometry) -> Tensor:
    n, c, *sides = x.shape
    size = (n, c, *map(geometry.output, sides))
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _dense(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _sizes(y: Tensor) -> tuple[int, int, int]:
    """Samples, pixels, channels."""
    n, c, height, width = y.shape
    return n, height * width, c


def _pair(statistics: Statistics | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if statistics is None else statistics


def _products(kernels: Library, g: Tensor, y: Tensor, statistics: Statistics | None) -> tuple[Tensor, Tensor]:
    """`sum g` and `sum g (y - mean)` per channel, and the gradient of the mixing weight."""
    sums, da = y.new_empty((2, y.shape[1])), y.new_empty(())
    kernels("products", y.dtype, *_sizes(y), g, y, *_pair(statistics), sums, da)
    return sums, da
