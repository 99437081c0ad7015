"""Selection from the logits that a search has recorded, without its supernet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from oche.architecture import Architecture
from oche.domain import Domain
from oche.mixture.base import Relaxation
from oche.select.base import Selection


def select_recorded(
    domain: Domain, table: Mapping[str, Sequence[float]], selection: Selection, relaxation: Relaxation
) -> Architecture:
    """The architecture that a rule selects by the logits alone.

    Args:
        domain: of the space; decisions without logits in the table are left out.
        table: logits by key.
        selection: the rule.
        relaxation: from logits to mixing weights.
    """
    values = {key: torch.tensor(row) for key, row in table.items()}
    return selection.preview(domain.restrict(values.keys()), values, relaxation)
