"""The DARTS cell space (Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019)."""

from __future__ import annotations

from oche.spaces.cell_space import CellSpace, edge_count

CANDIDATES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


def uniform(name: str, candidates: tuple[str, ...], nodes: int = 4) -> CellSpace:
    """A space with the same candidates on every edge."""
    edges = (candidates,) * edge_count(nodes)
    return CellSpace(name=name, normal=edges, reduction=edges, nodes=nodes)


def darts_without_none(nodes: int = 4) -> CellSpace:
    """The seven candidates that are an operation, as SP-DARTS and DrNAS search."""
    return uniform("darts-without-none", CANDIDATES[1:], nodes)


def idarts_s2(nodes: int = 4) -> CellSpace:
    """Space S2 of iDARTS: pooling, skip connections and one convolution."""
    return uniform("idarts-s2", ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3"), nodes)


def darts(nodes: int = 4) -> CellSpace:
    """Eight candidates on each of 14 edges (at 4 nodes), normal and reduction cells shared by kind."""
    return uniform("darts", CANDIDATES, nodes)
