"""The run directory: what a run leaves on disk, readable by people and by `oche show`.

```
config.json        the options as given
resolved.json      what they came to: space, training protocol, augmentation; method.json: the method's parts
manifest.json      versions, platform, device, threads, seed, data fingerprint, command line
space.json         the space, with the size of its supernet
metrics.jsonl      one record per epoch of the search and of every training
architecture.json  the selected architecture; architecture.txt shows it drawn
network.pt         the trained network: how to build it, how to normalize its input, its weights
result.json        verdict and scores
```
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import torch

from oche.config import CommonOptions
from oche.data.dataset import Dataset
from oche.errors import InputError
from oche.metrics import Meter
from oche.spaces.space import Space
from oche.version import __version__

FORMAT = 1

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn")
"""Whose versions can change a result."""


class RunDirectory:
    """A directory that is being written, and a listener that appends every epoch's record.

    Args:
        path: where; None: `runs/` with the time and a name.
        name: for the default path.

    Raises:
        InputError: the path exists already, or cannot be made.
    """

    def __init__(self, path: str | None, name: str) -> None:
        chosen = Path(path) if path is not None else _unused(Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}")
        try:
            chosen.mkdir(parents=True)
        except FileExistsError:
            raise InputError(
                f"the run directory {str(chosen)!r} exists already, and a run never writes over another; "
                "give another --run DIR, or remove it"
            ) from None
        except OSError as error:
            raise InputError(f"cannot make the directory {str(chosen)!r}: {error}; give another --run DIR") from None
        self.path = chosen

    def write_start(self, options: CommonOptions, dataset: Dataset, device: torch.device, job: str) -> None:
        """Write down what is about to be run, and on what."""
        self.write_json("config.json", {"format": FORMAT, "command": job, "options": asdict(options)})
        manifest = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command_line": sys.argv,
            "seed": options.seed,
            "device": str(device),
            "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {"oche": __version__} | {name: version(name) for name in PACKAGES},
            "data": {"name": dataset.name, "fingerprint": dataset.fingerprint, "notes": list(dataset.notes)},
        }
        self.write_json("manifest.json", manifest)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file as a whole or not at all."""
        self.write_text(name, json.dumps(_finite(value), indent=1) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file as a whole or not at all."""
        temporary = self.path / f".{name}.new"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self.path / name)

    def write_tensors(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a file that `torch.load(..., weights_only=True)` reads, as a whole or not at all."""
        temporary = self.path / f".{name}.new"
        torch.save(dict(value), temporary)
        os.replace(temporary, self.path / name)

    # -- a listener --------------------------------------------------------------------------------------------------

    def start(self, job: str, epochs: int, steps: int) -> None:
        """Nothing."""

    def step(self, epoch: int, step: int, meter: Meter) -> None:
        """Nothing."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Append the record."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(record)) + "\n")

    def finish(self) -> None:
        """Nothing."""


def described(value: object) -> Any:
    """A part, or a collection of parts, as plain values; the name of each part's class is among them."""
    if is_dataclass(value):
        return {"part": type(value).__name__} | {f.name: described(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [described(item) for item in value]
    return value


def _finite(value: Any) -> Any:
    """NaN and infinity are no JSON: null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_finite(item) for item in value]
    return value


def _unused(path: Path) -> Path:
    """The path, with a number behind it if another run of this second has it."""
    numbered = (path.with_name(f"{path.name}-{i}") for i in count(2))
    return path if not path.exists() else next(p for p in numbered if not p.exists())


def read_space(run: Path) -> Space:
    """The space of a run.

    Raises:
        InputError: the run has no readable space.
    """
    try:
        return Space.from_json((run / "space.json").read_text(encoding="utf-8"))
    except (OSError, InputError) as error:
        raise InputError(f"{str(run)!r} is no run directory with a readable space.json: {error}") from None


def read_json(run: Path, name: str) -> dict[str, Any]:
    """Read a JSON file of a run directory.

    Raises:
        InputError: there is no such run or file, or it is no JSON.
    """
    try:
        value: dict[str, Any] = json.loads((run / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{str(run)!r} is no run directory with a {name}; a run makes one, for example: oche run --run {run}"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {str(run / name)!r}: {error}") from None
    return value
