"""The Allegro space: DARTS with stronger convolutions in its place.

Jin et al., "Enhanced Differentiable Architecture Search Based on Asymptotic Regularization" (AllegroNAS), Sec. 3.2.
"""

from __future__ import annotations

from oche.spaces.cell_space import CellSpace
from oche.spaces.darts import uniform

CANDIDATES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "allegro_sep_conv_3x3",
    "allegro_sep_conv_5x5",
    "allegro_dil_conv_3x3",
    "allegro_dil_conv_5x5",
)
"""In the order of DARTS, whose separable and dilated convolutions they replace."""


def allegro(nodes: int = 4) -> CellSpace:
    """The cells of DARTS with `AllegroSepConv` and `AllegroDilConv` (see `oche.nn.operations` for their widths)."""
    return uniform("allegro", CANDIDATES, nodes)
