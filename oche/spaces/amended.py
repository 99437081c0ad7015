"""Space S2 of Amended-DARTS: every cell of a deep supernet decides for itself.

Bi et al., "Stabilizing DARTS with Amended Gradient Estimation on Architectural Parameters", Sec. 3.1.2. Their S1 is the
space `darts`, their S3 (Appendix C.2) the space `rdarts-s3`.
"""

from __future__ import annotations

from oche.nn.network import USUAL_REDUCTIONS, Stack
from oche.spaces.cell_space import CellSpace
from oche.spaces.darts import uniform

STACK = Stack(cells=20, channels=36, reductions=USUAL_REDUCTIONS)
"""Of the supernet as of the network: searched at the size at which it is trained again."""


def sepskip20(nodes: int = 4) -> CellSpace:
    """Skip connection or 3x3 separable convolution, in 20 cells that do not share: 1.9e93 architectures."""
    space = uniform("sepskip20", ("skip_connect", "sep_conv_3x3"), nodes)
    return space.replace(shared=False, supernet_stack=STACK, network_stack=STACK)
