"""What the commands `methods`, `parts`, `spaces` and `data` print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from oche.axes import AXES
from oche.citations import bibliography, cited
from oche.config.options import OutputOptions
from oche.data.options import KNOWN, PATHS
from oche.errors import InputError, named
from oche.methods import DARTS, METHODS, PT, Method, Variant, method
from oche.nosh.search import SEARCHES, QuerySearch
from oche.numbers import readers
from oche.plain import described
from oche.report.words import NONE, new_console, new_table, print_block, print_json, print_line
from oche.spaces.registry import SPACES, known_architectures, space

NOT_NUMBERS = ("name", "summary", "reference", "text", "variants", "with_perturbation", "tries")
"""Fields of a method that are shown in other words."""

LABEL_WIDTH = 20
"""Characters before a value; `weight optimizer` fits."""


BY_PERTURBATION = (
    f"NAME{PT}",
    "Any method with a supernet, which then decides by what it loses without a candidate, and trains on in between.",
    "selection perturbation",
    "Wang et al.: Rethinking Architecture Selection in Differentiable NAS. ICLR 2021; Wang-2021, Alg. 1.",
)
"""The row for the rule that makes a method of any other."""


def list_methods(output: OutputOptions) -> None:
    """Print the search methods: what for, the parts that are others than those of DARTS, and the paper."""
    found, broken = METHODS.working()
    rows: list[dict[str, str]] = [
        {"name": name, "summary": m.summary, "reference": m.reference, **_axes(m)} for name, m in found.items()
    ]
    rows += [{"name": name, "summary": s.summary, "reference": s.reference} for name, s in SEARCHES.items()]
    if output.json:
        print(json.dumps(rows, indent=1))
    elif output.quiet:
        _print_names(rows)
    else:
        table, plain = _folded("method", "when to use it", "other than in darts", "reference"), _axes(DARTS)
        for row in rows:
            others = [f"{axis} {row[axis]}" for axis, part in plain.items() if row.get(axis, part) != part]
            table.add_row(row["name"], row["summary"], "\n".join(others) or NONE, row["reference"])
        table.add_row(*BY_PERTURBATION)
        print_block(new_console(), table)
    _warn(broken)


def list_parts(axis: str | None, output: OutputOptions) -> None:
    """Print the parts by name, axis by axis, with the numbers that can be given behind the name.

    Args:
        axis: one of them; None: all.
        output: what to print.

    Raises:
        InputError: there is no such axis.
    """
    rows, broken = list[dict[str, Any]](), list[InputError]()
    for name in AXES if axis is None else [axis]:
        found, errors = named("axis of a method", name, AXES).registry.working()
        rows += [
            {"axis": name, "name": key, "numbers": _numbers(part), "papers": list(dict.fromkeys(cited(part)))}
            for key, part in found.items()
        ]
        broken += errors
    if output.json:
        print(json.dumps(rows, indent=1))
    elif output.quiet:
        _print_names(rows)
    else:
        table = _folded("axis", "part", "numbers", "papers", whole=2)
        for row in rows:
            numbers = ",".join(f"{number}={word}" for number, word in row["numbers"].items())
            table.add_row(row["axis"], row["name"], numbers or NONE, ", ".join(row["papers"]) or NONE)
        print_block(new_console(), table)
    _warn(broken)


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
    for variant in _variants(chosen) if isinstance(chosen, Method) else ():
        where = ", ".join(variant.spaces) + (f" on {', '.join(variant.data)}" if variant.data else "")
        print_line(console, f"in {where}:")
        for name, value in variant.changes.items():
            if name != "tries":
                print_line(console, f"  {_label(name):<{LABEL_WIDTH - 2}}{_value(value)}")
        for number, changes in enumerate(variant.changes.get("tries", ()), 1):
            texts = (f"{_label(name)} {_value(value)}" for name, value in changes.items())
            print_line(console, f"  {f'try {number}':<{LABEL_WIDTH - 2}}{', '.join(texts)}")
    if isinstance(chosen, Method) and chosen.with_perturbation is not None:
        print_line(console, f"with {PT}:")
        for name, value in chosen.with_perturbation.items():
            print_line(console, f"  {_label(name):<{LABEL_WIDTH - 2}}{_value(value)}")
    for entry in papers.values():
        print_line(console, f"\n{entry}")


def _variants(chosen: Method) -> list[Variant]:
    """The method's numbers for text, then those for other spaces and data."""
    text = [] if chosen.text is None else [replace(chosen.text, changes=chosen.text_changes)]
    return [*text, *chosen.variants]


def list_spaces(output: OutputOptions) -> None:
    """Print the spaces and the known architectures."""
    makers, broken = SPACES.working()
    spaces = [_space(name) for name in makers]
    known = [
        {
            "name": name,
            "space": entry.architecture.space,
            "cifar_parameters": entry.cifar_parameters,
            "imagenet_parameters": entry.imagenet_parameters,
            "ptb_parameters": entry.ptb_parameters,
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
        sizes = [f"parameters ({data})" for data in ("CIFAR-10", "ImageNet", "PTB")]
        _print_table(["known architecture", "space", *sizes], known)
    _warn(broken)


def list_data(output: OutputOptions) -> None:
    """Print the data sets by name, and the files that can be given instead."""
    rows = [{"name": name, "summary": line} for name, line in (KNOWN | PATHS).items()]
    if output.json:
        print(json.dumps(rows, indent=1))
    elif output.quiet:
        _print_names(rows)
    else:
        _print_table(["data", "what it is"], rows)


def _label(field: str) -> str:
    return field.replace("_", " ")


def _axes(method: Method) -> dict[str, str]:
    """The part on each axis, as it would be written in a recipe."""
    return {name: axis.text(getattr(method, axis.field)) for name, axis in AXES.items()}


def _numbers(part: object) -> dict[str, str]:
    """The numbers of a part that can be given, as they would be written; `...` where no word means the present one."""
    return {name: form.write(getattr(part, name)) or "..." for name, form in readers(part).items()}


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


def _folded(*columns: str, whole: int = 1) -> Table:
    """A table whose columns are folded where they are too long for the console, but for the first ones."""
    table = new_table()
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number < whole)
    return table


def _warn(broken: Iterable[InputError]) -> None:
    """What could not be listed; it is no part of the list."""
    for error in broken:
        print(f"oche: warning: {error}", file=sys.stderr)


def _print_names(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(row["name"])


def _print_table(columns: list[str], rows: list[dict[str, Any]]) -> None:
    """A row's values stand in the order of the columns; numbers get separators of thousands."""
    table = Table(*columns)
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else value for value in row.values()))
    Console().print(table)
