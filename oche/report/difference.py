"""What differs between two runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from oche.runs.record import Record, RunRecord

Pairs: TypeAlias = Mapping[str, tuple[Any, Any]]
"""By dotted name, the values of the first and of the second run; None where a run has none."""

Compared: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, tuple[Any, Any]]]
"""Finds the pairs of two trees of values."""

NOT_COMPARED = ("run", "architecture")
"""Options that are paths: of the run itself, and of an architecture that is compared by what is in it."""

ENVIRONMENT = ("device", "device_name", "threads", "python", "platform", "packages", "git")
"""What a session says of itself that may change the last bits of a result."""

TIMES = ("seconds", "probe_seconds", "checkpoints")
"""Measurements of time, which no two runs share."""


@dataclass(frozen=True)
class MetricsDifference:
    """Where the records of a phase part.

    Attributes:
        epoch: the first one that differs, counted from 1.
        names: the metrics that differ there; none if only one of the runs has this epoch.
        epochs: how many the first and the second run have.
    """

    epoch: int
    names: tuple[str, ...]
    epochs: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What differs between two runs; empty where they agree.

    Attributes:
        options: of the command line or the configuration file, but not the run directory.
        parts: what the options came to, where they say something that `options` does not.
        environment: device, threads and versions; those of all sessions, if a run had several.
        data: name and fingerprint.
        architecture: candidates by edge, None where an edge was dropped; empty as long as one run has none.
        result: the status, verdict and scores, and `finished` for what only one of the runs has finished. A random
            architecture is one value, a mapping.
        metrics: by phase.
    """

    options: Pairs
    parts: Pairs
    environment: Pairs
    data: Pairs
    architecture: Pairs
    result: Pairs
    metrics: Mapping[str, MetricsDifference]

    @property
    def sections(self) -> tuple[str, ...]:
        """The names of what differs."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name))


def compare(a: RunRecord, b: RunRecord) -> Difference:
    """What differs between two runs, apart from times.

    Formats differ in how much they say: of runs of two formats, only what both say is compared.
    """
    pairs = _pairs if a.format == b.format else _common_pairs
    options = pairs(_compared_options(a), _compared_options(b))
    # `space.channels` comes to `space.supernet_stack.channels`: the same pair under a longer name tells nothing new.
    told = {(name.rpartition(".")[2], repr(pair)) for name, pair in options.items()}
    parts = pairs(a.parts, b.parts)
    return Difference(
        options=options,
        parts={k: pair for k, pair in parts.items() if (k.rpartition(".")[2], repr(pair)) not in told},
        environment=pairs(_environment(a), _environment(b)),
        data=_pairs(*({k: run.data[k] for k in ("name", "fingerprint")} for run in (a, b))),
        architecture=_architecture_pairs(a, b),
        result=_result_pairs(a, b, pairs),
        metrics=_metrics(a, b),
    )


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    flat_a, flat_b = _flat(a), _flat(b)
    pairs = {name: (flat_a.get(name), flat_b.get(name)) for name in flat_a | flat_b}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _common_pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: pair for name, pair in _pairs(a, b).items() if None not in pair}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted name; a list is one value."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _compared_options(run: RunRecord) -> dict[str, Any]:
    return {"command": run.command} | {k: v for k, v in run.options.items() if k not in NOT_COMPARED}


def _environment(run: RunRecord) -> dict[str, str]:
    """Each fact with the values of all sessions."""
    values: dict[str, dict[str, None]] = {}  # a dict keeps the order, a set does not
    for session in run.sessions:
        for name, value in _flat({k: session[k] for k in ENVIRONMENT if session.get(k) is not None}).items():
            values.setdefault(name, {})[str(value)] = None
    return {name: ", then ".join(seen) for name, seen in values.items()}


def _architecture_pairs(a: RunRecord, b: RunRecord) -> dict[str, tuple[Any, Any]]:
    if a.architecture is None or b.architecture is None:
        return {}
    return _pairs(a.architecture.choices, b.architecture.choices)


def _result_pairs(a: RunRecord, b: RunRecord, compared: Compared) -> dict[str, tuple[Any, Any]]:
    pairs = _pairs({"status": a.status}, {"status": b.status})
    of_a, of_b = _scores(a), _scores(b)
    for phase in of_a | of_b:
        if phase not in of_a or phase not in of_b:
            pairs[phase] = ("finished" if phase in of_a else None, "finished" if phase in of_b else None)
            continue
        facts = [{k: v for k, v in of[phase].items() if k not in (*TIMES, "architecture")} for of in (of_a, of_b)]
        pairs |= compared({phase: facts[0]}, {phase: facts[1]})
        random = (of_a[phase].get("architecture"), of_b[phase].get("architecture"))
        if random[0] != random[1]:
            pairs[f"{phase}.architecture"] = random
    return pairs


def _scores(run: RunRecord) -> dict[str, Mapping[str, Any]]:
    """What the result says of each phase."""
    random = {f"random {i}": scores for i, scores in enumerate(run.result.get("random", ()), 1)}
    tries = {phase: run.scores(phase) for phase in run.records if phase.partition(" ")[0] in ("search", "try")}
    found = {phase: run.result[phase] for phase in ("search", "network") if phase in run.result}
    return {phase: scores for phase, scores in tries.items() if scores} | found | random


def _metrics(a: RunRecord, b: RunRecord) -> dict[str, MetricsDifference]:
    found = {}
    for phase in {**a.records, **b.records}:
        of_a, of_b = a.records.get(phase, ()), b.records.get(phase, ())
        epochs = (len(of_a), len(of_b))
        pairs = ((i, _differing(x, y)) for i, (x, y) in enumerate(zip(of_a, of_b, strict=False), 1))
        first = next(((i, names) for i, names in pairs if names), None)
        if first is not None:
            found[phase] = MetricsDifference(*first, epochs)
        elif len(of_a) != len(of_b):
            found[phase] = MetricsDifference(min(epochs) + 1, (), epochs)
    return found


def _differing(a: Record, b: Record) -> tuple[str, ...]:
    """The metrics whose values are not the same number, bit for bit (JSON keeps every bit of a number)."""
    return tuple(name for name in {**a, **b} if name not in TIMES and a.get(name) != b.get(name))
