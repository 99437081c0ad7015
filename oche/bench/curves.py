"""Tables of a whole small space with the learning curve of every training: validation accuracies and costs.

`oche bench build` makes such a table; `bench125` comes with the package. It is a directory:

```
about.json      space, data, protocol, machine, versions: what made it
curves.npy      architectures x seeds x epochs x METRICS, float32
parameters.npy  architectures, int64
test.npy        architectures x seeds, float32, percent: for scoring only, read by `oche.bench.curve_truth`
```

Architectures are in the order in which their space enumerates them. Curves are true ones: the numbers after epoch `e`
are of the training that goes on to epoch `e + 1`, so that stopping early costs exactly what was trained. Nothing
here reads a test accuracy.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oche.architecture import Architecture
from oche.errors import InputError
from oche.spaces.registry import space_from_json
from oche.spaces.space import Space

if TYPE_CHECKING:
    from importlib.abc import Traversable

METRICS = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds")
"""Of an epoch: mean training loss and accuracy during it, validation after it (accuracies in percent), seconds since
the start of the training."""

FORMAT = 1


@dataclass(frozen=True, eq=False)
class CurveTable:
    """Validation curves and costs of every architecture; made by `embedded` or `read`.

    Attributes:
        space: whose architectures they are.
        about: what made the table: `name`, `data`, `fingerprint`, `seeds`, `protocol`, `machine`, ...
    """

    space: Space
    about: Mapping[str, Any]
    _curves: NDArray[np.float32] = field(repr=False)
    _parameters: NDArray[np.int64] = field(repr=False)

    @classmethod
    def embedded(cls, name: str = "bench125") -> CurveTable:
        """A table that comes with the package."""
        return cls._of(embedded_directory(name))

    @classmethod
    def read(cls, directory: Path | str) -> CurveTable:
        """A table that `oche bench build` has made.

        Raises:
            InputError: there is none, or it is not whole.
        """
        return cls._of(Path(directory))

    @classmethod
    def _of(cls, directory: Traversable) -> CurveTable:
        about = read_about(directory)
        try:
            space = space_from_json(json.dumps(about["space"]))
            wanted = (space.size, len(about["seeds"]), about["protocol"]["epochs"], len(METRICS))
        except (KeyError, TypeError) as error:
            raise InputError(
                f"about.json of the table in {str(directory)!r} is damaged ({type(error).__name__}: {error}); "
                "build it again"
            ) from None
        curves, parameters = read_array(directory, "curves.npy"), read_array(directory, "parameters.npy")
        if curves.shape != wanted or parameters.shape != wanted[:1]:
            raise InputError(
                f"the table in {str(directory)!r} needs curves of {wanted} numbers (architectures, seeds, epochs, "
                f"metrics) and {wanted[:1]} parameter counts, but has {curves.shape} and {parameters.shape}; "
                "build it again"
            )
        return cls(space, about, curves, parameters)

    @property
    def seeds(self) -> int:
        """Trainings of each architecture."""
        return int(self._curves.shape[1])

    @property
    def epochs(self) -> int:
        """Of each training."""
        return int(self._curves.shape[2])

    @cached_property
    def architectures(self) -> tuple[Architecture, ...]:
        """All architectures, in the order of the table."""
        return tuple(self.space.enumerate())

    @cached_property
    def _index(self) -> Mapping[Architecture, int]:
        return {architecture: i for i, architecture in enumerate(self.architectures)}

    def index(self, architecture: Architecture) -> int:
        """The place of an architecture in the table.

        Raises:
            InputError: it is not of the table's space.
        """
        self.space.domain.check(architecture)
        return self._index[architecture]

    def accuracy(self, architecture: Architecture, *, epoch: int | None = None, seed: int | None = None) -> float:
        """Validation accuracy in percent.

        Args:
            architecture: which one.
            epoch: after which (from 1); None: the last.
            seed: of which training (from 0); None: the mean over all.

        Raises:
            InputError: there is no such architecture, epoch or seed.
        """
        return float(self.accuracies(epoch=epoch, seed=seed)[self.index(architecture)])

    def accuracies(self, *, epoch: int | None = None, seed: int | None = None) -> NDArray[np.float64]:
        """The same of every architecture, in the order of the table."""
        return self._column("valid_accuracy", epoch, seed)

    def seconds(self, architecture: Architecture, *, epoch: int | None = None, seed: int | None = None) -> float:
        """Seconds of training up to an epoch, on the machine that `about` names."""
        return float(self._column("seconds", epoch, seed)[self.index(architecture)])

    def curve(self, architecture: Architecture, metric: str = "valid_accuracy", *, seed: int) -> NDArray[np.float32]:
        """A metric after each epoch of one training.

        Raises:
            InputError: there is no such architecture, metric or seed.
        """
        return self._curves[self.index(architecture), self._seed(seed), :, self._metric(metric)]

    def parameters(self, architecture: Architecture) -> int:
        """Number of weights of the network."""
        return int(self._parameters[self.index(architecture)])

    def _column(self, metric: str, epoch: int | None, seed: int | None) -> NDArray[np.float64]:
        at = self.epochs if epoch is None else epoch
        if not 1 <= at <= self.epochs:
            raise InputError(f"the table has the epochs 1 to {self.epochs}, but got epoch {epoch}")
        values = self._curves[:, :, at - 1, self._metric(metric)].astype(np.float64)
        return values.mean(axis=1) if seed is None else values[:, self._seed(seed)]

    def _seed(self, seed: int) -> int:
        if not 0 <= seed < self.seeds:
            raise InputError(f"the table has the seeds 0 to {self.seeds - 1}, but got seed {seed}")
        return seed

    def _metric(self, name: str) -> int:
        if name not in METRICS:
            raise InputError(f"the table has the metrics {', '.join(METRICS)}, but got {name!r}")
        return METRICS.index(name)


def embedded_directory(name: str) -> Traversable:
    """Where an embedded table lies."""
    return files("oche.bench") / name


def read_about(directory: Traversable) -> dict[str, Any]:
    """What made a table.

    Raises:
        InputError: there is no table, or one of another format.
    """
    try:
        about: dict[str, Any] = json.loads((directory / "about.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"there is no table in {str(directory)!r}: {error}; oche bench build makes one") from None
    written = about.get("format") if isinstance(about, dict) else None
    if written != FORMAT:
        raise InputError(
            f"the table in {str(directory)!r} has format {written!r}, but this oche reads format {FORMAT}; read it "
            "with the oche that wrote it"
        )
    return about


def read_array(directory: Traversable, name: str) -> NDArray[Any]:
    """One array of a table, read-only.

    Raises:
        InputError: it cannot be read.
    """
    try:
        array: NDArray[Any] = np.lib.format.read_array(io.BytesIO((directory / name).read_bytes()), allow_pickle=False)
    except (OSError, ValueError) as error:  # np.load would take an empty file or an archive for something else
        raise InputError(f"cannot read {name} of the table in {str(directory)!r}: {error}; build it again") from None
    array.setflags(write=False)
    return array
