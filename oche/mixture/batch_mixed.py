"""SP-DARTS: sparse and smooth softmax by turns, the sparse one ever more often.

1. Two temperatures, `t_sm = 10 t_sp`: `a_sp = softmax(A / t_sp)` is nearly one-hot, `a_sm = softmax(A / t_sm)` is not
   (Eq. 14).
2. Each step draws `phi ~ Bernoulli(p)`; both updates of the step use `t_sp` if it is 1 and `t_sm` otherwise (Eq. 15,
   Alg. 1). One draw for the whole mixture: every edge is sparse or none is.
3. `p` is 0 during warm-up, in which the logits move all the same, and rises linearly afterwards (Eq. 20).

At a sparse step most weights are next to nothing, and what they weigh need not be computed. A candidate is skipped
where `a / t_sp`, the factor before its part in the gradient of the logits, is below a tolerance. Then its weight is 0,
its gradients are zero (so that momentum and decay of its weights go on) and its running statistics do not move: they
are those of the smooth steps, and of the sparse steps in which it counted. To know which ones, the host waits for the
device once per sparse draw.

Deviation: Eq. 20 counts epochs from 1 to I. With epochs from 0 it reads `p_low + (p_up - p_low) (e + 1 - i_wp) /
(I - i_wp)`, so that `p = p_up` in the last epoch, as printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from oche.errors import InputError
from oche.mixture.softmax import Softmax
from oche.moment import Moment
from oche.needs import TWICE_DIFFERENTIABLE, Feature
from oche.nn.mixture import Mixture, SparseMixture
from oche.schedule import Epochs, Length

SMOOTH = 10.0
"""`t_sm / t_sp`."""

SPARSER = 10.0
"""The sparse view of the supernet is evaluated at `t_sp / 10`, where next to nothing but the strongest is left."""


@dataclass(frozen=True, kw_only=True)
class BatchMixed:
    """`softmax(A / t)` with `t` drawn per step.

    Attributes:
        t_sparse: `t_sp > 0`.
        p_low: probability of a sparse step after warm-up.
        p_up: probability in the last epoch.
        warm_up: the part with smooth steps only.
        skip_below: candidates with `a / t_sp` below it are not computed at a sparse step; 0: all are. With the default
            and the paper's temperatures a skipped weight is below 2e-8, less than the rounding of its row in float32.
    """

    CITES: ClassVar[tuple[str, ...]] = ("sp-darts",)
    OFFERS: ClassVar[tuple[Feature, ...]] = (TWICE_DIFFERENTIABLE,)

    t_sparse: float
    p_low: float = 0.0
    p_up: float = 1.0
    warm_up: Length = Epochs(1)
    skip_below: float = 1e-5

    def __post_init__(self) -> None:
        if not self.t_sparse > 0:
            raise InputError(f"sparse steps need a temperature t_sparse > 0, but got {self.t_sparse}")
        if not 0 <= self.p_low <= self.p_up <= 1:
            raise InputError(f"0 <= p_low <= p_up <= 1 must hold, but got p_low={self.p_low}, p_up={self.p_up}")
        if not 0 <= self.skip_below < 1:
            raise InputError(f"0 <= skip_below < 1 must hold, but got {self.skip_below}; 0 computes every candidate")

    @property
    def scale(self) -> float:
        """`t_sm`: a smooth step must still be one."""
        return SMOOTH * self.t_sparse

    def probability(self, now: Moment) -> float:
        """`p` of Eq. 20."""
        warm_up = self.warm_up.of(now.epochs)
        if now.epoch < warm_up:
            return 0.0
        share = (now.epoch + 1 - warm_up) / (now.epochs - warm_up)
        return self.p_low + (self.p_up - self.p_low) * share

    def draw(self, logits: Mapping[str, Tensor], now: Moment) -> Mixture:
        """`a(phi)` of Eq. 15, the same temperature for all edges; `phi` is drawn on the CPU, so no device waits."""
        if float(torch.rand(())) >= self.probability(now):
            return Softmax(temperature=self.scale).mean(logits)
        return self._without_negligible(self._sparse.mean(logits))

    def mean(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sparse softmax, of which Eq. 21 takes the entropy: at temperature 1 it would stay near E ln M."""
        return self._sparse.mean(logits)

    def views(self, logits: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """The discretized supernet (Fig. 3b: hard argmax on each edge) and the sparse one at `t_sp / 10`."""
        hard = {
            key: torch.nn.functional.one_hot(value.argmax(-1), value.shape[-1]).to(value.dtype)
            for key, value in logits.items()
        }
        return {"discretized": hard, "sparse": Softmax(temperature=self.t_sparse / SPARSER).mean(logits)}

    def log_strength(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`log softmax(A / t_sp)` in float64."""
        return self._sparse.log_strength(logits)

    def _without_negligible(self, rows: Mapping[str, Tensor]) -> Mixture:
        """The rows of a sparse step without the candidates to skip; those with no number are none of them."""
        if not self.skip_below:
            return rows
        counts = {key: ~(a.detach() / self.t_sparse < self.skip_below) for key, a in rows.items()}
        flat = iter(torch.cat(list(counts.values())).tolist())
        live = {key: tuple(i for i in range(len(a)) if next(flat)) for key, a in rows.items()}
        return SparseMixture(
            {key: a * counts[key] for key, a in rows.items()},
            {key: places for key, places in live.items() if len(places) < len(rows[key])},
        )

    @property
    def _sparse(self) -> Softmax:
        return Softmax(temperature=self.t_sparse)
