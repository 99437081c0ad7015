"""The set of architectures of a space: nodes, their edges, and how many of these a node keeps.

A `Domain` says which candidates compete on each edge, and its one rule of discretization serves magnitude
selection, random search and evolution alike: a node keeps its `keep` best edges, each with one candidate.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from math import prod

from oche.architecture import Architecture, Candidate
from oche.errors import InputError, unknown


@dataclass(frozen=True)
class Edge:
    """One decision: the candidates that compete, in the order of the logits under `key`."""

    key: str
    candidates: tuple[Candidate, ...]
    excluded: frozenset[Candidate] = frozenset()
    """Candidates that compete in the mixture but may not be selected (`none` in the DARTS spaces)."""

    @cached_property
    def selectable(self) -> tuple[Candidate, ...]:
        """The candidates that an architecture may contain."""
        return tuple(c for c in self.candidates if c not in self.excluded)


@dataclass(frozen=True)
class Node:
    """Edges that end in one place, of which an architecture keeps exactly `keep` (None: all)."""

    edges: tuple[Edge, ...]
    keep: int | None = None

    @cached_property
    def kept_sets(self) -> tuple[tuple[Edge, ...], ...]:
        """All sets of edges that an architecture may keep at this node."""
        return tuple(combinations(self.edges, self.keep)) if self.keep is not None else (self.edges,)


Pick = tuple[tuple[str, Candidate], ...]
"""What one node contributes to an architecture: its kept edges with their candidates."""


@dataclass(frozen=True)
class Domain:
    """The architectures of a space, for sampling, mutation, enumeration and selection."""

    space: str
    nodes: tuple[Node, ...]

    @cached_property
    def edges(self) -> Mapping[str, Edge]:
        """Every edge by its key, in order."""
        return {edge.key: edge for node in self.nodes for edge in node.edges}

    @cached_property
    def size(self) -> int:
        """The number of different architectures."""
        return prod(_count(node) for node in self.nodes)

    def sample(self, rng: random.Random) -> Architecture:
        """An architecture drawn uniformly from all of them."""
        choices: dict[str, Candidate] = {}
        for node in self.nodes:
            counts = [prod(len(edge.selectable) for edge in kept) for kept in node.kept_sets]
            kept = rng.choices(node.kept_sets, counts)[0]
            choices |= {edge.key: rng.choice(edge.selectable) for edge in kept}
        return Architecture.of(self.space, choices)

    def enumerate(self) -> Iterator[Architecture]:
        """Every architecture once."""
        for picks in product(*(list(_picks(node)) for node in self.nodes)):
            yield Architecture.of(self.space, dict(item for pick in picks for item in pick))

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Every architecture that differs in exactly one kept (edge, candidate) pair.

        Raises:
            InputError: `architecture` does not belong to this domain.
        """
        self.check(architecture)
        for node in self.nodes:
            mine = {e.key: architecture.choices[e.key] for e in node.edges if e.key in architecture.choices}
            for key in mine:
                others = {k: v for k, v in architecture.items if k != key}
                for edge in node.edges:
                    if edge.key != key and edge.key in mine:
                        continue
                    for candidate in edge.selectable:
                        if (edge.key, candidate) != (key, mine[key]):
                            yield Architecture.of(self.space, others | {edge.key: candidate})

    def mutate(self, architecture: Architecture, rng: random.Random) -> Architecture:
        """A neighbour drawn uniformly.

        Raises:
            InputError: `architecture` does not belong to this domain, or is its only one.
        """
        neighbours = list(self.neighbours(architecture))
        if not neighbours:
            raise InputError(f"space {self.space!r} has one architecture only, so it has no neighbour to mutate to")
        return rng.choice(neighbours)

    def strongest(self, strengths: Mapping[str, Sequence[float]]) -> Architecture:
        """Discretize: the strongest selectable candidate per edge, then the `keep` strongest edges per node.

        Ties go to the lower index, for candidates and for edges.

        Args:
            strengths: per edge key one number per candidate, comparable between the edges of a node.
        """
        choices: dict[str, Candidate] = {}
        for node in self.nodes:
            best = []
            for edge in node.edges:
                scored = list(zip(strengths[edge.key], edge.candidates, strict=True))
                best.append(max((s for s in scored if s[1] not in edge.excluded), key=lambda s: s[0]))
            # sorted() is stable, and reverse=True keeps equal elements in their order: ties to the lower input.
            order = sorted(range(len(best)), key=lambda i: best[i][0], reverse=True)
            for i in order[: node.keep]:
                choices[node.edges[i].key] = best[i][1]
        return Architecture.of(self.space, choices)

    def restrict(self, keys: Collection[str]) -> Domain:
        """The decisions on edges among `keys` only, for a supernet that lacks a kind of cell."""
        return Domain(self.space, tuple(n for n in self.nodes if all(e.key in keys for e in n.edges)))

    def check(self, architecture: Architecture, needed: Collection[str] | None = None) -> None:
        """Refuse an architecture that is not of this domain.

        Args:
            architecture: what to check.
            needed: keys of the edges whose nodes must be decided; None: all.

        Raises:
            InputError: another space, an unknown edge or candidate, or a wrong number of kept edges.
        """
        if architecture.space != self.space:
            raise InputError(
                f"this is space {self.space!r}, but the architecture belongs to space {architecture.space!r}; "
                f"use --space {architecture.space} or another architecture"
            )
        for key, candidate in architecture.items:
            if key not in self.edges:
                raise unknown("edge", key, self.edges)
            if candidate not in self.edges[key].selectable:
                names = [str(c) for c in self.edges[key].selectable]
                raise unknown(f"candidate on edge {key!r}", str(candidate), names)
        for node in (self if needed is None else self.restrict(needed)).nodes:
            keys = [edge.key for edge in node.edges]
            kept = sum(key in architecture.choices for key in keys)
            wanted = len(keys) if node.keep is None else node.keep
            if kept != wanted:
                raise InputError(f"exactly {wanted} of the edges {', '.join(keys)} must be kept, but got {kept}")


def _count(node: Node) -> int:
    return sum(prod(len(edge.selectable) for edge in kept) for kept in node.kept_sets)


def _picks(node: Node) -> Iterator[Pick]:
    for kept in node.kept_sets:
        for candidates in product(*(edge.selectable for edge in kept)):
            yield tuple((edge.key, c) for edge, c in zip(kept, candidates, strict=True))
