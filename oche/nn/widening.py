"""Widening: the candidates of a supernet see more of its channels, with the weights that they have learned.

An edge on which one channel in `k` goes through the candidates becomes one with one in `k' < k`, so that its candidates
grow from `c = C/k` to `c' = C/k'` channels. New channel `i` is a copy of the old channel `r[i]`, with one index map `r`
for all candidates of an edge (Net2Wider; Chen, Goodfellow and Shlens, ICLR 2016, as DrNAS uses it):

- a depthwise convolution copies its kernels, `w'[i] = w[r[i]]`;
- any other convolution copies rows and columns, and divides each column by the number of copies of its channel,
  `w'[i, j] = w[r[i], r[j]] / m[j]` with `m[j] = #{l : r[l] = r[j]}`. The public code of DrNAS does not divide, and
  draws another map for every convolution;
- batch normalization copies running statistics, weight and bias;
- a factorized reduction, whose two convolutions make one half of the channels each, has `r` keep each half to itself.

Then `op'(x[:, r]) = op(x)[:, r]` for every candidate, and so for the mixture of an edge. What has the shape of a weight
and is linear in it goes the same way, such as the momentum of SGD: a step along the momentum and a widening commute.

The function of the supernet changes all the same, and must: its candidates now see channels that went around them, and
the channel shuffle has other groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from oche.errors import InputError
from oche.nn.cell import Graph, MixedEdge
from oche.nn.fast.quick import Depthwise
from oche.nn.operations import FactorizedReduce, Noise, Zero

WITHOUT_CHANNELS = (nn.ReLU, nn.Identity, nn.MaxPool2d, nn.AvgPool2d, Zero, Noise)
"""Modules that take any number of channels."""


@dataclass(frozen=True)
class Replaced:
    """A parameter that has taken the place of another one.

    Attributes:
        old: is no more.
        new: stands where it stood.
        change: what made the new values from the old ones, a linear function of tensors of the old one's shape.
    """

    old: nn.Parameter
    new: nn.Parameter
    change: Callable[[Tensor], Tensor]


def can_widen(module: nn.Module) -> bool:
    """Whether a candidate consists of what can be widened."""
    if isinstance(module, nn.Sequential):
        return all(map(can_widen, module))
    if isinstance(module, nn.Conv2d) and not isinstance(module, Depthwise):
        return module.groups == 1 and module.bias is None and module.in_channels == module.out_channels
    return isinstance(module, (Depthwise, FactorizedReduce, nn.BatchNorm2d, *WITHOUT_CHANNELS))


def index_map(before: int, after: int, generator: torch.Generator, *, halves: bool) -> Tensor:
    """`r`: all old channels in their order, then copies drawn from them.

    Args:
        before: channels so far, at least one in each half.
        after: channels from now on, no less.
        generator: on the CPU.
        halves: whether the first `after // 2` are copies of the first `before // 2`, and the others of the others.

    Returns:
        `[after]`, in which every old channel occurs.
    """
    if halves:
        first = index_map(before // 2, after // 2, generator, halves=False)
        second = index_map(before - before // 2, after - after // 2, generator, halves=False)
        return torch.cat([first, before // 2 + second])
    return torch.cat([torch.arange(before), torch.randint(before, (after - before,), generator=generator)])


def widen_module(module: nn.Module, r: Tensor) -> Iterator[Replaced]:
    """Widen a candidate in place.

    Args:
        module: one that can be widened.
        r: from new channels to old ones, `[c']`; each half to itself if there is a factorized reduction.
    """
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from widen_module(child, r)
    elif isinstance(module, FactorizedReduce):
        half, new_half = module.conv_even.out_channels, len(r) // 2
        yield _dense(module.conv_even, r[:new_half], r)
        yield _dense(module.conv_odd, r[new_half:] - half, r)
        yield from _norm(module.norm, r)
    elif isinstance(module, Depthwise):
        module.in_channels = module.out_channels = module.groups = len(r)
        yield _replace(module, "weight", lambda w: w[r])
    elif isinstance(module, nn.Conv2d):
        yield _dense(module, r, r)
    elif isinstance(module, nn.BatchNorm2d):
        yield from _norm(module, r)
    else:
        assert isinstance(module, WITHOUT_CHANNELS)


def widen(network: nn.Module, share: int, generator: torch.Generator) -> list[Replaced]:
    """Let one channel in so many go through the candidates of every edge that has a bypass, in place.

    Args:
        network: a supernet with partial channels, whose candidates can be widened.
        share: less than so far, and a divisor of the channels; 1: nothing goes around the candidates any more.
        generator: on the CPU, for the copies.

    Returns:
        The parameters that have taken the place of others.
    """
    replaced: list[Replaced] = []
    device = next(network.parameters()).device
    for edge in network.modules():
        if isinstance(edge, MixedEdge) and edge.bypass is not None:
            candidates, bypass = list(edge.choice.candidates.values()), edge.bypass
            before = _channels(candidates)
            edge.bypass = None if share == 1 else replace(bypass, share=share)
            if before is not None:  # else there is nothing in it that has channels
                after = before * bypass.share // share
                # Of a strided edge, so that factorized reductions can follow; one map serves all its candidates.
                r = index_map(before, after, generator, halves=bypass.stride > 1)
                for candidate in candidates:
                    replaced += widen_module(candidate, r.to(device))
    for graph in network.modules():
        if isinstance(graph, Graph):
            graph.wiring = copy(graph.wiring)  # a copy has no plan yet
    return replaced


def _channels(candidates: Iterable[nn.Module]) -> int | None:
    """The channels that the candidates of an edge have; None: any number."""
    modules = (module for candidate in candidates for module in candidate.modules())
    return next((m.num_features for m in modules if isinstance(m, nn.BatchNorm2d)), None)


def _dense(convolution: nn.Conv2d, rows: Tensor, columns: Tensor) -> Replaced:
    copies = torch.bincount(columns)[columns].view(-1, 1, 1)
    convolution.out_channels, convolution.in_channels = len(rows), len(columns)
    return _replace(convolution, "weight", lambda w: w[rows][:, columns] / copies)


def _norm(norm: nn.BatchNorm2d, r: Tensor) -> Iterator[Replaced]:
    norm.num_features = len(r)
    for name, statistics in list(norm.named_buffers()):
        if statistics.dim():  # the count of batches stays
            setattr(norm, name, statistics[r])
    for name, _ in list(norm.named_parameters()):
        yield _replace(norm, name, lambda w: w[r])


def _replace(module: nn.Module, name: str, change: Callable[[Tensor], Tensor]) -> Replaced:
    """Put what `change` makes of a parameter in its place, laid out as it was."""
    old = module.get_parameter(name)
    layout = torch.channels_last if old.dim() == 4 else torch.contiguous_format

    def changed(tensor: Tensor) -> Tensor:
        return change(tensor).contiguous(memory_format=layout)

    new = nn.Parameter(changed(old.detach()), requires_grad=old.requires_grad)
    setattr(module, name, new)
    return Replaced(old, new, changed)


def check_widening(name: str, candidate: nn.Module) -> None:
    """Refuse a candidate that cannot be widened.

    Raises:
        InputError: this one cannot.
    """
    if not can_widen(candidate):
        raise InputError(
            f"this method widens the candidates in the middle of the search, but {name!r} cannot be widened (pooling, "
            "skips, and convolutions of equal widths, without groups or depthwise, can); choose a space without it, or "
            'a method that does not widen, such as "drnas"'
        )
