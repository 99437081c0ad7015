"""What is still to be decided: stages and selections prune candidates, decide edges and drop them.

A decision makes the search a search on a smaller domain. Relaxations, terms and selections see the rows of what
remains and nothing else, so they need not know of decisions; `widen` takes their mixing weights back to the rows of the
supernet, where everything that does not remain has the weight zero and is not computed. A decided edge runs its one
candidate with the weight 1, since that is every relaxation of a single logit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from oche.architecture import Architecture
from oche.domain import Domain, Node
from oche.errors import InputError
from oche.nn.mixture import Live, Mixture, SparseMixture, live_in


@dataclass(frozen=True)
class Remaining:
    """The candidates that remain.

    Attributes:
        kept: by key, the places of the candidates that remain, in their order; none: the edge is dropped. Of a key that
            is absent everything remains.
    """

    kept: Live = field(default_factory=dict)

    def of(self, key: str, count: int) -> tuple[int, ...]:
        """The places that remain of a key with so many candidates."""
        return self.kept.get(key, tuple(range(count)))

    def prune(self, key: str, kept: Iterable[int]) -> Remaining:
        """Only these candidates of a key remain.

        Raises:
            InputError: one of them was pruned before.
        """
        places = tuple(sorted(set(kept)))
        if key in self.kept and not set(places) <= set(self.kept[key]):
            raise InputError(f"of {key!r} only {self.kept[key]} remain, so {places} cannot; prune what remains")
        return replace(self, kept={**self.kept, key: places})

    def decide(self, key: str, place: int) -> Remaining:
        """One candidate of a key remains."""
        return self.prune(key, (place,))

    def drop(self, keys: Collection[str]) -> Remaining:
        """These edges are no more."""
        return replace(self, kept={**self.kept, **dict.fromkeys(keys, ())})

    def decided(self, key: str) -> bool:
        """Whether a key has one candidate left, or is dropped."""
        return key in self.kept and len(self.kept[key]) < 2

    def domain(self, whole: Domain) -> Domain:
        """The domain with the edges and candidates that remain."""
        nodes = []
        for node in whole.nodes:
            edges = [
                replace(edge, candidates=tuple(edge.candidates[i] for i in self.of(edge.key, len(edge.candidates))))
                for edge in node.edges
            ]
            nodes.append(Node(tuple(edge for edge in edges if edge.candidates), node.keep))
        return Domain(whole.space, tuple(nodes))

    def narrow(self, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The entries that remain; dropped edges are absent.

        Args:
            rows: by key, `[candidates]`.
        """
        return {
            key: row[list(self.kept[key])] if key in self.kept else row
            for key, row in rows.items()
            if self.kept.get(key) != ()
        }

    def widen(self, rows: Mixture, sizes: Mapping[str, int]) -> Mixture:
        """The mixture of the whole supernet: zero where nothing remains.

        Args:
            rows: by key, the weights of the candidates that remain.
            sizes: by key, the number of all candidates.
        """
        inner = live_in(rows)
        live = {key: tuple(self.of(key, sizes[key])[i] for i in inner[key]) for key in inner}
        live = {**self.kept, **live}
        if not live:
            return rows
        some = next(iter(rows.values()))
        wide = {key: rows[key] if key in rows else some.new_zeros(size) for key, size in sizes.items()}
        for key, row in wide.items():
            if key in rows and len(row) < sizes[key]:
                places = torch.tensor(self.kept[key], device=row.device)
                wide[key] = row.new_zeros(sizes[key]).index_put((places,), row)
        return SparseMixture(wide, live)

    def to_plain(self) -> dict[str, list[int]]:
        """As JSON holds it."""
        return {key: list(places) for key, places in self.kept.items()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Iterable[int]]) -> Remaining:
        """What `to_plain` gave."""
        return cls({key: tuple(places) for key, places in plain.items()})

    @classmethod
    def only(cls, architecture: Architecture, domain: Domain) -> Remaining:
        """Nothing but an architecture of the domain."""
        choices = architecture.choices
        return cls(
            {
                key: (edge.candidates.index(choices[key]),) if key in choices else ()
                for key, edge in domain.edges.items()
            }
        )
