"""All edges that leave one state as a few large operators, for devices where a step is bound by kernel launches.

Each form of candidate is computed for all edges at once, its members side by side as blocks of channels:

- rounds of ReLU, depthwise, pointwise and BN: one depthwise convolution per kernel, then one grouped pointwise
  convolution and one BN for all of them; ordinary convolutions of one kernel are one convolution;
- factorized reductions: the members' two convolutions, side by side as well;
- pooling with its BN, and the identity: once, since all edges read the same result; `none`: not at all.

The outputs of all edges are then one product, `out[e] = sum_m A[e, m] z[m]`, with the mixing weights as a matrix that
has zeros where a candidate does not stand on an edge. Running statistics of the whole fan move in two calls.

It is exact because blocks of channels see each other nowhere: not in depthwise and grouped convolutions, not in BN.
Everything is an operator that autograd knows, so gradients of any order are PyTorch's own. What it saves are launches
(docs/engine.md counts them), neither arithmetic nor memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.nn.fast import convolution, pooling, separable
from oche.nn.fast.convolution import convolve
from oche.nn.fast.depthwise import Geometry, depthwise
from oche.nn.fast.normalization import Norms, is_plain
from oche.nn.fast.part import Member, joined
from oche.nn.fast.pooling import Form
from oche.nn.operations import FactorizedReduce

Columns: TypeAlias = Sequence[Sequence[Member]]
"""Per block of channels, the candidates that it is the output of."""


class State:
    """A state and what several candidates read of it.

    Attributes:
        x: the state, `N x C x H x W`.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self._positive: Tensor | None = None
        self._copies: dict[int, Tensor] = {}

    @property
    def positive(self) -> Tensor:
        """`relu(x)`."""
        if self._positive is None:
            self._positive = torch.relu(self.x)
        return self._positive

    def copies(self, times: int) -> Tensor:
        """`relu(x)` so many times side by side, `N x (times * C) x H x W`."""
        if times == 1:
            return self.positive
        if times not in self._copies:
            self._copies[times] = self.positive.unsqueeze(1).expand(-1, times, -1, -1, -1).flatten(1, 2)
        return self._copies[times]


class Normalizer:
    """The batch normalizations of one evaluation, all in one mode; at its end their running statistics move at once."""

    def __init__(self) -> None:
        self._running: list[Tensor] = []
        self._found: list[Tensor] = []
        self._batches: list[Tensor] = []

    def __call__(self, y: Tensor, norms: Norms, times: Sequence[int]) -> Tensor:
        """Normalize blocks of channels side by side.

        Args:
            y: `N x (blocks * C) x H x W`.
            norms: the modules.
            times: how many modules normalize each block, in their order; one each where running statistics do.
        """
        means, variances, batches = norms.running_buffers() if norms.moving or not norms.by_batch else ([], [], [])
        if not norms.by_batch:
            return F.batch_norm(y, torch.cat(means), torch.cat(variances), eps=norms.eps)
        if not norms.moving:
            return F.batch_norm(y, None, None, training=True, eps=norms.eps)
        found = y.new_zeros(2, y.shape[1])  # with momentum 1 this becomes what the batch has
        z = F.batch_norm(y, found[0], found[1], training=True, momentum=1.0, eps=norms.eps)
        for running, side in zip((means, variances), found.unbind(), strict=True):
            self._running += running
            self._found += [block for block, t in zip(side.chunk(len(times)), times, strict=True) for _ in range(t)]
        self._batches += batches
        return z

    def move(self, momentum: float) -> None:
        """Move all running statistics that were met."""
        if self._running:
            torch._foreach_lerp_(self._running, self._found, momentum)
            torch._foreach_add_(self._batches, 1)


class Block(ABC):
    """Candidates of one kind on all edges that leave a state."""

    @abstractmethod
    def run(self, state: State, normalize: Normalizer) -> Iterator[tuple[Columns, Tensor]]:
        """Their outputs, `N x (columns * C) x H' x W'`, with the candidates behind each block of channels."""


