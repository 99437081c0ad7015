"""How the verdict agrees with the truth, from committed results of `oche compare`.

What a results file has of a search (logits, entropies, the architecture) is judged as at the end of that search; the
probes that look at the supernet are not part of it. The truth is a table: an architecture has collapsed where its test
accuracy lies below the lower quartile of all. No threshold of the verdict was chosen with these numbers.

    python benchmarks/verdict.py benchmarks/results/bench125-methods.jsonl
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oche.architecture import Architecture
from oche.bench.curves import CurveTable
from oche.bench.ranking import Ranking
from oche.campaign.ledger import Ledger
from oche.compare.judge import judge as truth_of
from oche.methods import method
from oche.probe.entropy import entropy
from oche.probe.findings import Status
from oche.probe.shares import none_weight, skip_lead
from oche.probe.verdict import Verdict, judge
from oche.remaining import Remaining
from oche.spaces.registry import space


def verdict(entry: Mapping[str, Any], data: str) -> Verdict:
    """What would have been said at the end of a recorded search."""
    cell = entry["cell"]
    searched = space(cell["space"])
    first, last = entry["logits"][0], entry["logits"][-1]
    domain = searched.domain.restrict(first)
    relaxation = method(cell["method"]).fitted(searched.name, data).relaxation
    left = Remaining.from_plain((entry.get("remaining") or [{}])[-1])

    def rows(table: dict[str, list[float]], remaining: Remaining) -> dict[str, torch.Tensor]:
        return relaxation.mean(remaining.narrow({key: torch.tensor(row) for key, row in table.items()}))

    end = rows(last, left)
    return judge(
        Architecture.of(searched.name, entry["architecture"]),
        domain,
        first,
        last,
        (entropy(rows(first, Remaining())), entropy(end)),
        None,
        none_weight=none_weight(left.domain(domain), end),
        skip_lead=skip_lead(left.domain(domain), end),
        stopped=entry["stopped"],
    )


def alone() -> None:
    """What the selection alone says of every architecture of `bench125`, against its *validation* columns."""
    table = CurveTable.embedded("bench125")
    domain = table.space.domain
    architectures = list(domain.enumerate())
    ranking = Ranking(np.array([table.accuracy(a) for a in architectures]))
    nothing = {key: [0.0] for key in domain.edges}
    seen = []
    for architecture in architectures:
        found = judge(architecture, domain, nothing, nothing, (0.0, 0.0), None)
        seen.append((found.status, ranking.collapsed(table.accuracy(architecture))))
    tabulate("bench125, all architectures, validation", seen)


def tabulate(title: str, seen: Iterable[tuple[Status, bool]]) -> None:
    """Print how often each verdict came with which truth."""
    counts = Counter(seen)
    print(f"\n{title}\n\n| verdict | truly collapsed | truly not |\n|---|---|---|")
    for status in reversed(Status):
        print(f"| {status} | {counts[status, True]} | {counts[status, False]} |")


def main() -> int:
    """Judge every search of the given results."""
    alone()
    for path in map(Path, sys.argv[1:]):
        ledger = Ledger.read(path, "comparison")
        data = ledger.header["config"]["truth"] or ledger.header["config"]["data"][0]
        seen: list[tuple[Status, bool]] = []
        reasons: Counter[tuple[str, bool]] = Counter()
        by_method: dict[str, list[tuple[Status, bool]]] = {}
        for entry in ledger.entries.values():
            if "logits" not in entry:  # random search decides nothing by logits
                continue
            known = truth_of(space(entry["cell"]["space"]), data, entry["fingerprint"], None)
            assert known is not None
            assert known.everything is not None
            collapsed = known.everything.collapsed(known.accuracy(entry))
            found = verdict(entry, data)
            seen.append((found.status, collapsed))
            by_method.setdefault(entry["cell"]["method"], []).append(seen[-1])
            reasons.update((f.probe, collapsed) for f in found.evidence if f.status not in (None, Status.HEALTHY))
        tabulate(f"{path.stem}: {len(seen)} searches, test", seen)
        for name, pairs in by_method.items():
            said = ", ".join(f"{n} {status}" for status, n in Counter(str(s) for s, _ in pairs).items())
            print(f"{name}: {said}; truly collapsed {sum(truth for _, truth in pairs)} of {len(pairs)}")
        print({f"{probe}, {'collapsed' if truth else 'not'}": n for (probe, truth), n in sorted(reasons.items())})
    return 0


if __name__ == "__main__":
    sys.exit(main())
