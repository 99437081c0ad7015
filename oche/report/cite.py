"""What `oche cite` prints: the papers of exactly the parts and the space that a run used, as BibTeX."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oche.axes import AXES
from oche.citations import brought, cited, cited_by_space, entries, parts_of
from oche.config.options import OutputOptions
from oche.methods import METHODS, method
from oche.nosh.search import SEARCHES
from oche.report.words import print_json
from oche.runs.record import RunRecord


def cite_run(path: Path, output: OutputOptions) -> None:
    """Print the references of a run: its method's parts first, then its space.

    Raises:
        InputError: there is no readable run at this path.
    """
    run = RunRecord.read(path)
    found = entries([*_of_method(run), *_of_space(run)], brought(known_parts()))
    if output.json:
        print_json(found)
    elif output.quiet:
        print(*found, sep="\n")
    else:
        print(*found.values(), sep="\n\n")


NOT_USED = ("variants", "with_perturbation", "tries")
"""Fields of a method with parts that another run would use."""


def known_parts() -> tuple[object, ...]:
    """Everything that a method can be made of, as far as it can be loaded."""
    registered = (METHODS, *(axis.registry for axis in AXES.values()))
    return (*SEARCHES.values(), *(part for registry in registered for part in registry.working()[0].values()))


def _of_method(run: RunRecord) -> Iterator[str]:
    """By the parts that were written down; in runs of an older oche, before their end, by the method asked for."""
    if "method" in run.parts:
        papers = {type(p).__name__: tuple(getattr(p, "CITES", ())) for p in parts_of(known_parts())}
        used = {field: part for field, part in run.parts["method"].items() if field not in NOT_USED}
        for name in _named_parts(used):
            yield from papers.get(name, ())
    elif run.method is not None:
        yield from cited(method(run.method).fitted(_space_name(run), run.data["name"]))


def _named_parts(described: Any) -> Iterator[str]:
    """The classes in a description of parts (`oche.plain.described`)."""
    if isinstance(described, dict):
        if "part" in described:
            yield described["part"]
        for value in described.values():
            yield from _named_parts(value)
    elif isinstance(described, list):
        for value in described:
            yield from _named_parts(value)


def _of_space(run: RunRecord) -> list[str]:
    return cited_by_space(_space_name(run))


def _space_name(run: RunRecord) -> str:
    return str(run.parts.get("space", {}).get("name", ""))
