"""Test accuracies of a table made by `oche bench build`. For scoring what a search has found, never for searching."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from oche.architecture import Architecture
from oche.bench.curves import CurveTable, embedded_directory, read_array
from oche.bench.ranking import Ranking
from oche.errors import InputError

if TYPE_CHECKING:
    from importlib.abc import Traversable


@dataclass(frozen=True, eq=False)
class CurveTruth:
    """Test accuracies, in percent, of every architecture; made by `embedded` or `read`.

    Attributes:
        table: the table that they belong to.
    """

    table: CurveTable
    _test: NDArray[np.float32] = field(repr=False)

    @classmethod
    def embedded(cls, name: str = "bench125") -> CurveTruth:
        """Those of a table that comes with the package."""
        return cls._of(CurveTable.embedded(name), embedded_directory(name))

    @classmethod
    def read(cls, directory: Path | str) -> CurveTruth:
        """Those of a table that `oche bench build` has made.

        Raises:
            InputError: there is none, or it is not whole.
        """
        return cls._of(CurveTable.read(directory), Path(directory))

    @classmethod
    def _of(cls, table: CurveTable, directory: Traversable) -> CurveTruth:
        test = read_array(directory, "test.npy")
        if test.shape != (table.space.size, table.seeds):
            raise InputError(
                f"test.npy of the table in {str(directory)!r} needs {(table.space.size, table.seeds)} numbers "
                f"(architectures, seeds), but has {test.shape}; build it again"
            )
        return cls(table, test)

    def accuracy(self, architecture: Architecture) -> float:
        """Test accuracy in percent after the last epoch, mean over the seeds.

        Raises:
            InputError: the architecture is not of the table's space.
        """
        return float(self.ranking.accuracies[self.table.index(architecture)])

    def trials(self, architecture: Architecture) -> tuple[float, ...]:
        """The same of each seed."""
        return tuple(self._test[self.table.index(architecture)].tolist())

    @cached_property
    def ranking(self) -> Ranking:
        """The accuracies of all architectures, in the order of the table."""
        return Ranking(self._test.astype(np.float64).mean(axis=1))
