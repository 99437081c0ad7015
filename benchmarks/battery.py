"""Every combination of parts in every kind of space: the full product of which the tests make all pairs.

    python benchmarks/battery.py RESULTS.jsonl [--minutes 60] [--seed 0]

Combinations come in random order; each one that its parts do not refuse is searched, stopped and resumed, and its
network built (`oche.testing.check_search`). One line per combination is appended to the results, and those that are
there already are left out, so that a later call goes on. At the end it prints how many there are, were tried, were
refused, and what failed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from itertools import product
from pathlib import Path

BASES = ("darts", "drnas")
"""Methods whose parts are all replaced; what differs are optimizers, and with them whether logits decay."""


def main() -> int:
    """Try what has not been tried, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    args = parser.parse_args()

    import torch

    from oche.axes import AXES
    from oche.errors import InputError
    from oche.methods import composed
    from oche.recipe import EMPTY
    from oche.testing import SPACES, check_search

    torch.set_num_threads(1)
    axes = {"base": [*BASES], "space": [*SPACES]}
    axes |= {axis: [*of.registry, *([EMPTY] if of.many else [])] for axis, of in AXES.items()}
    every = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    random.Random(args.seed).shuffle(every)
    lines = args.results.read_text().splitlines() if args.results.exists() else []
    done = {json.dumps(json.loads(line)["combination"], sort_keys=True) for line in lines}
    end = time.monotonic() + 60 * args.minutes
    for combination in every:
        if time.monotonic() > end:
            break
        if json.dumps(combination, sort_keys=True) in done:
            continue
        outcome, begin = {"status": "passed"}, time.monotonic()
        try:
            method = composed(combination["base"], **{axis: combination[axis] for axis in AXES})
            with tempfile.TemporaryDirectory() as place:
                check_search(method, SPACES[combination["space"]](), Path(place))
        except InputError as error:
            outcome = {"status": "refused", "reason": str(error)}
        except Exception:
            outcome = {"status": "failed", "reason": traceback.format_exc()}
        outcome |= {"seconds": f"{time.monotonic() - begin:.1f}"}
        with args.results.open("a") as file:
            file.write(json.dumps({"combination": combination, **outcome}) + "\n")
    entries = [json.loads(line) for line in args.results.read_text().splitlines()]
    counts = Counter(entry["status"] for entry in entries)
    print(f"{len(every)} combinations, of which tried: {len(entries)}; {dict(counts)}")
    for reason, count in Counter(e["reason"].split(": ", 1)[-1] for e in entries if e["status"] == "refused").items():
        print(f"refused {count} times: {reason}")
    for entry in entries:
        if entry["status"] == "failed":
            print(f"failed: {entry['combination']}\n{entry['reason']}")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
