"""A space small enough to train every architecture: 125 cells of three nodes with NAS-Bench-201's candidates.

The embedded table of the same name (`oche.bench.curves`) has the learning curves of all of them. Supernet and networks
have one stage, so that what distinguishes architectures is their cells, not residual blocks between stages.
"""

from __future__ import annotations

from oche.bench.encoding import OPERATIONS
from oche.nn.network import Stack
from oche.spaces.staged_space import StagedSpace

STACK = Stack(cells=3, channels=8, reductions=0)
"""Of the supernet and of every network in the table."""


def bench125() -> StagedSpace:
    """The space, at the size of its table."""
    return StagedSpace(name="bench125", nodes=3, candidates=OPERATIONS, supernet_stack=STACK, network_stack=STACK)
