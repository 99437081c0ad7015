"""Sets of edges that compete to be kept, before their operations do (Amended-DARTS, Appendix B.2).

A node that keeps `K` of its edges has one logit for every set of `K` of them: in the DARTS spaces 1, 3, 6 and 10 pairs.
Its sum is `y_j = sum_S p_S sum_{i in S} y_i` (Eq. 16), where `p` are the mixing weights of the sets and `y_i` is the
mixed output of edge `i`. That is linear in the edges, so every edge is weighted by the share of the sets that hold it:
`sum_{S: i in S} p_S`, which multiplies its row of the mixture. Nothing in the network changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from oche.domain import Domain
from oche.errors import InputError
from oche.nn.mixture import Mixture, SparseMixture
from oche.remaining import Remaining


@dataclass(frozen=True)
class EdgeGroups:
    """The sets of edges of each node.

    Attributes:
        sets: by the key of their logits (that of the node's first edge and a star), the sets, each of the keys of its
            edges.
    """

    sets: Mapping[str, tuple[tuple[str, ...], ...]]

    @classmethod
    def of(cls, domain: Domain) -> EdgeGroups:
        """Those of every node that keeps some of its edges.

        Raises:
            InputError: no node does.
        """
        choosing = [node for node in domain.nodes if node.keep is not None]
        if not choosing:
            raise InputError(
                f"edges can be searched where a node keeps some of them, but space {domain.space!r} keeps all; "
                "leave out the edge search, or use a space such as darts"
            )
        return cls(
            {
                f"{node.edges[0].key}*": tuple(tuple(edge.key for edge in kept) for kept in node.kept_sets)
                for node in choosing
            }
        )

    def apply(self, rows: Mixture) -> Mixture:
        """The rows of the edges, weighted by the share of the sets that hold them; those of the sets are gone.

        Args:
            rows: mixing weights of the edges and of the sets.
        """
        shares: dict[str, Tensor] = {}
        for key, sets in self.sets.items():
            for weight, kept in zip(rows[key].unbind(), sets, strict=True):
                for edge in kept:
                    shares[edge] = shares[edge] + weight if edge in shares else weight
        weighted = {key: shares[key] * a if key in shares else a for key, a in rows.items() if key not in self.sets}
        return SparseMixture(weighted, rows.live) if isinstance(rows, SparseMixture) else weighted

    def decide(self, remaining: Remaining, strengths: Mapping[str, Tensor]) -> Remaining:
        """Only the edges of the strongest set of each node remain; ties go to the lower index.

        Args:
            remaining: so far.
            strengths: by key, one number per set.
        """
        for key, sets in self.sets.items():
            kept = sets[int(torch.argmax(strengths[key]))]
            remaining = remaining.drop({edge for others in sets for edge in others} - set(kept)).drop([key])
        return remaining
