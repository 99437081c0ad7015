"""What is decided side by side: one edge of every kind of cell at a time."""

from __future__ import annotations

from oche.domain import Domain, Node
from oche.nn.choice import kind_of


def groups(domain: Domain) -> dict[str, tuple[Node, ...]]:
    """The nodes of each kind of cell. The choices of a user's module are one group: none belongs to another.

    A cell has a node with several edges; a choice in a user's module is a node of its own.
    """
    if all(len(node.edges) == 1 for node in domain.nodes):
        return {"": domain.nodes}
    found: dict[str, list[Node]] = {}
    for node in domain.nodes:
        found.setdefault(kind_of(node.edges[0].key), []).append(node)
    return {kind: tuple(nodes) for kind, nodes in found.items()}
