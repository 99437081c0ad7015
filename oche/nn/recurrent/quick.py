"""A recurrent cell with less work: all time steps of a window as one node of autograd's graph.

With `P_e = sum_k a_ek` over the activations of an edge (`none` adds nothing), an edge is

    sum_k a_ek (s_e + c_e (f_k(z_e) - s_e)) = P_e (1 - c_e) s_e + c_e sum_k a_ek f_k(z_e),

so that a node is one matrix product of all states that it reads, and one pass over `c`, `z` and `s`. `s_0` is a node as
well: it reads the last state through `tanh`, with what the word adds to its product. The products of the words with
`W_0` do not wait for one another, so they are one product. Of a step only states, products and the normalization's
rates are kept. The gradients, with `g` the gradient of the sum `s`:

    ds_e = P_e (1 - c_e) g        dc_e = g (sum_k a_ek f_k(z_e) - P_e s_e)
    dz_e = c_e g sum_k a_ek f_k'(z_e)        da_ek = sum g ((1 - c_e) s_e + c_e f_k(z_e)),

and that of batch normalization from its output: `rate (g - mean(g) - y mean(g y))`. Gradients that nobody wants (of the
weights in a step of the logits, of `a` in a step of the weights) are not computed.

Second derivatives are those of the same formula in plain autograd (`unrolled`), evaluated once more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from shutil import which
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.nn.fast.compiled.library import SUFFIXES, Library, library_of
from oche.nn.mixture import Mixture, live_in
from oche.nn.recurrent.cell import (
    ACTIVATIONS,
    FixedActivation,
    Masks,
    MixedActivation,
    RecurrentCell,
    masked,
    step_by_step,
)

FUNCTIONS = (torch.tanh, torch.relu, torch.sigmoid, lambda z: z)
"""In the order of `ACTIVATIONS`, which is that of the columns of `a`."""

PATTERNS = 16
"""Plans of a cell that are kept: where a mixture is sparse, other activations run at other steps."""

LAST, FIRST = 0, 1
"""Slots of a step's states: the last step's, `s_0`, then the nodes."""


@dataclass(frozen=True)
class Plan:
    """What runs.

    Attributes:
        slots: per node (`s_0` first), the states that it reads.
        uses: per edge, in the order of the nodes, which activations run.
        device: where it runs.
        dtype: of the numbers.
    """

    slots: tuple[tuple[int, ...], ...]
    uses: tuple[tuple[bool, ...], ...]
    device: torch.device
    dtype: torch.dtype

    @cached_property
    def rows(self) -> tuple[slice, ...]:
        """Per node, the places of its edges."""
        ends = [sum(map(len, self.slots[: i + 1])) for i in range(len(self.slots))]
        return tuple(slice(end - len(node), end) for end, node in zip(ends, self.slots, strict=True))

    @cached_property
    def reads(self) -> tuple[slice | Tensor, ...]:
        """Per node, how its states are taken from all: a stretch of them, or one by one."""
        return tuple(
            slice(node[0], node[-1] + 1)
            if node and node == tuple(range(node[0], node[-1] + 1))
            else torch.tensor(node, dtype=torch.long, device=self.device)
            for node in self.slots
        )

    @cached_property
    def places(self) -> tuple[Tensor, ...]:
        """Per node, its slots for a kernel."""
        return tuple(torch.tensor(node, dtype=torch.long, device=self.device) for node in self.slots)

    @cached_property
    def bits(self) -> Tensor:
        """Per edge, which activations run, for a kernel."""
        return torch.tensor([sum(1 << k for k, used in enumerate(row) if used) for row in self.uses])

    @cached_property
    def runs(self) -> tuple[tuple[int, ...], ...]:
        """Per node, the activations that run on some of its edges."""
        return tuple(
            tuple(k for k in range(len(FUNCTIONS)) if any(row[k] for row in self.uses[rows])) for rows in self.rows
        )

    @cached_property
    def kept(self) -> Tensor:
        """1 where an activation runs, `edges x activations`."""
        return torch.tensor(self.uses, dtype=self.dtype, device=self.device)


class Norm(NamedTuple):
    """How states are normalized.

    Attributes:
        by_batch: by their own mean and variance.
        mean: else by this one.
        rate: and this `1 / sqrt(variance + eps)`.
        eps: added to variances.
    """

    by_batch: bool
    mean: Tensor | None
    rate: Tensor | None
    eps: float


def norm_of(module: nn.BatchNorm1d | None) -> Norm | None:
    """How a cell normalizes at the moment; None: not at all."""
    if module is None:
        return None
    if module.training or module.running_mean is None or module.running_var is None:
        return Norm(True, None, None, module.eps)
    return Norm(False, module.running_mean, (module.running_var + module.eps).rsqrt(), module.eps)


def taken(states: Tensor, reads: slice | Tensor) -> Tensor:
    """Some of the states, a view where that is possible."""
    return states[reads] if isinstance(reads, slice) else states.index_select(0, reads)


# -- one node ----------------------------------------------------------------------------------------------------------


class Room(NamedTuple):
    """Where a node's results go; its place in what is kept of a step.

    Attributes:
        y: its state, `B x H`.
        masked: the same times the mask.
        mean: of the batch, `H`.
        rate: `1 / sqrt(variance + eps)`.
        variance: of the batch, without Bessel's correction.
    """

    y: Tensor
    masked: Tensor | None
    mean: Tensor | None
    rate: Tensor | None
    variance: Tensor | None


class Nodes(Protocol):
    """Evaluates single nodes, in place and without autograd."""

    def forward(
        self,
        plan: Plan,
        i: int,
        ch: Tensor,
        states: Tensor,
        a: Tensor,
        mask: Tensor | None,
        norm: Norm | None,
        to: Room,
    ) -> None:
        """Node `i` from its products `ch` (`E x B x 2H`), all states of the step, and its rows of `a`."""
        ...

    def backward(
        self,
        plan: Plan,
        i: int,
        g: Tensor,
        ch: Tensor,
        states: Tensor,
        a: Tensor,
        norm: Norm | None,
        rate: Tensor | None,
        to: tuple[Tensor, Tensor, Tensor | None],
    ) -> None:
        """From `g` the gradients of `ch`, of the states directly (added), and of `a` if there is a place for it."""
        ...


class Pure:
    """`Nodes` by PyTorch."""

    def forward(
        self,
        plan: Plan,
        i: int,
        ch: Tensor,
        states: Tensor,
        a: Tensor,
        mask: Tensor | None,
        norm: Norm | None,
        to: Room,
    ) -> None:
        """See `Nodes`."""
        c, z = ch.chunk(2, -1)
        c = torch.sigmoid(c)
        m, whole = _mixed([FUNCTIONS[k](z) for k in plan.runs[i]], plan.runs[i], a), _column(a.sum(1))
        s = torch.addcmul(c * m, whole * taken(states, plan.reads[i]), 1 - c).sum(0)
        if norm is None:
            to.y.copy_(s)
        elif norm.by_batch:
            assert to.mean is not None
            assert to.rate is not None
            assert to.variance is not None
            y, mean, rate = torch.native_batch_norm(s, None, None, None, None, True, 0.0, norm.eps)
            to.y.copy_(y)
            to.mean.copy_(mean)
            to.rate.copy_(rate)
            torch.sub(rate.pow(-2), norm.eps, out=to.variance)
        else:
            to.y.copy_(_normalized(s, norm))
        if to.masked is not None:
            assert mask is not None
            torch.mul(to.y, mask, out=to.masked)

    def backward(
        self,
        plan: Plan,
        i: int,
        g: Tensor,
        ch: Tensor,
        states: Tensor,
        a: Tensor,
        norm: Norm | None,
        rate: Tensor | None,
        to: tuple[Tensor, Tensor, Tensor | None],
    ) -> None:
        """See `Nodes`."""
        dch, dstates, da = to
        if norm is not None:
            if norm.by_batch:
                y = states[i + FIRST]
                g = g - g.mean(0) - y * (g * y).mean(0)
            rate = rate if norm.by_batch else norm.rate
            assert rate is not None
            g = g * rate
        c, z = ch.chunk(2, -1)
        c, s, runs = torch.sigmoid(c), taken(states, plan.reads[i]), plan.runs[i]
        f = [FUNCTIONS[k](z) for k in runs]
        m, whole = _mixed(f, runs, a), _column(a.sum(1))
        gc = g * c
        rest = g - gc
        torch.mul(gc * (1 - c), m - whole * s, out=dch[..., : g.shape[1]])
        torch.mul(gc, _mixed([_slope(k, y) for k, y in zip(runs, f, strict=True)], runs, a), out=dch[..., g.shape[1] :])
        _add(dstates, plan.reads[i], rest, whole)
        if da is not None:
            kept = (rest * s).sum((1, 2))
            for k, y in zip(runs, f, strict=True):
                torch.add(kept, (gc * y).sum((1, 2)), out=da[:, k])


def _column(numbers: Tensor) -> Tensor:
    return numbers[:, None, None]


def _mixed(values: Sequence[Tensor], runs: Sequence[int], a: Tensor) -> Tensor:
    """`sum_k a_k values_k` (`E x B x H`)."""
    if not runs:
        return a.new_zeros(len(a), 1, 1)
    total = _column(a[:, runs[0]]) * values[0]
    for k, y in zip(runs[1:], values[1:], strict=True):
        total = torch.addcmul(total, _column(a[:, k]), y)
    return total


def _slope(k: int, y: Tensor) -> Tensor:
    """The derivative of an activation, from its value."""
    if k == 0:
        return 1 - y * y
    if k == 1:
        return (y > 0).to(y.dtype)
    if k == 2:
        return y * (1 - y)
    return torch.ones_like(y)


def _add(states: Tensor, reads: slice | Tensor, terms: Tensor, factor: Tensor | None = None) -> None:
    """Add terms, times a factor, to the states that are read."""
    if not isinstance(reads, slice):
        states.index_add_(0, reads, terms if factor is None else terms * factor)
    elif factor is None:
        states[reads] += terms
    else:
        states[reads].addcmul_(terms, factor)


class Compiled:
    """`Nodes` by compiled kernels.

    Args:
        kernels: the library.
    """

    def __init__(self, kernels: Library) -> None:
        self._kernels = kernels

    def forward(
        self,
        plan: Plan,
        i: int,
        ch: Tensor,
        states: Tensor,
        a: Tensor,
        mask: Tensor | None,
        norm: Norm | None,
        to: Room,
    ) -> None:
        """See `Nodes`."""
        mean, rate, variance = to.mean, to.rate, to.variance
        if norm is not None and not norm.by_batch:
            mean, rate = norm.mean, norm.rate
        self._kernels(
            "node_forward", ch.dtype, *sizes(ch), ch, states, plan.places[i], a, plan.bits[plan.rows[i]],
            None if to.masked is None else mask, mode(norm), norm.eps if norm else 0.0, to.y, to.masked, mean, rate,
            variance,
        )  # fmt: skip

    def backward(
        self,
        plan: Plan,
        i: int,
        g: Tensor,
        ch: Tensor,
        states: Tensor,
        a: Tensor,
        norm: Norm | None,
        rate: Tensor | None,
        to: tuple[Tensor, Tensor, Tensor | None],
    ) -> None:
        """See `Nodes`."""
        rate = norm.rate if norm is not None and not norm.by_batch else rate
        self._kernels(
            "node_backward", ch.dtype, *sizes(ch), g, states[i + FIRST], rate, mode(norm), ch, states,
            plan.places[i], a, plan.bits[plan.rows[i]], *to,
        )  # fmt: skip


def sizes(ch: Tensor) -> tuple[int, int, int]:
    """Edges, lanes, width."""
    edges, lanes, double = ch.shape
    return edges, lanes, double // 2


def mode(norm: Norm | None) -> int:
    """As in `kernels.cpp`."""
    return 0 if norm is None else 1 if norm.by_batch else 2


def nodes_for(x: Tensor) -> Nodes:
    """What evaluates nodes with numbers of this type and place (`B x ...`)."""
    if x.device.type == "cuda" and x.dtype in SUFFIXES and _triton_works():
        from oche.nn.recurrent.gpu import MOST_LANES, Fused

        return Fused() if len(x) <= MOST_LANES else Pure()
    kernels = library_of(x)
    return Pure() if kernels is None else Compiled(kernels)


@cache
def _triton_works() -> bool:
    """Whether Triton is there, as it is where PyTorch is built for GPUs, and a C compiler, which it needs as well."""
    return find_spec("triton") is not None and any(map(which, (os.environ.get("CC", "cc"), "gcc", "clang")))


# -- all steps ---------------------------------------------------------------------------------------------------------


class Steps(torch.autograd.Function):
    """All time steps, with gradients written by hand.

    Inputs, beside those that say how: the words' products with `W_0` (`T x B x 2H`), the first state (`B x H`), the
    mask of the states, `a` (`edges x activations`, without that of `s_0`), the matrices of `s_0` (`H x 2H`, its rows
    for the state) and of the nodes. Outputs: the states after each step (`T x B x H`); of the batches, step by step and
    state by state, means and variances (`T N x H`, variances without Bessel's correction).
    """

    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        nodes: Nodes,
        norm: Norm | None,
        words: Tensor,
        h: Tensor,
        mask: Tensor | None,
        a: Tensor,
        *maps: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See above."""
        steps, lanes, width = words.shape[0], words.shape[1], h.shape[1]
        count, edges = len(maps), len(plan.uses)
        given, h_first, a = a, h, _with_first(a)
        measured = norm is not None and norm.by_batch
        states = words.new_empty(steps, count + 1, lanes, width)
        products = words.new_empty(steps, edges, lanes, 2 * width)
        statistics = words.new_empty(3, steps, count, width) if measured else words.new_empty(3, 0, count, width)
        outputs = words.new_empty(steps, lanes, width)
        times = states[0] if mask is None else torch.empty_like(states[0])
        for t in range(steps):
            now, ch = states[t], products[t]
            if mask is None:
                times = now
            now[LAST].copy_(h)
            if mask is not None:
                torch.mul(h, mask, out=times[LAST])
            for i, w in enumerate(maps):
                own = ch[plan.rows[i]]
                read = taken(times, plan.reads[i]).flatten(0, 1)
                if i == 0:
                    torch.addmm(words[t], read, w, out=own[0])
                else:
                    torch.mm(read, w, out=own.flatten(0, 1))
                room = Room(
                    now[i + FIRST],
                    None if mask is None else times[i + FIRST],
                    *(statistics[:, t, i] if measured else (None,) * 3),
                )
                nodes.forward(plan, i, own, now, a[plan.rows[i]], mask, norm, room)
            h = torch.mean(now[FIRST + 1 :], 0, out=outputs[t])
        ctx.plan, ctx.nodes, ctx.norm = plan, nodes, norm
        ctx.save_for_backward(words, h_first, mask, given, states, products, statistics[1], *maps)
        means, variances = statistics[0].flatten(0, 1), statistics[2].flatten(0, 1)
        ctx.mark_non_differentiable(means, variances)
        ctx.set_materialize_grads(False)
        return outputs, means, variances

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients that are wanted."""
        words, h, mask, given, states, products, rates, *maps = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        if g is None:
            return (None,) * len(ctx.needs_input_grad)
        if torch.is_grad_enabled():
            return (None, None, None, *_again(ctx.plan, ctx.norm, g, (words, h, mask, given, *maps), wanted))
        plan, nodes, norm, a = ctx.plan, ctx.nodes, ctx.norm, _with_first(given)
        of_words = torch.empty_like(words)
        of_a = torch.zeros_like(a) if wanted[3] else None
        once = torch.zeros_like(a) if wanted[3] else None  # of what does not run nothing is written
        of_maps = [torch.zeros_like(w) if want else None for w, want in zip(maps, wanted[4:], strict=True)]
        of_states, dch = torch.zeros_like(states[0]), torch.empty_like(products[0])
        times = states[0] if mask is None else torch.empty_like(states[0])
        for t in reversed(range(len(states))):
            now = states[t]
            times = now if mask is None else torch.mul(now, mask, out=times)
            of_state = g[t] + of_states[LAST]
            of_states[: FIRST + 1] = 0
            of_states[FIRST + 1 :] = of_state / (len(maps) - 1)
            for i in reversed(range(len(maps))):
                rows, reads, w, dw = plan.rows[i], plan.reads[i], maps[i], of_maps[i]
                own = of_words[t : t + 1] if i == 0 else dch[rows]
                room = (own, of_states, None if once is None else once[rows])
                rate = rates[t, i] if len(rates) else None
                nodes.backward(plan, i, of_states[i + FIRST], products[t, rows], now, a[rows], norm, rate, room)
                flat = own.flatten(0, 1)
                terms = torch.mm(flat, w.t()).view(len(own), *now.shape[1:])
                _add(of_states, reads, terms, mask)
                if dw is not None:
                    dw.addmm_(taken(times, reads).flatten(0, 1).t(), flat)
            if of_a is not None and once is not None:
                of_a += once
        of_h = of_states[LAST] if wanted[1] else None
        return (None, None, None, of_words, of_h, None, None if of_a is None else of_a[1:], *of_maps)


def _with_first(a: Tensor) -> Tensor:
    """The weights of all edges: that of `s_0` goes through `tanh` alone."""
    first = a.new_zeros(1, len(ACTIVATIONS))
    first[0, 0].fill_(1)
    return torch.cat([first, a])


def _again(
    plan: Plan, norm: Norm | None, g: Tensor, inputs: tuple[Tensor, ...], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients, as functions that can be differentiated."""
    words, h, mask, a, *maps = inputs
    with torch.enable_grad():
        outputs = unrolled(plan, norm, words, h, mask, a, maps)
        asked = [tensor for tensor, want in zip(inputs, wanted, strict=True) if want]
        found = iter(torch.autograd.grad(outputs, asked, g, create_graph=True, materialize_grads=True))
    return [next(found) if want else None for want in wanted]


def unrolled(
    plan: Plan, norm: Norm | None, words: Tensor, h: Tensor, mask: Tensor | None, a: Tensor, maps: Sequence[Tensor]
) -> Tensor:
    """The first output of `Steps`, in plain autograd."""
    a, outputs = _with_first(a), []
    for word in words.unbind(0):
        states = [h]
        for i, w in enumerate(maps):
            slots, rows = plan.slots[i], a[plan.rows[i]]
            if slots:
                read = torch.stack([states[slot] for slot in slots])
                ch = masked(read, mask) @ w
                c, z = (ch + word if i == 0 else ch).chunk(2, -1)
                c, runs = c.sigmoid(), plan.runs[i]
                m = _mixed([FUNCTIONS[k](z) for k in runs], runs, rows)
                s = (_column(rows.sum(1)) * (1 - c) * read + c * m).sum(0)
            else:
                s = torch.zeros_like(h)
            states.append(_normalized(s, norm))
        h = torch.stack(states[FIRST + 1 :]).mean(0)
        outputs.append(h)
    return torch.stack(outputs)


def _normalized(s: Tensor, norm: Norm | None) -> Tensor:
    if norm is None:
        return s
    if norm.by_batch:
        return F.batch_norm(s, None, None, training=True, eps=norm.eps)
    assert norm.mean is not None
    assert norm.rate is not None
    return (s - norm.mean) * norm.rate


def move(module: nn.BatchNorm1d, means: Tensor, variances: Tensor, lanes: int) -> None:
    """What the normalization would have done to its running statistics step by step and state by state, at once.

    Args:
        module: it moves, by a fixed momentum.
        means: one row for each call.
        variances: without Bessel's correction.
        lanes: over so many values.
    """
    assert module.momentum is not None
    assert module.running_mean is not None
    assert module.running_var is not None
    assert module.num_batches_tracked is not None
    calls, kept = len(means), 1 - module.momentum
    shares = module.momentum * torch.pow(kept, torch.arange(calls - 1, -1, -1, device=means.device, dtype=means.dtype))
    module.running_mean.mul_(kept**calls).add_(shares @ means)
    module.running_var.mul_(kept**calls).add_(shares @ variances, alpha=lanes / (lanes - 1))
    module.num_batches_tracked.add_(calls)


class Quick:
    """The `Unrolling` of this file. A cell of other edges than its own kinds is evaluated by the reference."""

    def __init__(self) -> None:
        self._plans: dict[Any, Plan] = {}

    def __reduce__(self) -> tuple[type[Quick], tuple[()]]:
        """Copies begin without plans."""
        return Quick, ()

    def __call__(self, cell: RecurrentCell, x: Tensor, h: Tensor, masks: Masks, mixture: Mixture) -> Tensor:
        """See `Unrolling`."""
        module, (lanes, width) = cell.norm, h.shape
        norm = norm_of(module)
        edges = [edge for node in cell.edges for edge in node.values()]
        options = {edge.options if isinstance(edge, MixedActivation) else None for edge in edges}
        if (
            not {type(edge) for edge in edges} <= {MixedActivation, FixedActivation}
            or len(options) > 1
            or torch.is_autocast_enabled(x.device.type)  # gradients written by hand know one precision at a time
            or (module is not None and module.momentum is None)
            or (norm is not None and norm.by_batch and lanes == 1)  # the variance of one number: it says so
        ):
            return step_by_step(cell, x, h, masks, mixture)
        nodes = nodes_for(x)
        if not any(options) and isinstance(nodes, Pure):
            return step_by_step(cell, x, h, masks, mixture)  # one edge per node: there is nothing to share
        plan = self._plan(cell, x, mixture)
        words = masked(x, None if masks.inputs is None else masks.inputs[:, None]).transpose(0, 1) @ cell.first[:width]
        maps = (cell.first[width:], *cell.maps)
        a = _weights(cell, plan, mixture)
        outputs, means, variances = Steps.apply(plan, nodes, norm, words, h, masks.hidden, a, *maps)
        if module is not None and norm is not None and norm.by_batch and module.track_running_stats:
            with torch.no_grad():
                move(module, means, variances, lanes)
        return outputs.transpose(0, 1).contiguous()  # type: ignore[no-any-return]

    def _plan(self, cell: RecurrentCell, x: Tensor, mixture: Mixture) -> Plan:
        """What runs under a mixture."""
        live = live_in(mixture)
        keys = [edge.name for node in cell.edges for edge in node.values() if isinstance(edge, MixedActivation)]
        pattern = (x.device, x.dtype, tuple(live.get(key) for key in keys))
        if pattern not in self._plans:
            if len(self._plans) > PATTERNS:
                # The oldest goes, but never the first one, with which most searches do all their steps.
                del self._plans[list(self._plans)[1]]
            uses = [{i: _used(edge, mixture) for i, edge in node.items()} for node in cell.edges]
            running = [{i: row for i, row in sorted(node.items()) if any(row)} for node in uses]
            first = (True, *(False,) * (len(ACTIVATIONS) - 1))
            self._plans[pattern] = Plan(
                ((LAST,), *(tuple(i + FIRST for i in node) for node in running)),
                (first, *(row for node in running for row in node.values())),
                x.device,
                x.dtype,
            )
        return self._plans[pattern]


def _used(edge: nn.Module, mixture: Mixture) -> tuple[bool, ...]:
    """Which activations of an edge run."""
    if isinstance(edge, FixedActivation):
        return tuple(name == edge.name for name in ACTIVATIONS)
    assert isinstance(edge, MixedActivation)
    computed = {edge.options[i] for i in edge.computed(live_in(mixture))}
    return tuple(name in computed for name in ACTIVATIONS)


def _weights(cell: RecurrentCell, plan: Plan, mixture: Mixture) -> Tensor:
    """`a` of the edges that run, `edges x activations`."""
    kept = plan.kept[1:]
    rows, options = [], None
    for node, slots in zip(cell.edges, plan.slots[1:], strict=True):
        for slot in slots:
            edge = node[slot - FIRST]
            if isinstance(edge, MixedActivation):
                rows.append(mixture[edge.name])
                options = edge.options
    if options is None:
        return kept  # of a discrete network
    given = torch.stack(rows).to(kept.dtype)
    none = given.new_zeros(len(given))
    columns = [given[:, options.index(name)] if name in options else none for name in ACTIVATIONS]
    return torch.stack(columns, 1) * kept
