"""Which candidate is computed how: the one place that knows all parts.

`plan` asks of each candidate, form by form, whether it has that form. What a later candidate needs is one more form and
part here; until then it is called as the module it is, and mixes with what is known.

By the type of the device the known candidates become a `Fan` of parts, with gradients written by hand, or `Batched`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from oche.nn.fast.batched import (
    Batched,
    Block,
    Convolutions,
    Plain,
    Pools,
    Reductions,
    Rounds,
    norms_in,
    reduction_of,
    stride_of,
)
from oche.nn.fast.compiled.library import Library, library_for
from oche.nn.fast.compiled.parts import CompiledConvolution, CompiledPooled, CompiledSeparable, CompiledSkip, Together
from oche.nn.fast.convolution import Convolution, geometry_of
from oche.nn.fast.fan import Fan
from oche.nn.fast.free import Nothing, Skip
from oche.nn.fast.part import Member, Part
from oche.nn.fast.pooling import Pooled, form_of
from oche.nn.fast.separable import Separable, rounds_of
from oche.nn.fast.source import Running
from oche.nn.operations import Zero


def _stride_of_nothing(module: nn.Module) -> int | None:
    return module.stride if type(module) is Zero else None


def _identity(module: nn.Module) -> Hashable | None:
    return nn.Identity if type(module) is nn.Identity else None


Recognizer = Callable[[nn.Module], Hashable | None]
Builder = Callable[[Any, Sequence[Member]], Part]
"""From what candidates have in common, and the candidates, to a part."""

FORMS: tuple[Recognizer, ...] = (rounds_of, form_of, geometry_of, _identity, _stride_of_nothing)
"""What candidates of one part have in common (None: another form), in the order of evaluation. `none` comes last,
since it only fills gaps."""

APART: tuple[Builder, ...] = (Separable, Convolution)
"""Parts of a `Fan` of which each edge gets one of its own on a CPU: side by side is fewer calls, which counts on a GPU,
but PyTorch's code for CPUs is quickest on 16 to 64 dense channels."""

ONE_BY_ONE = ("cpu",)
"""Types of device on which a state's candidates are a `Fan`. Everywhere else launches of kernels decide, so there they
are `Batched` if they fit together."""

Evaluated = Fan | Batched
"""A state's known candidates, evaluated in one way or the other."""


def recognized(module: nn.Module, forms: Sequence[Recognizer] = FORMS) -> tuple[Recognizer, Hashable] | None:
    """The form of a candidate; None: the engine calls it as the module it is."""
    known = ((recognize, recognize(module)) for recognize in forms)
    return next(((recognize, form) for recognize, form in known if form is not None), None)


def plan(members: Sequence[Member], x: Tensor, idle: Collection[int] = ()) -> tuple[Evaluated | None, list[Member]]:
    """How all members whose form is known are evaluated (None: there are none), and the other members.

    Args:
        members: the candidates on all edges that leave one state.
        x: such a state.
        idle: places of members that are left out, except for one (the cheapest) on an edge of idle members.
    """
    batched = None if x.device.type in ONE_BY_ONE else _batched(members, idle)
    return batched or _fan(members, x, idle)


def _batched(members: Sequence[Member], idle: Collection[int]) -> tuple[Batched, list[Member]] | None:
    """The members side by side; None: there is nothing to compute, or their strides or settings differ."""
    forms = {member: recognized(member.module, (*FORMS, reduction_of)) for member in members}
    known = {member: form for member, form in forms.items() if form is not None and stride_of(form[1]) is not None}
    strides = {stride_of(form) for _, form in known.values()}
    settings = {(norm.eps, norm.momentum) for norm in norms_in(list(known))}
    if len(strides) != 1 or len(settings) > 1:
        return None
    active = {member: form for member, form in known.items() if member.place not in idle}
    groups: dict[Recognizer, dict[Any, list[Member]]] = {recognize: {} for recognize in (*FORMS, reduction_of)}
    for member, (recognize, form) in active.items():
        groups[recognize].setdefault(form, []).append(member)
    pools = groups[form_of]
    plain = groups[_identity] | {form: group for form, group in pools.items() if not form.normalized}
    by_kind: dict[Callable[[Any], Block], Any] = {
        Rounds: groups[rounds_of],
        Convolutions: groups[geometry_of],
        Reductions: [member for group in groups[reduction_of].values() for member in group],
        Pools: {form: group for form, group in pools.items() if form.normalized},
        Plain: plain,
    }
    blocks = [build(candidates) for build, candidates in by_kind.items() if candidates]
    edges = sorted({member.edge for member in known})
    return (Batched(list(active), edges, blocks), [m for m in members if m not in known]) if blocks else None


def _fan(members: Sequence[Member], x: Tensor, idle: Collection[int]) -> tuple[Fan | None, list[Member]]:
    """The fan of all members whose form is known (None: there are none), and the other members.

    Args:
        members: the candidates on all edges that leave one state.
        x: such a state.
        idle: places of members that the fan leaves out, except for one (the cheapest) on an edge of idle members.
    """
    kernels = library_for(x)
    builders = _builders(kernels)
    forms = {member: recognized(member.module) for member in members}
    edges = {member.edge for member in members if member.place not in idle or forms[member] is None}
    kept: dict[int, tuple[int, Member]] = {}
    for member, form in forms.items():
        if member.edge not in edges and form is not None:
            order = FORMS.index(form[0])
            kept[member.edge] = max(kept.get(member.edge, (order, member)), (order, member), key=lambda item: item[0])
    left_out = set(idle) - {member.place for _, member in kept.values()}
    groups: dict[tuple[Recognizer, Hashable, Hashable, int | None], list[Member]] = {}
    rest = []
    for member, known in forms.items():
        if known is None:
            rest.append(member)
        elif member.place not in left_out:
            apart = x.device.type == "cpu" and builders[known[0]] in APART
            key = (*known, _settings(member.module), member.edge if apart else None)
            groups.setdefault(key, []).append(member)
    ordered = sorted(groups.items(), key=lambda item: FORMS.index(item[0][0]))
    parts = [builders[recognizer](form, group) for (recognizer, form, *_), group in ordered]
    return Fan(parts, Running if kernels is None else partial(Together, kernels)) if parts else None, rest


def _builders(kernels: Library | None) -> dict[Recognizer, Builder]:
    pure: dict[Recognizer, Builder] = {
        rounds_of: Separable, form_of: Pooled, geometry_of: Convolution, _identity: Skip, _stride_of_nothing: Nothing
    }  # fmt: skip
    if kernels is None:
        return pure
    compiled: dict[Recognizer, Callable[..., Part]]
    compiled = {
        rounds_of: CompiledSeparable, form_of: CompiledPooled, geometry_of: CompiledConvolution, _identity: CompiledSkip
    }  # fmt: skip
    return pure | {form: partial(part, kernels) for form, part in compiled.items()}


def _settings(module: nn.Module) -> Hashable:
    """What batch normalizations must have in common to be computed together."""
    return tuple((norm.eps, norm.momentum) for norm in module.modules() if isinstance(norm, nn.BatchNorm2d))
