"""IES, the summed entropy of the mixing weights (SP-DARTS Eq. 21), total and per kind of cell."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from oche.nn.choice import kind_of


def entropy(mixture: Mapping[str, Tensor]) -> float:
    """`-sum_e sum_m a_e^m log a_e^m` in nats over all edges, with 0 log 0 = 0."""
    return -sum(float(torch.special.xlogy(a.double(), a.double()).sum()) for a in mixture.values())


def entropy_by_kind(mixture: Mapping[str, Tensor]) -> dict[str, float]:
    """The same per first part of the key: `normal`, `reduction`, or the choices of a user's module."""
    kinds: dict[str, dict[str, Tensor]] = {}
    for key, a in mixture.items():
        kinds.setdefault(kind_of(key), {})[key] = a
    return {kind: entropy(part) for kind, part in kinds.items()}
