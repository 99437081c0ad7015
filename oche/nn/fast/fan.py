"""All edges that leave one state, evaluated together as soon as that state exists.

A cell is a loop over edges in the reference engine. Everything that leaves one state reads the same tensor, though, so
here the loop is over states: the candidates on all edges of a *fan* are grouped by their form into *parts*
(`oche.nn.fast.part`), which share what can be shared. A fan is one node of autograd's graph: what is kept for its
backward pass is what its parts ask for, and which gradients are computed is what is asked of it (the logit step needs
no gradient of the weights, the weight step none of the mixture).

The backward pass is written by hand and cannot itself be differentiated. Where a second derivative is asked for
(`create_graph=True`), the fan evaluates its candidates once more, module by module as the reference engine does, and
lets autograd differentiate that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from oche.nn.choice import total
from oche.nn.fast.part import Part, Wanted, Weights
from oche.nn.fast.source import Arriving, Source, Sums
from oche.nn.statistics import at_rest


class Fan:
    """The candidates that the engine can compute on the edges that leave one state.

    Args:
        parts: of the members.
        sums: begins the sums of an evaluation.

    Attributes:
        edges: those that have a member, in order.
    """

    def __init__(self, parts: Sequence[Part], sums: Callable[[], Sums]) -> None:
        self._sums = sums
        self.parts = tuple(parts)
        self.members = [member for part in parts for member in part.members]
        self.edges = sorted({member.edge for member in self.members})
        self._norms = [module for part in parts for norms in part.norms for module in norms.modules]

    @property
    def uniform(self) -> bool:
        """Whether batch normalizations that are computed together are in the same mode."""
        return all(norms.alike for part in self.parts for norms in part.norms)

    @property
    def at_rest(self) -> bool:
        """Whether no running statistics move."""
        return not any(norms.moving for part in self.parts for norms in part.norms)

    @property
    def training(self) -> list[bool]:
        """The mode of each batch normalization."""
        return [norm.training for norm in self._norms]

    @contextmanager
    def in_mode(self, training: Sequence[bool]) -> Iterator[None]:
        """In the modes of the forward pass: those of now may be others, since a backward pass comes when it likes."""
        now = self.training
        if training == now:
            yield
            return
        self._set(training)
        try:
            yield
        finally:
            self._set(now)

    def _set(self, training: Sequence[bool]) -> None:
        for norm, mode in zip(self._norms, training, strict=True):
            norm.training = mode

    def __call__(self, x: Tensor, mixing: Tensor) -> tuple[Tensor, ...]:
        """What the members add to each edge.

        Args:
            x: the state, `N x C x H x W`.
            mixing: the mixing weights of all edges, one after the other.
        """
        weights = [w for member in self.members for w in member.weights()]
        # Before the function, so that what it keeps is its input: a second derivative goes through that.
        x = x.contiguous(memory_format=torch.channels_last)
        return _Evaluation.apply(self, x, mixing, *weights)  # type: ignore[no-any-return]

    def run(self, x: Tensor, mixing: Tensor, weights: Weights) -> tuple[tuple[Tensor, ...], list[tuple[Tensor, ...]]]:
        """The outputs, and what each part keeps."""
        source, sums, scalars, rest = Source(x), self._sums(), mixing.unbind(), iter(weights)
        saved = []
        for part in self.parts:
            own = [next(rest) for _ in part.members]
            saved.append(part.run(source, [scalars[m.place] for m in part.members], own, sums))
        return tuple(sums.of(edge) for edge in self.edges), saved

    def pull(
        self,
        x: Tensor,
        mixing: Tensor,
        weights: Weights,
        arriving: Arriving,
        saved: Sequence[tuple[Tensor, ...]],
        wanted: Wanted,
    ) -> tuple[Tensor | None, Tensor, list[Tensor]]:
        """Gradients of the state, of the mixing weights, and of all parameters one after the other."""
        source, scalars, rest = Source(x), mixing.unbind(), iter(weights)
        of_mixing = [mixing.new_zeros(())] * len(scalars)
        of_weights: list[Tensor] = []
        for part, kept in zip(self.parts, saved, strict=True):
            own = [next(rest) for _ in part.members]
            places = [member.place for member in part.members]
            pulled = part.pull(source, [scalars[p] for p in places], own, arriving, kept, wanted)
            for place, gradient in zip(places, pulled.mixing, strict=True):
                of_mixing[place] = gradient
            of_weights += [w for member in pulled.weights for w in member]
        return source.gradient() if wanted.source else None, torch.stack(of_mixing), of_weights

    def by_modules(self, x: Tensor, mixing: Tensor, weights: Weights) -> list[Tensor]:
        """The same outputs as the reference engine computes them; running statistics stay."""
        terms: dict[int, list[Tensor]] = {edge: [] for edge in self.edges}
        for member, own in zip(self.members, weights, strict=True):
            with at_rest(member.module):
                y = functional_call(member.module, dict(zip(member.names, own, strict=True)), (x,))
            terms[member.edge].append(mixing[member.place] * y)
        return [total(terms[edge]) for edge in self.edges]

    def per_member(self, weights: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        """Parameters one after the other, as those of each member."""
        rest = iter(weights)
        return [[next(rest) for _ in member.names] for member in self.members]


class _Evaluation(torch.autograd.Function):
    """A fan as a function of state, mixing weights and parameters."""

    @staticmethod
    def forward(ctx: Any, fan: Fan, x: Tensor, mixing: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        outputs, saved = fan.run(x, mixing, fan.per_member(weights))
        ctx.fan, ctx.sizes, ctx.training = fan, [len(kept) for kept in saved], fan.training
        ctx.save_for_backward(x, mixing, *weights, *(tensor for kept in saved for tensor in kept))
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        fan: Fan = ctx.fan
        x, mixing, *rest = ctx.saved_tensors
        count = sum(len(member.names) for member in fan.members)
        weights, kept = rest[:count], iter(rest[count:])
        if torch.is_grad_enabled():
            with fan.in_mode(ctx.training):
                return (None, *_differentiable(fan, [x, mixing, *weights], gradients, ctx.needs_input_grad[1:]))
        saved = [tuple(next(kept) for _ in range(size)) for size in ctx.sizes]
        _, of_source, of_mixing, *of_weights = ctx.needs_input_grad
        wanted = Wanted(of_source, of_mixing, any(of_weights))
        arriving = Arriving(
            {
                edge: g.contiguous(memory_format=torch.channels_last)
                for edge, g in zip(fan.edges, gradients, strict=True)
            }
        )
        with fan.in_mode(ctx.training):
            dx, da, dw = fan.pull(x, mixing, fan.per_member(weights), arriving, saved, wanted)
        return (None, dx, da, *(dw if wanted.weights else [None] * count))


def _differentiable(
    fan: Fan, inputs: Sequence[Tensor], gradients: Sequence[Tensor], needed: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients as a function of inputs and arriving gradients that autograd can differentiate again."""
    x, mixing, *weights = inputs
    outputs = fan.by_modules(x, mixing, fan.per_member(weights))
    asked = [tensor for tensor, need in zip(inputs, needed, strict=True) if need]
    found = iter(
        torch.autograd.grad(
            outputs, asked, list(gradients), create_graph=True, allow_unused=True, materialize_grads=True
        )
    )
    return [next(found) if need else None for need in needed]
