"""The structures by name."""

from __future__ import annotations

from oche.nn.structure import NodeNorm, PartialChannels, Plain, SkipNorm, Structure
from oche.registry import Registry, part_of

STRUCTURES = Registry[Structure](
    "structure",
    "oche.structures",
    {
        "plain": Plain(),
        "node-norm": NodeNorm(),
        "skip-norm": SkipNorm(),
        "partial-channels": PartialChannels(shares=(4,)),
        "progressive-channels": PartialChannels(shares=(6, 4)),
    },
    made=part_of(Structure),
)
"""One channel in 4, as PC-DARTS has it on CIFAR-10; 6 and then 4, as DrNAS (progressive learning)."""
