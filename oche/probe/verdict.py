"""The first verdict on a search, in one line: facts that tell whether it decided anything.

The judgement *healthy, at risk, collapsed* needs the probes of later methods; until then the facts stand alone, with
one remark where a search can be seen not to have searched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oche.architecture import Architecture
from oche.nn.operations import OPERATIONS, PARAMETER_FREE

UNDECIDED_ABOVE = 0.99
"""Share of its first entropy above which a mixture is called nearly unchanged: its largest weights then lie within a
few percent of each other, and the selection of one over another is close to chance."""

LogitTable = Mapping[str, Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a search did.

    Attributes:
        parameter_free: share (0 to 1) of the selected candidates that have no weights; None where the candidates are
            a user's own.
        entropy_start: IES of the first mean mixture, in nats.
        entropy_end: IES of the last.
        travel_mean: mean absolute change of a logit.
        travel_max: largest absolute change of a logit.
        validation: name and value of the supernet's validation metric at the end; None if it was not evaluated.
    """

    parameter_free: float | None
    entropy_start: float
    entropy_end: float
    travel_mean: float
    travel_max: float
    validation: tuple[str, float] | None

    @property
    def undecided(self) -> bool:
        """Whether the mixture is nearly as undecided as at the start."""
        return self.entropy_end > UNDECIDED_ABOVE * self.entropy_start

    def __str__(self) -> str:
        parts = []
        if self.parameter_free is not None:
            parts.append(f"parameter-free {self.parameter_free:.0%}")
        change = (self.entropy_end / self.entropy_start - 1) if self.entropy_start else 0.0
        parts.append(f"IES {self.entropy_start:.2f} -> {self.entropy_end:.2f} ({change:+.1%})")
        parts.append(f"logits moved {self.travel_mean:.3f} on average, {self.travel_max:.3f} at most")
        if self.validation is not None:
            parts.append(f"supernet validation {self.validation[0]} {self.validation[1]:.4g}")
        line = ", ".join(parts)
        if self.undecided:
            line += "; the mixture is nearly as undecided as at the start, so the selection is close to chance"
        return line


def judge(
    architecture: Architecture,
    first: LogitTable,
    last: LogitTable,
    entropies: tuple[float, float],
    validation: tuple[str, float] | None,
) -> Verdict:
    """Put the facts of a search together.

    Args:
        architecture: what was selected.
        first: logits at the start, by key.
        last: logits at the end.
        entropies: IES at the start and at the end.
        validation: the supernet's validation metric.
    """
    moves = [abs(b - a) for key in first for a, b in zip(first[key], last[key], strict=True)]
    chosen = [candidate for _, candidate in architecture.items]
    known = all(candidate in OPERATIONS for candidate in chosen)
    return Verdict(
        parameter_free=sum(c in PARAMETER_FREE for c in chosen) / len(chosen) if known else None,
        entropy_start=entropies[0],
        entropy_end=entropies[1],
        travel_mean=sum(moves) / len(moves),
        travel_max=max(moves),
        validation=validation,
    )
