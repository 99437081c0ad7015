"""Spaces S1 to S4, on which DARTS collapses (Zela et al., "Understanding and Robustifying DARTS", ICLR 2020)."""

from __future__ import annotations

import json
from importlib.resources import files

from oche.spaces.cell_space import CellSpace
from oche.spaces.darts import uniform


def s1() -> CellSpace:
    """Two candidates per edge, the two that a first search found strongest there; they differ between edges."""
    per_kind = json.loads((files("oche.spaces") / "rdarts_s1.json").read_text(encoding="utf-8"))
    normal, reduction = (tuple(tuple(c) for c in per_kind[kind]) for kind in ("normal", "reduction"))
    return CellSpace(name="rdarts-s1", normal=normal, reduction=reduction)


def s2(nodes: int = 4) -> CellSpace:
    """Skip connection or 3x3 separable convolution."""
    return uniform("rdarts-s2", ("skip_connect", "sep_conv_3x3"), nodes)


def s3(nodes: int = 4) -> CellSpace:
    """Nothing, skip connection or 3x3 separable convolution."""
    return uniform("rdarts-s3", ("none", "skip_connect", "sep_conv_3x3"), nodes)


def s4(nodes: int = 4) -> CellSpace:
    """Noise or 3x3 separable convolution: a search that works never selects noise."""
    return uniform("rdarts-s4", ("noise", "sep_conv_3x3"), nodes)
