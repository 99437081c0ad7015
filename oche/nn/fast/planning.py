"""Which candidate is computed how: the one place that knows all parts.

`plan` asks of each candidate, form by form, whether it has that form. What a later candidate or structure needs is one
more `Kind` here; until then it is called as the module it is, and mixes with what is known.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, cast

import torch
from torch import nn

from oche.nn.fast.compiled.library import SUFFIXES, WIDTH, Library, library
from oche.nn.fast.compiled.parts import CompiledPooled, CompiledSeparable, CompiledSkip, Together
from oche.nn.fast.convolution import Convolution, geometry_of
from oche.nn.fast.depthwise import Geometry
from oche.nn.fast.fan import Fan
from oche.nn.fast.free import Nothing, Skip
from oche.nn.fast.part import Member, Part
from oche.nn.fast.pooling import Form, Pooled, form_of
from oche.nn.fast.separable import Separable, rounds_of
from oche.nn.fast.source import Running
from oche.nn.operations import Zero


class Setting(NamedTuple):
    """Where a fan is evaluated.

    Attributes:
        device: kind of device.
        dtype: of state and parameters.
        channels: of the state.
    """

    device: str
    dtype: torch.dtype
    channels: int


class Kind(NamedTuple):
    """A form of candidates, and the part that computes it.

    Attributes:
        recognize: what candidates have in common that one part can compute; None: they have another form.
        build: the part of such candidates.
        apart: whether each edge gets a part of its own. Side by side is fewer calls, which is what counts on a GPU;
            PyTorch's code for CPUs is quickest on 16 to 64 dense channels.
    """

    recognize: Callable[[nn.Module], Hashable | None]
    build: Callable[[Hashable, Sequence[Member]], Part]
    apart: bool = False


def plan(members: Sequence[Member], setting: Setting) -> tuple[Fan | None, list[Member]]:
    """The fan of all members whose form is known (None: there are none), and the other members."""
    kernels = _kernels(setting)
    kinds = _kinds(kernels, on_cpu=setting.device == "cpu")
    groups: dict[tuple[int, Hashable, Hashable, int | None], list[Member]] = {}
    rest = []
    for member in members:
        for order, kind in enumerate(kinds):
            form = kind.recognize(member.module)
            if form is not None:
                key = (order, form, _settings(member.module), member.edge if kind.apart else None)
                groups.setdefault(key, []).append(member)
                break
        else:
            rest.append(member)
    ordered = sorted(groups.items(), key=lambda item: item[0][0])
    parts = [kinds[order].build(form, group) for (order, form, *_), group in ordered]
    sums = Running if kernels is None else lambda: Together(kernels)
    return Fan(parts, sums) if parts else None, rest


def _kernels(setting: Setting) -> Library | None:
    """The compiled kernels where they can compute."""
    fits = setting.device == "cpu" and setting.dtype in SUFFIXES and setting.channels % WIDTH == 0
    return library() if fits else None


def _kinds(kernels: Library | None, *, on_cpu: bool) -> list[Kind]:
    """In the order of evaluation; `Nothing` last, since it only fills gaps."""
    convolution = Kind(geometry_of, lambda form, members: Convolution(cast(Geometry, form), members), apart=on_cpu)
    nothing = Kind(
        lambda module: module.stride if type(module) is Zero else None,
        lambda form, members: Nothing(cast(int, form), members),
    )
    if kernels is None:
        return [
            Kind(rounds_of, lambda form, members: Separable(cast(tuple[Geometry, ...], form), members), apart=on_cpu),
            Kind(form_of, lambda form, members: Pooled(cast(Form, form), members)),
            convolution,
            Kind(_identity, lambda form, members: Skip(members)),
            nothing,
        ]
    return [
        Kind(rounds_of, lambda form, members: CompiledSeparable(cast(tuple[Geometry, ...], form), members, kernels)),
        Kind(form_of, lambda form, members: CompiledPooled(cast(Form, form), members, kernels)),
        convolution,
        Kind(_identity, lambda form, members: CompiledSkip(members, kernels)),
        nothing,
    ]


def _identity(module: nn.Module) -> Hashable | None:
    return nn.Identity if type(module) is nn.Identity else None


def _settings(module: nn.Module) -> Hashable:
    """What batch normalizations must have in common to be computed together."""
    return tuple((norm.eps, norm.momentum) for norm in module.modules() if isinstance(norm, nn.BatchNorm2d))
