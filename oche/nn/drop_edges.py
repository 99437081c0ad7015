"""Drop-path in a supernet: the mixed output of an edge is zeroed for some images of a batch.

One mask serves all evaluations inside a step, since each of them begins in the same random state. It is drawn for all
edges of a cell at once, so that it depends neither on the engine nor on which candidates run, and travels with the
mixture to where the mixed outputs are formed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from oche.nn.mixture import Mixture, SparseMixture, live_in


class CellMixture(SparseMixture):
    """The mixture as one cell sees it in a training with drop-path.

    Attributes:
        factors: by key, what the mixed output of each image is multiplied by (`N x 1 x 1 x 1`).
    """

    def __init__(self, rows: Mixture, factors: Mapping[str, Tensor]) -> None:
        super().__init__(rows, live_in(rows))
        self.factors = factors


def factors_in(mixture: Mixture) -> Mapping[str, Tensor]:
    """What mixed outputs are multiplied by; empty: by nothing."""
    return mixture.factors if isinstance(mixture, CellMixture) else {}


class DropEdges(nn.Module):
    """Zero each edge for each image with probability `p` in training, and scale the others by `1 / (1 - p)`.

    Args:
        keys: of the edges of a cell on which candidates compete.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__()
        self.keys = tuple(keys)
        self.p = 0.0

    def forward(self, mixture: Mixture, x: Tensor) -> Mixture:
        """The mixture with the factors of this cell.

        Args:
            mixture: of the step.
            x: an input of the cell (`N x C x H x W`).
        """
        if not self.training or self.p == 0 or not self.keys:
            return mixture
        keep = 1 - self.p
        drawn = x.new_empty(len(self.keys), len(x), 1, 1, 1).bernoulli_(keep) / keep
        return CellMixture(mixture, dict(zip(self.keys, drawn.unbind(), strict=True)))