class Rounds(Block):
    """`(ReLU, depthwise, pointwise, BN)` once or more.

    Args:
        forms: the candidates by the geometry of the depthwise convolution of each round.
    """

    def __init__(self, forms: Mapping[tuple[Geometry, ...], Sequence[Member]]) -> None:
        self._forms = sorted(forms.items(), key=lambda item: -len(item[0]))  # those that go on come first
        self._norms = []
        for r in range(len(self._forms[0][0])):
            going = [member for _, members in self._going(r) for member in members]
            self._norms += separable.norms_of(going, r + 1)[r:]

    def run(self, state: State, normalize: Normalizer) -> Iterator[tuple[Columns, Tensor]]:
        """See `Block`. The candidates that end with a round are one block."""
        inputs = [state.copies(len(members)) for _, members in self._forms]
        kernels = iter(_all_together(self._weights()))
        channels = state.x.shape[1]
        for r, norms in enumerate(self._norms):
            forms = self._going(r)
            h = [depthwise(u, next(kernels), geometries[r]) for u, (geometries, _) in zip(inputs, forms, strict=True)]
            count = sum(len(members) for _, members in forms)
            z = normalize(F.conv2d(joined(h), next(kernels), groups=count), norms, [1] * count)
            ended = [[member] for geometries, members in forms if len(geometries) == r + 1 for member in members]
            sizes = [channels * len(members) for _, members in self._going(r + 1)]
            *going, last = torch.split(z, [*sizes, channels * len(ended)], 1) if sizes else [z]
            inputs = [torch.relu(u) for u in going]
            if ended:
                yield ended, last

    def _going(self, r: int) -> list[tuple[tuple[Geometry, ...], Sequence[Member]]]:
        """The forms that have a round `r`."""
        return [(geometries, members) for geometries, members in self._forms if len(geometries) > r]

    def _weights(self) -> list[list[Tensor]]:
        """Those of each convolution in the order of their use: in each round the depthwise ones, then the pointwise."""
        weights = {member: member.weights() for _, members in self._forms for member in members}
        kernels = []
        for r in range(len(self._norms)):
            forms = self._going(r)
            kernels += [[weights[member][2 * r] for member in members] for _, members in forms]
            kernels.append([weights[member][2 * r + 1] for _, members in forms for member in members])
        return kernels


class Convolutions(Block):
    """`(ReLU, convolution, BN)`.

    Args:
        forms: the candidates by the geometry of the convolution.
    """

    def __init__(self, forms: Mapping[Geometry, Sequence[Member]]) -> None:
        self._forms = forms
        self._members = [member for members in forms.values() for member in members]
        self._norms = convolution.norms_of(self._members)

    def run(self, state: State, normalize: Normalizer) -> Iterator[tuple[Columns, Tensor]]:
        """See `Block`."""
        y = [
            convolve(state.positive, _together([member.weights()[0] for member in members]), geometry)
            for geometry, members in self._forms.items()
        ]
        yield [[m] for m in self._members], normalize(joined(y), self._norms, [1] * len(self._members))


