"""What logits and selection say at no cost: shares of weights and of edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from oche.architecture import Architecture, Candidate
from oche.domain import Domain
from oche.nn.operations import NONE, OPERATIONS, PARAMETER_FREE
from oche.nn.structure import SKIP


def parameter_free(architecture: Architecture) -> float | None:
    """The share (0 to 1) of the selected candidates that have no weights; None where candidates are a user's own."""
    chosen = [candidate for _, candidate in architecture.items]
    if not chosen or not known(chosen):
        return None
    return sum(c in PARAMETER_FREE for c in chosen) / len(chosen)


def none_weight(domain: Domain, rows: Mapping[str, Tensor]) -> float | None:
    """The mean weight of `none` over the edges that have it (iDARTS, Fig. 7); None if there is no such edge."""
    return _mean(
        float(row[domain.edges[key].candidates.index(NONE)])
        for key, row in rows.items()
        if NONE in domain.edges[key].candidates
    )


def skip_lead(domain: Domain, rows: Mapping[str, Tensor]) -> float | None:
    """The mean of `a_skip - mean of the parametric a` (Wang-2021, Fig. 2.3) over the edges that have both kinds."""
    leads = []
    for key, row in rows.items():
        candidates = domain.edges[key].candidates
        parametric = [i for i, c in enumerate(candidates) if c in OPERATIONS and c not in PARAMETER_FREE]
        if SKIP in candidates and parametric:
            leads.append(float(row[candidates.index(SKIP)]) - float(row[parametric].mean()))
    return _mean(leads)


def known(candidates: Iterable[Candidate]) -> bool:
    """Whether all candidates are operations of ours, of which it is known whether they have weights."""
    return all(candidate in OPERATIONS for candidate in candidates)


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None
