"""Which selected operations matter: those on a path from a cell's input to its output.

Where `none` may be selected (NAS-Bench-201), a convolution behind a node that nothing reaches computes on zeros, and
one that leads into `none` is not heard.

Keys of cells say which states an edge joins: `normal/3<-0` runs from state 0 to state 3. The states below the first
node are inputs. Where nodes keep a number of edges, as in the DARTS spaces, every node is part of the output; where
they keep all of them, as in NAS-Bench-201, the last one is the output.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from oche.architecture import Architecture, Candidate
from oche.domain import Domain
from oche.nn.operations import NONE

KEY = re.compile(r"(?P<kind>[^/]+)/(?P<node>\d+)<-(?P<source>\d+)")


def on_paths(architecture: Architecture, domain: Domain) -> dict[str, list[Candidate]] | None:
    """Per kind of cell, the selected candidates on a path; None where keys are not those of cells.

    Args:
        architecture: of the domain.
        domain: the decisions.
    """
    cells: dict[str, dict[int, dict[int, Candidate]]] = {}
    outputs: dict[str, set[int]] = {}
    for node in domain.nodes:
        for edge in node.edges:
            match = KEY.fullmatch(edge.key)
            if match is None:
                return None
            kind, state, source = match["kind"], int(match["node"]), int(match["source"])
            into = cells.setdefault(kind, {}).setdefault(state, {})
            if architecture.choices.get(edge.key, NONE) != NONE:
                into[source] = architecture.choices[edge.key]
            outputs[kind] = {state} if node.keep is None else outputs.get(kind, set()) | {state}
    return {kind: list(_on_paths(nodes, outputs[kind])) for kind, nodes in cells.items()}


def _on_paths(nodes: dict[int, dict[int, Candidate]], outputs: set[int]) -> Iterable[Candidate]:
    """Nodes in the order of their states, each with the candidates that enter it by the state they read."""
    reached = set(range(min(nodes)))  # the inputs
    for state, into in nodes.items():
        if reached & into.keys():
            reached.add(state)
    heard = set(outputs)
    for state in reversed(nodes):
        if state in heard:
            heard |= nodes[state].keys()
    for state, into in nodes.items():
        for source, candidate in into.items():
            if state in heard and source in reached:
                yield candidate
