"""The space of NAS-Bench-201 (Dong and Yang, ICLR 2020): 15,625 cells of four nodes with five candidates."""

from __future__ import annotations

from oche.bench.encoding import OPERATIONS, SPACE
from oche.spaces.staged_space import StagedSpace


def nasbench201() -> StagedSpace:
    """The benchmark's space, at the benchmark's size."""
    return StagedSpace(name=SPACE, nodes=4, candidates=OPERATIONS)
