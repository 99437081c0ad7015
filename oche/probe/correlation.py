"""How alike the candidates of an edge are, and whether their weights say what they contribute (iDARTS, Eq. 5).

The angle between a candidate and the mixed output of its edge depends on the weights of all candidates and on the
cosines between them: `cos(theta_i) ~ a_i + sum_{j != i} a_j cos(theta_ij)`. Where outputs are correlated, the
candidate with the largest weight need not be the one that is most like the mixture, and a selection by magnitude does
not keep what the supernet computes. So two numbers, from the Gram matrices of `oche.nn.recording`:

- the mean absolute cosine between two candidates of an edge;
- the share of edges whose strongest candidate is not the one most like the mixed output.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from oche.nn.recording import GramRecorder, graphs
from oche.probe.few import look
from oche.select.scene import Scene

IMAGES = 16
"""Of the one batch that is looked at: the outputs of all candidates of a cell lie in memory together."""


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Of the edges on which several candidates (`none` apart) compete.

    Attributes:
        cosine: mean absolute cosine between two candidates of an edge, 0 to 1; means over edges and cells.
        conflicts: share of edges, 0 to 1, where the largest weight is not that of the candidate most like the mixture.
        edges: how many there are, counted once per key.
    """

    cosine: float
    conflicts: float
    edges: int


def correlation(scene: Scene, *, images: int = IMAGES) -> Correlation | None:
    """Look at one batch; None where the supernet has no cells, or no edge with two candidates but `none`.

    Args:
        scene: under its mean mixture.
        images: of the first batch, at most.
    """
    recorders = [GramRecorder() for _ in graphs(scene.supernet)]
    look(scene, recorders, "correlation", images)
    weights = scene.weights
    between: dict[str, list[float]] = {}
    along: dict[str, list[Tensor]] = {}
    strongest: dict[str, int] = {}
    for recorder in recorders:
        for key in dict.fromkeys(key for key, _ in recorder.members):
            places = [i for i, member in enumerate(recorder.members) if member[0] == key]
            if len(places) > 1:
                a = torch.tensor([weights[recorder.members[i]] for i in places], dtype=torch.float64)
                cosines, with_sum = _cosines(recorder.gram[places][:, places], a)
                between.setdefault(key, []).append(_off_diagonal(cosines.abs()))
                along.setdefault(key, []).append(with_sum)
                strongest[key] = int(a.argmax())
    if not strongest:
        return None
    nearest = {key: int(torch.stack(rows).mean(dim=0).argmax()) for key, rows in along.items()}
    return Correlation(
        cosine=sum(sum(rows) / len(rows) for rows in between.values()) / len(between),
        conflicts=sum(nearest[key] != place for key, place in strongest.items()) / len(strongest),
        edges=len(strongest),
    )


def _cosines(gram: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """Between the candidates (`candidates x candidates`), and of each with their weighted sum; 0 where one is zero."""
    lengths = gram.diagonal().clamp_min(0).sqrt()
    products = lengths[:, None] * lengths
    inner = gram @ a
    of_sum = lengths * (a @ inner).clamp_min(0).sqrt()
    return _ratio(gram, products), _ratio(inner, of_sum)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / below, torch.zeros_like(above))


def _off_diagonal(square: Tensor) -> float:
    n = len(square)
    return float(square.sum() - square.diagonal().sum()) / (n * (n - 1))
