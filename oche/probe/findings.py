"""What a verdict consists of, and its text. Imports no torch, so that `oche show` need not either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Status(str, Enum):
    """What is thought of a search, from the best to the worst."""

    HEALTHY = "healthy"
    AT_RISK = "at risk"
    COLLAPSED = "collapsed"

    def __str__(self) -> str:
        return self.value


ORDER = tuple(Status)

MARKS = {Status.HEALTHY: "+", Status.AT_RISK: "!", Status.COLLAPSED: "x", None: " "}
"""Before a line of evidence; a number without a threshold has none."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of evidence.

    Attributes:
        probe: what was looked at.
        status: what it speaks for; None: a number without a threshold.
        statement: the value, and the threshold where there is one.
        remedy: what to do about it; empty where there is nothing to do.
    """

    probe: str
    status: Status | None
    statement: str
    remedy: str = ""

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Finding:
        """From its fields as JSON holds them, where a status is text."""
        return cls(**{**plain, "status": None if plain["status"] is None else Status(plain["status"])})


def worst(evidence: Sequence[Finding]) -> Status:
    """The worst status that a line speaks for; healthy if no line speaks for another."""
    statuses = [f.status for f in evidence if f.status is not None]
    return max(statuses, key=ORDER.index, default=Status.HEALTHY)


def against(evidence: Sequence[Finding]) -> list[Finding]:
    """The lines that speak against a search, the worst first."""
    found = [f for f in evidence if f.status not in (None, Status.HEALTHY)]
    return sorted(found, key=lambda f: -ORDER.index(f.status or Status.HEALTHY))


def evidence_lines(evidence: Sequence[Finding]) -> Iterator[str]:
    """Every line with its mark, those against the search first; then each remedy once."""
    first = against(evidence)
    for finding in [*first, *(f for f in evidence if f not in first)]:
        yield f"{MARKS[finding.status]} {finding.probe}: {finding.statement}"
    for remedy in dict.fromkeys(f.remedy for f in first if f.remedy):
        yield f"> {remedy}"
