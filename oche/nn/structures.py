"""The structures by name."""

from __future__ import annotations

from oche.nn.structure import NodeNorm, Plain, SkipNorm, Structure
from oche.registry import Registry, part_of

STRUCTURES = Registry[Structure](
    "structure",
    "oche.structures",
    {"plain": Plain(), "node-norm": NodeNorm(), "skip-norm": SkipNorm()},
    made=part_of(Structure),
)
