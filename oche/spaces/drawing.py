"""Architectures drawn in text."""

from __future__ import annotations

from oche.architecture import Architecture
from oche.nn.choice import KEY_SEPARATOR
from oche.spaces.space import Space


def draw(space: Space, architecture: Architecture) -> str:
    """Each cell as a list of nodes with the operations that enter them; cells that do not share have numbers.

    ```
    normal cell
      node 0 ◀── sep_conv_3x3 ── cell k-2
             ◀── skip_connect ── cell k-1
    ```
    """
    lines = []
    width = max(len(str(candidate)) for _, candidate in architecture.items)
    for name, cell in space.cells(architecture).items():
        if not any(cell):
            continue
        kind, _, place = name.partition(KEY_SEPARATOR)
        lines.append(f"{kind if kind == 'cell' else f'{kind} cell'} {place}".rstrip())
        for number, edges in enumerate(cell, space.first_node):
            label = f"node {number}"
            for source, candidate in edges.items():
                dashes = "─" * (width - len(candidate) + 2)
                lines.append(f"  {label:7s}◀── {candidate} {dashes} {_state(space, source)}")
                label = ""
    return "\n".join(lines)


def _state(space: Space, index: int) -> str:
    inputs = space.inputs
    return inputs[index] if index < len(inputs) else f"node {index - len(inputs) + space.first_node}"