class Reductions(Block):
    """Factorized reductions: ReLU, two 1x1 convolutions of stride 2 a pixel apart, and BN.

    Args:
        members: the candidates.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._norms = Norms([cast(FactorizedReduce, member.module).norm for member in members])

    def run(self, state: State, normalize: Normalizer) -> Iterator[tuple[Columns, Tensor]]:
        """See `Block`. The halves are sorted by member before they are normalized."""
        u, count = state.positive, len(self._members)
        height, width = u.shape[2:]
        even, odd = _all_together(list(zip(*(member.weights() for member in self._members), strict=True)))
        shifted = F.pad(u, (-1, width % 2, -1, height % 2))
        halves = [F.conv2d(u, even, stride=2), F.conv2d(shifted, odd, stride=2)]
        y = torch.cat([half.view(len(u), count, -1, *half.shape[2:]) for half in halves], 2).flatten(1, 2)
        yield [[m] for m in self._members], normalize(y, self._norms, [1] * count)


class Pools(Block):
    """Pooling and BN; all edges read the same output, except where each has its own running statistics.

    Args:
        forms: the candidates by how they pool.
    """

    def __init__(self, forms: Mapping[Form, Sequence[Member]]) -> None:
        self._forms = forms
        (self._norms,) = pooling.norms_of([member for members in forms.values() for member in members])

    def run(self, state: State, normalize: Normalizer) -> Iterator[tuple[Columns, Tensor]]:
        """See `Block`."""
        y = [_pooled(state.x, form) for form in self._forms]
        columns: Columns = list(self._forms.values())
        if not self._norms.by_batch:
            y = [one.repeat(1, len(members), 1, 1) for one, members in zip(y, columns, strict=True)]
            columns = [[member] for members in columns for member in members]
        yield columns, normalize(joined(y), self._norms, [len(members) for members in columns])


class Plain(Block):
    """The identity, and pooling without BN.

    Args:
        forms: the candidates by how they pool, or else do nothing.
    """

    def __init__(self, forms: Mapping[object, Sequence[Member]]) -> None:
        self._forms = forms

    def run(self, state: State, normalize: Normalizer) -> Iterator[tuple[Columns, Tensor]]:
        """See `Block`."""
        y = [_pooled(state.x, form) if isinstance(form, Form) else state.x for form in self._forms]
        yield list(self._forms.values()), joined(y)


class Batched:
    """The candidates on the edges that leave one state, evaluated side by side; what `Fan` is on a CPU.

    Args:
        members: those in the blocks, and `none`.
        edges: those that have an output, zeros where they have no member.
        blocks: of the members that compute something; at least one.
    """

    def __init__(self, members: Sequence[Member], edges: Sequence[int], blocks: Sequence[Block]) -> None:
        self.members = tuple(members)
        self.edges = list(edges)
        self._blocks = tuple(blocks)
        norms = norms_in(members)
        self._norms = Norms(norms) if norms else None
        self._selections: dict[tuple[int, int], Tensor] = {}

    @property
    def uniform(self) -> bool:
        """Whether all batch normalizations are in the same mode."""
        return self._norms is None or self._norms.alike

    @property
    def at_rest(self) -> bool:
        """Whether no running statistics move."""
        return self._norms is None or not self._norms.moving

    def __call__(self, x: Tensor, mixing: Tensor) -> tuple[Tensor, ...]:
        """What the members add to each edge.

        Args:
            x: the state, `N x C x H x W`.
            mixing: the mixing weights of all edges, one after the other.
        """
        x = x.contiguous()
        state, normalize = State(x), Normalizer()
        found = [item for block in self._blocks for item in block.run(state, normalize)]
        if self._norms is not None:
            normalize.move(self._norms.momentum)
        columns = [column for part, _ in found for column in part]
        matrix = (mixing @ self._selection(columns, mixing)).view(len(self.edges), len(columns))
        out: Tensor | None = None
        for a, (part, z) in zip(torch.split(matrix, [len(part) for part, _ in found], 1), found, strict=True):
            factors = a.expand(len(x), -1, -1), z.reshape(len(x), len(part), -1)
            out = torch.bmm(*factors) if out is None else torch.baddbmm(out, *factors)
        assert out is not None
        return out.view(len(x), len(self.edges), *x.shape[1:2], *found[0][1].shape[2:]).unbind(1)

    def _selection(self, columns: Columns, mixing: Tensor) -> Tensor:
        """`weights x (edges * columns)` with a one where a mixing weight has its place in the matrix.

        Columns differ only between normalization by the batch and by running statistics, and so does their number.
        """
        key = (len(columns), len(mixing))
        if key not in self._selections:
            ones = torch.zeros(len(mixing), len(self.edges), len(columns))
            for number, column in enumerate(columns):
                for member in column:
                    ones[member.place, self.edges.index(member.edge), number] = 1
            self._selections[key] = ones.flatten(1).to(mixing)
        return self._selections[key]


def reduction_of(module: nn.Module) -> Hashable | None:
    """What all factorized reductions of equal widths have in common; None: the module is none."""
    if type(module) is not FactorizedReduce or not is_plain(module.norm):
        return None
    same = module.conv_even.in_channels == module.norm.num_features > 1
    return FactorizedReduce if same else None


def stride_of(form: object) -> int | None:
    """By what a candidate of a form divides the sides of a state, rounded up; None: it changes them in another way."""
    if form is nn.Identity:
        return 1
    if form is FactorizedReduce:
        return 2
    if isinstance(form, int):  # `none`
        return form
    if isinstance(form, Form):
        return form.stride if 2 * form.padding == form.kernel - 1 else None
    first, *others = cast(tuple[Geometry, ...], (form,) if isinstance(form, Geometry) else form)
    keeps = all(2 * g.padding == g.reach for g in (first, *others)) and all(g.stride == 1 for g in others)
    return first.stride if keeps else None


def norms_in(members: Sequence[Member]) -> list[nn.BatchNorm2d]:
    """All batch normalizations of the members."""
    return [norm for member in members for norm in member.module.modules() if isinstance(norm, nn.BatchNorm2d)]


def _pooled(x: Tensor, form: Form) -> Tensor:
    sides = form.kernel, form.stride, form.padding
    return F.max_pool2d(x, *sides) if form.largest else F.avg_pool2d(x, *sides, count_include_pad=False)


def _together(weights: Sequence[Tensor]) -> Tensor:
    """The members' weights one after the other, with the strides of NCHW, which decide how a GPU lays out images."""
    w = weights[0] if len(weights) == 1 else torch.cat(list(weights))
    return w.flatten(1).view(w.shape)


def _all_together(sets: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The same for the weights of several convolutions, depthwise or pointwise, in one call."""
    flat = torch.cat([w.flatten() for weights in sets for w in weights])
    sizes = [sum(w.numel() for w in weights) for weights in sets]
    parts = zip(torch.split(flat, sizes), sets, strict=True)
    return [part.view(-1, *weights[0].shape[1:]) for part, weights in parts]
