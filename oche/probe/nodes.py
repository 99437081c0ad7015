"""Norms of the nodes of a cell, in units of the cell's first input (iDARTS, Sec. III-B and Fig. 3b).

Skip connections hand on the norm of what they read, and `none` hands on nothing, while all other candidates end in
batch normalization. So the norms of nodes drift apart in a search; those in the middle go to zero, and edges from the
inputs win. iDARTS divides by the norm of node `C_{k-2}`, the first input. Here each norm is per element, so that the
cells that halve the resolution can be compared with the others.
"""

from __future__ import annotations

from oche.nn.cell import MixedEdge
from oche.nn.choice import kind_of
from oche.nn.recording import NormRecorder, graphs
from oche.probe.few import look
from oche.select.scene import Scene

IMAGES = 16
"""Of the one batch that is looked at; each has hundreds of numbers per node."""


def node_norms(scene: Scene, *, images: int = IMAGES) -> dict[str, tuple[float, ...]]:
    """Per kind of cell, the norm of each node relative to the first input; means over the cells of a kind.

    A node is the state that later edges read, so behind its normalization where a structure has one. Empty for a
    supernet without cells.

    Args:
        scene: under its mean mixture.
        images: of the first batch, at most.
    """
    cells = graphs(scene.supernet)
    recorders = [NormRecorder() for _ in cells]
    look(scene, recorders, "nodes", images)
    found: dict[str, list[list[float]]] = {}
    for cell, recorder in zip(cells, recorders, strict=True):
        key = next(edge.key for edge in cell.modules() if isinstance(edge, MixedEdge))
        if recorder.sizes[0] > 0:
            relative = [size / recorder.sizes[0] for size in recorder.sizes[-len(cell.nodes) :]]
            found.setdefault(kind_of(key), []).append(relative)
    return {kind: tuple(sum(node) / len(node) for node in zip(*rows, strict=True)) for kind, rows in found.items()}
