"""What `oche cite` prints: the papers of exactly the parts and the space that a run used, as BibTeX."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oche.citations import cited, cited_by_space, entries, parts_of
from oche.config.options import OutputOptions
from oche.methods import METHODS
from oche.nosh.search import SEARCHES
from oche.predict.proxies import PROXIES
from oche.report.words import print_json
from oche.runs.record import RunRecord


def cite_run(path: Path, output: OutputOptions) -> None:
    """Print the references of a run: its method's parts first, then its space.

    Raises:
        InputError: there is no readable run at this path.
    """
    run = RunRecord.read(path)
    found = entries([*_of_method(run), *_of_space(run)])
    if output.json:
        print_json(found)
    elif output.quiet:
        print(*found, sep="\n")
    else:
        print(*found.values(), sep="\n\n")


def _of_method(run: RunRecord) -> Iterator[str]:
    """By the parts that a finished search wrote down; before that by the method that was asked for."""
    planned = METHODS.get(run.options.get("method", ""))
    if "method" in run.parts:
        known = (*METHODS.values(), *SEARCHES.values(), *PROXIES.values())
        papers = {type(p).__name__: tuple(getattr(p, "CITES", ())) for p in parts_of(known)}
        for name in _named_parts(run.parts["method"]):
            yield from papers.get(name, ())
    elif planned:
        yield from cited(planned.fitted(_space_name(run), run.data["name"]))


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
