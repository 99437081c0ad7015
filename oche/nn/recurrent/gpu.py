"""The nodes of a recurrent cell on a GPU: one Triton kernel for each pass over a node (see `oche.nn.recurrent.quick`).

Triton comes with PyTorch where PyTorch is built for GPUs. A step has a few dozen small operators for each node, and
the launch of each takes longer than its work; here a node is one launch beside its matrix products. A program of a
kernel has some columns and all lanes of them, so that it can normalize by the batch.

Activations that do not run have weight zero in `a`, so they need no case of their own.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from oche.nn.recurrent.quick import FIRST, Norm, Plan, Room, mode, sizes

TILE = 2048
"""Numbers of a state that a program has: as many columns as go with all lanes."""

MOST_LANES = 2048
"""More lanes than that do not fit into a program."""

SIZES = ["edges", "lanes", "width"]
POINTERS = [
    *("ch", "states", "slots", "a", "mask", "out", "masked", "mean", "rate", "variance"),
    *("g", "y", "dch", "dstates", "da"),
]
"""Arguments of whose values a kernel knows nothing, so that it is compiled once."""


@triton.jit
def _sigmoid(x):  # type: ignore[no-untyped-def]
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0, e, 1.0) / (1 + e)


@triton.jit
def _tanh(x):  # type: ignore[no-untyped-def]
    e = tl.exp(-2 * tl.abs(x))
    y = (1 - e) / (1 + e)
    return tl.where(x < 0, -y, y)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=POINTERS)  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    ch, states, slots, a, mask, out, masked, mean, rate, variance, eps, edges, lanes, width,
    NORM: tl.constexpr, MASK: tl.constexpr, LANES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    rows, columns = tl.arange(0, LANES)[:, None], tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    there, inside = (rows < lanes) & (columns < width)[None, :], columns < width
    at = rows * width + columns[None, :]
    total = tl.zeros([LANES, COLUMNS], dtype=out.dtype.element_ty)
    for e in range(edges):
        gate = ch + (e * lanes + rows) * 2 * width + columns[None, :]
        c = _sigmoid(tl.load(gate, mask=there, other=0.0))
        z = tl.load(gate + width, mask=there, other=0.0)
        s = tl.load(states + tl.load(slots + e) * lanes * width + at, mask=there, other=0.0)
        a0, a1, a2, a3 = tl.load(a + 4 * e), tl.load(a + 4 * e + 1), tl.load(a + 4 * e + 2), tl.load(a + 4 * e + 3)
        m = a0 * _tanh(z) + a1 * tl.where(z < 0, 0.0, z) + a2 * _sigmoid(z) + a3 * z
        total += (a0 + a1 + a2 + a3) * (1 - c) * s + c * m
    if NORM == 1:
        m = tl.sum(tl.where(there, total, 0.0), 0) / lanes
        d = tl.where(there, total - m[None, :], 0.0)
        v = tl.sum(d * d, 0) / lanes
        r = 1 / tl.sqrt(v + eps)
        tl.store(mean + columns, m, mask=inside)
        tl.store(rate + columns, r, mask=inside)
        tl.store(variance + columns, v, mask=inside)
        total = d * r[None, :]
    if NORM == 2:
        m = tl.load(mean + columns, mask=inside, other=0.0)
        r = tl.load(rate + columns, mask=inside, other=0.0)
        total = (total - m[None, :]) * r[None, :]
    tl.store(out + at, total, mask=there)
    if MASK:
        tl.store(masked + at, total * tl.load(mask + at, mask=there, other=0.0), mask=there)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=POINTERS)  # type: ignore[untyped-decorator]
def _backward(  # type: ignore[no-untyped-def]
    g, y, rate, ch, states, slots, a, dch, dstates, da, edges, lanes, width,
    NORM: tl.constexpr, OF_A: tl.constexpr, LANES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    rows, columns = tl.arange(0, LANES)[:, None], tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    there, inside = (rows < lanes) & (columns < width)[None, :], columns < width
    at = rows * width + columns[None, :]
    d = tl.load(g + at, mask=there, other=0.0)
    if NORM == 1:
        x = tl.load(y + at, mask=there, other=0.0)
        d = d - (tl.sum(d, 0) / lanes)[None, :] - x * (tl.sum(d * x, 0) / lanes)[None, :]
        d = tl.where(there, d, 0.0)
    if NORM != 0:
        d = d * tl.load(rate + columns, mask=inside, other=0.0)[None, :]
    for e in range(edges):
        gate = (e * lanes + rows) * 2 * width + columns[None, :]
        c = _sigmoid(tl.load(ch + gate, mask=there, other=0.0))
        z = tl.load(ch + gate + width, mask=there, other=0.0)
        state = tl.load(slots + e) * lanes * width + at
        s = tl.load(states + state, mask=there, other=0.0)
        a0, a1, a2, a3 = tl.load(a + 4 * e), tl.load(a + 4 * e + 1), tl.load(a + 4 * e + 2), tl.load(a + 4 * e + 3)
        whole = a0 + a1 + a2 + a3
        t, r, q = _tanh(z), tl.where(z < 0, 0.0, z), _sigmoid(z)
        m = a0 * t + a1 * r + a2 * q + a3 * z
        slope = a0 * (1 - t * t) + tl.where(z > 0, a1, 0.0) + a2 * q * (1 - q) + a3
        dc, rest = d * c, d * (1 - c)
        tl.store(dch + gate, rest * c * (m - whole * s), mask=there)
        tl.store(dch + gate + width, dc * slope, mask=there)
        tl.store(dstates + state, tl.load(dstates + state, mask=there, other=0.0) + whole * rest, mask=there)
        if OF_A:
            kept, to = tl.sum(rest * s), da + (tl.program_id(0) * edges + e) * 4
            tl.store(to, kept + tl.sum(dc * t))
            tl.store(to + 1, kept + tl.sum(dc * r))
            tl.store(to + 2, kept + tl.sum(dc * q))
            tl.store(to + 3, kept + tl.sum(dc * z))


class Fused:
    """`Nodes` by these kernels."""

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
        (edges, lanes, width), (grid, shape) = sizes(ch), _grid(ch)
        mean, rate, variance = to.mean, to.rate, to.variance
        if norm is not None and not norm.by_batch:
            mean, rate = norm.mean, norm.rate
        _forward[grid](
            ch, states, plan.places[i], a, mask, to.y, to.masked, mean, rate, variance, norm.eps if norm else 0.0,
            edges, lanes, width, NORM=mode(norm), MASK=to.masked is not None, **shape,
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
        (edges, lanes, width), (grid, shape), (dch, dstates, da) = sizes(ch), _grid(ch), to
        parts = None if da is None else da.new_empty(grid[0], *da.shape)
        _backward[grid](
            g, states[i + FIRST], norm.rate if norm is not None and not norm.by_batch else rate, ch, states,
            plan.places[i], a, dch, dstates, parts, edges, lanes, width, NORM=mode(norm), OF_A=da is not None, **shape,
        )  # fmt: skip
        if da is not None and parts is not None:
            torch.sum(parts, 0, out=da)


def _grid(ch: Tensor) -> tuple[tuple[int], dict[str, Any]]:
    """Programs, and what each has."""
    _, lanes, width = sizes(ch)
    rows = max(triton.next_power_of_2(lanes), 2)
    columns = max(TILE // rows, 1)
    return (triton.cdiv(width, columns),), {"LANES": rows, "COLUMNS": columns, "num_warps": 8}
