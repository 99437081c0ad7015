"""Architectures drawn in text."""

from __future__ import annotations

from oche.architecture import Architecture
from oche.nn.cell import CELL_INPUTS
from oche.spaces.space import Space

INPUT_NAMES = ("cell k-2", "cell k-1")
"""What the two inputs of cell k are: the outputs of the two cells before it."""


def draw(space: Space, architecture: Architecture) -> str:
    """Each cell as a list of nodes with the operations that enter them.

    ```
    normal cell
      node 0 ◀── sep_conv_3x3 ── cell k-2
             ◀── skip_connect ── cell k-1
    ```
    """
    lines = []
    width = max(len(str(candidate)) for _, candidate in architecture.items)
    for kind in space.cell_kinds():
        cell = space.cell(architecture, kind)
        if not any(cell):
            continue
        lines.append(f"{kind} cell")
        for number, edges in enumerate(cell):
            label = f"node {number}"
            for source, candidate in edges.items():
                dashes = "─" * (width - len(candidate) + 2)
                lines.append(f"  {label:7s}◀── {candidate} {dashes} {_state(source)}")
                label = ""
    return "\n".join(lines)


def _state(index: int) -> str:
    return INPUT_NAMES[index] if index < CELL_INPUTS else f"node {index - CELL_INPUTS}"
