"""What the commands `methods`, `spaces` and `data` print."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.table import Table

from oche.citations import bibliography
from oche.config.options import OutputOptions
from oche.data.options import KNOWN, PATHS
from oche.methods import METHODS, Method, method
from oche.mixture.perturbation import Unperturbed
from oche.nosh.search import SEARCHES, QuerySearch
from oche.plain import described
from oche.report.words import NONE, new_console, new_table, print_block, print_json, print_line
from oche.spaces.registry import SPACES, known_architectures, space

NOT_NUMBERS = ("name", "summary", "reference", "variants")
"""Fields of a method that are shown in other words."""

LABEL_WIDTH = 18
"""Characters before a value; `weight optimizer` fits."""


def list_methods(output: OutputOptions) -> None:
    """Print the search methods, each with its part on every axis."""
    rows = [{"name": name, "summary": m.summary, "reference": m.reference, **_axes(m)} for name, m in METHODS.items()]
    rows += [{"name": name, "summary": s.summary, "reference": s.reference} for name, s in SEARCHES.items()]
    if output.json:
        print(json.dumps(rows, indent=1))
    elif output.quiet:
        _print_names(rows)
    else:
        _print_methods()


def show_method(name: str, output: OutputOptions) -> None:
    """Print one method: its parts with their numbers, what changes with space and data, and its references.

    Raises:
        InputError: the name is unknown.
    """
    chosen: Method | QuerySearch = SEARCHES[name] if name in SEARCHES else method(name)
    papers = bibliography(chosen)
    if output.json:
        print_json(described(chosen) | {"bibtex": papers})
        return
    if output.quiet:
        print(chosen.name)
        return
    console = new_console()
    print_line(console, f"{chosen.name}: {chosen.summary}")
    print_line(console, f"{chosen.reference}\n")
    for field in fields(chosen):
        if field.name not in NOT_NUMBERS:
            print_line(console, f"{_label(field.name):<{LABEL_WIDTH}}{_value(getattr(chosen, field.name))}")
    for variant in chosen.variants if isinstance(chosen, Method) else ():
        where = ", ".join(variant.spaces) + (f" on {', '.join(variant.data)}" if variant.data else "")
        print_line(console, f"in {where}:")
        for name, value in variant.changes.items():
            print_line(console, f"  {_label(name):<{LABEL_WIDTH - 2}}{_value(value)}")
    for entry in papers.values():
        print_line(console, f"\n{entry}")


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


def _print_methods() -> None:
    """The axes as a table, and below it what each method is for: a sentence does not fit beside them."""
    console, axes = new_console(), {name: _axes(m) for name, m in METHODS.items()}
    table = new_table("method", *next(iter(axes.values())))
    for name, parts in axes.items():
        table.add_row(name, *parts.values())
    print_block(console, table)
    for name, m in METHODS.items():
        print_line(console, f"{name:<{LABEL_WIDTH}}{m.summary}")
    print_line(console, "\nwithout a supernet, by training architectures or asking a table:")
    for name, search in SEARCHES.items():
        print_line(console, f"{name:<{LABEL_WIDTH}} {search.summary}")


def _label(field: str) -> str:
    return field.replace("_", " ")


def _axes(method: Method) -> dict[str, str]:
    """The parts of a method in words; what changes nothing is left out."""
    return {
        "mixture": _words(method.relaxation, *[p for p in [method.perturbation] if p != Unperturbed()]),
        "objective": _words(method.objective, *method.terms),
        "stages": _words(*method.stages),
        "selection": _words(method.selection),
    }


def _words(*parts: object) -> str:
    """The names of their classes as words: `BatchMixed` is `batch mixed`."""
    return ", ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(part).__name__).lower() for part in parts) or NONE


def _value(value: object) -> str:
    """A part with its numbers, some parts, or a number."""
    if isinstance(value, tuple):
        return ", ".join(map(_value, value)) or NONE
    return repr(value)


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
