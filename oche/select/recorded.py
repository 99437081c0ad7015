"""Selection from the logits that a search has recorded, without its supernet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from oche.architecture import Architecture
from oche.domain import Domain
from oche.mixture.base import Relaxation
from oche.remaining import Remaining
from oche.select.base import Selection


def select_recorded(
    domain: Domain,
    table: Mapping[str, Sequence[float]],
    selection: Selection,
    relaxation: Relaxation,
    remaining: Mapping[str, Sequence[int]] | None = None,
) -> Architecture:
    """The architecture that a rule selects by the logits alone.

    Args:
        domain: of the space; decisions without logits in the table are left out.
        table: logits by key.
        selection: the rule.
        relaxation: from logits to mixing weights.
        remaining: what had not been decided yet, as `Remaining` writes it; None: everything.
    """
    values, left = {key: torch.tensor(row) for key, row in table.items()}, Remaining.from_plain(remaining or {})
    return selection.preview(left.domain(domain.restrict(values.keys())), left.narrow(values), relaxation)
