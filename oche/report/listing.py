"""What the commands `methods`, `spaces` and `data` print."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from oche.config.options import OutputOptions
from oche.data.options import KNOWN, PATHS
from oche.methods import METHODS
from oche.spaces.registry import SPACES, known_architectures, space


def list_methods(output: OutputOptions) -> None:
    """Print the search methods."""
    rows = [{"name": name, "summary": m.summary, "reference": m.reference} for name, m in METHODS.items()]
    if output.json:
        print(json.dumps(rows, indent=1))
    elif output.quiet:
        _print_names(rows)
    else:
        _print_table(["method", "what it is", "paper"], rows)


def list_spaces(output: OutputOptions) -> None:
    """Print the spaces and the known architectures."""
    spaces = [_space(name) for name in SPACES]
    known = [
        {
            "name": name,
            "space": entry.architecture.space,
            "cifar_parameters": entry.cifar_parameters,
            "imagenet_parameters": entry.imagenet_parameters,
        }
        for name, entry in known_architectures().items()
    ]
    if output.json:
        print(json.dumps({"spaces": spaces, "architectures": known}, indent=1))
    elif output.quiet:
        _print_names([*spaces, *known])
    else:
        shown = [s | {"candidates": ", ".join(s["candidates"]), "size": f"{s['size']:.3g}"} for s in spaces]
        _print_table(["space", "edges", "candidates", "architectures"], shown)
        _print_table(["known architecture", "space", "parameters (CIFAR-10)", "parameters (ImageNet)"], known)


def list_data(output: OutputOptions) -> None:
    """Print the data sets by name, and the files that can be given instead."""
    rows = [{"name": name, "summary": line} for name, line in (KNOWN | PATHS).items()]
    if output.json:
        print(json.dumps(rows, indent=1))
    elif output.quiet:
        _print_names(rows)
    else:
        _print_table(["data", "what it is"], rows)


def _space(name: str) -> dict[str, Any]:
    """The edges of both cells, the candidates of any of them, and the number of architectures."""
    named = space(name)
    candidates = sorted({str(c) for edge in named.domain.edges.values() for c in edge.candidates})
    return {"name": name, "edges": len(named.domain.edges), "candidates": candidates, "size": named.size}


def _print_names(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(row["name"])


def _print_table(columns: list[str], rows: list[dict[str, Any]]) -> None:
    """A row's values stand in the order of the columns; numbers get separators of thousands."""
    table = Table(*columns)
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else value for value in row.values()))
    Console().print(table)
