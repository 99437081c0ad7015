"""Kill runs at random moments, resume them, and compare every bit with a run that nobody disturbed.

    python benchmarks/faults.py --kills 200            # about a quarter of an hour on one core
    python benchmarks/faults.py --kills 10 --out DIR   # keeps the run directories in DIR

Each run is a tiny `oche run` on real digits: a search, the training of what it found, one random architecture. A
session is a process of its own (forked from one that has imported PyTorch, which saves the four seconds of the
import and nothing else) and is ended by SIGKILL after a random time, again and again, until the run is complete.
Then the records of all epochs (but for the seconds), the architecture, the result and all tensors of the network
and of the search's last checkpoint must be those of the undisturbed run, bit for bit.

The images lie on the device, are streamed from an array, or are decoded from files by two worker processes. In half
of the runs, saving may take nearly all of the time instead of 1 % of it, so that many kills fall into the writing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch; forked processes must not share a pool of threads

import torch
from PIL import Image

import oche.checkpoint
from oche.cli import main as command_line
from oche.data.load import load
from oche.data.options import DataOptions
from oche.runs import commands as _imported  # noqa: F401  all that a session needs, once

torch.set_num_threads(1)

SIZES = ["--space", "rdarts-s2", "--space.nodes", "1", "--space.cells", "3", "--space.channels", "4", "--threads", "1"]
SIZES += ["--search.epochs", "6", "--search.batch", "16", "--train.epochs", "4", "--train.cells", "3", "--seed", "1"]
SIZES += ["--train.channels", "4", "--train.batch", "16", "--train.drop-path", "0.2", "--train.auxiliary", "0.4"]
SIZES += ["--baseline", "random:1", "--save-every", "0.05s", "--quiet"]
LIMIT = 240
"""Training images: a run takes some seconds."""


@dataclass(frozen=True)
class Variant:
    """One way to run.

    Attributes:
        name: how the images are read.
        options: of the command line.
        eager: whether checkpoints are written nearly all of the time.
    """

    name: str
    options: tuple[str, ...]
    eager: bool


def main() -> int:
    """Run the campaign and print what came out; the status is 1 if any bit differed."""
    parser = argparse.ArgumentParser(description="Kill and resume runs; compare every bit.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments; the run itself is always the same")
    parser.add_argument("--out", type=Path, help="keep the run directories here")
    parser.add_argument("--results", type=Path, help="append the summary to this file, one JSON object a line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = (arguments.out or Path(temporary)).resolve()
        place.mkdir(parents=True, exist_ok=True)
        summary = campaign(place, arguments.kills, random.Random(arguments.seed))
    print(json.dumps(summary, indent=1))
    if arguments.results:
        with arguments.results.open("a") as file:
            file.write(json.dumps(summary) + "\n")
    return 1 if summary["different"] else 0


def campaign(place: Path, kills: int, draws: random.Random) -> dict[str, Any]:
    """Kill until there were enough kills and the last run is complete."""
    sources = {
        "device": ("--data", "digits", "--data.limit", str(LIMIT)),
        "stream": ("--data", "digits", "--data.limit", str(LIMIT), "--data.stream"),
        "files": (
            "--data",
            str(files(place / "files")),
            "--data.size",
            "8",
            "8",
            "--data.stream",
            "--data.workers",
            "2",
        ),
    }
    variants = [Variant(name, options, eager) for eager in (False, True) for name, options in sources.items()]
    whole = {}
    for name, options in sources.items():
        begin = time.monotonic()
        status = session(["run", *options, *SIZES, "--run", str(place / f"{name}-whole")], eager=False)
        assert status == 0, f"the undisturbed run ended with {status}"
        whole[name] = (bits(place / f"{name}-whole"), time.monotonic() - begin)

    landed: Counter[str] = Counter()
    runs, different, sessions, began = 0, [], 0, time.monotonic()
    while landed.total() < kills:
        variant = variants[runs % len(variants)]
        run, (expected, seconds) = place / f"{variant.name}-{runs}", whole[variant.name]
        while True:
            start = ["run", *variant.options, *SIZES, "--run", str(run)]
            words = ["resume", str(run), "--quiet"] if run.exists() else start
            status = session(words, eager=variant.eager, patience=draws.uniform(0, 0.7 * seconds))
            sessions += 1
            if status != -signal.SIGKILL:
                break
            landed[where(run)] += 1
        if status != 0:
            different.append(f"{run.name}: a session ended with status {status}")
        else:
            different += [f"{run.name}: {name}" for name in expected if bits(run)[name] != expected[name]]
        runs += 1
        print(f"run {runs}: {variant.name}, {landed.total()} kills so far, {len(different)} differences", flush=True)
    return {
        "kills": landed.total(),
        "landed in": dict(landed),
        "runs": runs,
        "sessions": sessions,
        "different": different,
        "seconds": round(time.monotonic() - began),
        "undisturbed run, seconds": {name: round(seconds, 1) for name, (_, seconds) in whole.items()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def session(words: list[str], *, eager: bool, patience: float | None = None) -> int:
    """A command in a process of its own, killed when the patience is over.

    Returns:
        Its exit status; minus the number of the signal that ended it.
    """
    child = os.fork()
    if child == 0:
        if eager:
            oche.checkpoint.SHARE = 0.9
        os._exit(command_line(words))
    deadline = None if patience is None else time.monotonic() + patience
    while deadline is None or time.monotonic() < deadline:
        done, status = os.waitpid(child, 0 if deadline is None else os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def where(run: Path) -> str:
    """What a killed session was about."""
    if not run.exists():
        return "before there was a directory"
    if any((run / "checkpoints").glob(".*.new")):
        return "writing a checkpoint"
    log = (run / "log.txt").read_text() if (run / "log.txt").exists() else ""
    begun = re.findall(r"  (search|train|random 1): \d+ epochs", log)
    return str(begun[-1]) if begun else "before the search"


def bits(run: Path) -> dict[str, Any]:
    """All that must be equal, by name."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((run / "result.json").read_text())
    checkpoint = max((run / "checkpoints").glob("search-*.pt"), key=lambda path: path.name[:13])
    state = torch.load(checkpoint, weights_only=True)["state"]
    network = torch.load(run / "network.pt", weights_only=True)
    left = sorted(path.name for path in run.rglob("*") if path.name.endswith(".new"))
    return {
        "metrics.jsonl": [timeless(record) for record in records],
        "result.json": timeless(result),
        "architecture.json": (run / "architecture.json").read_text(),
        "network.pt": raw(network),
        "supernet and optimizers": raw({name: state[name] for name in ("supernet", "optimizers")}),
        "nothing half written": left,
    }


def timeless(value: Any) -> Any:
    """Without what the clock decides."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if not k.endswith("seconds") and k != "checkpoints"}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def raw(value: Any) -> Any:
    """Tensors as their bytes, which tell -0 from 0 and compare NaN."""
    if isinstance(value, torch.Tensor):
        return value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {k: raw(v) for k, v in value.items()}
    return [raw(item) for item in value] if isinstance(value, list | tuple) else value


def files(directory: Path) -> Path:
    """The digits as image files."""
    digits = load("digits", DataOptions(limit=LIMIT))
    for split, part in (("train", digits.train), ("test", digits.test)):
        for i, label in enumerate(part.labels.tolist()):
            path = directory / split / digits.classes[label] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(part.read(torch.tensor([i]))[0, 0].numpy()).save(path)
    return directory


if __name__ == "__main__":
    sys.exit(main())
