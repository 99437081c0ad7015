"""What a search may ask NAS-Bench-201: validation accuracies and costs. Test accuracies are in `oche.bench.truth`.

A `Table` has never seen a test accuracy: the embedded ones are in another file, which only `Truth.embedded` opens,
and from a user's file `Table.read` keeps the other columns. No module that a search consists of imports
`oche.bench.truth`; tests hold that.

The table has neither FLOPs nor latencies; these are measured on the network itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oche.bench.columns import (
    PARAMETERS,
    PARAMETERS_DATA,
    SECONDS,
    SECONDS_DATA,
    SECONDS_EPOCHS,
    VALID_COLUMNS,
    Columns,
    accuracy_column,
    check_covered,
    frozen,
)
from oche.bench.csv_file import read_csv
from oche.bench.embedded import embedded_columns
from oche.bench.encoding import Query, index


@dataclass(frozen=True, eq=False)
class Table:
    """Validation accuracies and costs of all 15,625 architectures; made by `embedded` or `read`.

    An architecture is given as `Architecture`, as the benchmark's string or as its index, and data by a name in
    `oche.bench.columns.DATA`. Every method raises `InputError` where the table has no such entry.
    """

    _columns: Columns = field(repr=False)

    @classmethod
    def embedded(cls) -> Table:
        """The table that comes with the package."""
        return cls(frozen(embedded_columns("valid.npy")))

    @classmethod
    def read(cls, path: Path | str) -> Table:
        """A table in a CSV file with the columns of `oche.bench.columns`, gzipped or not.

        Raises:
            InputError: the file is not such a table; as `oche.bench.csv_file.read_csv`.
        """
        return cls(frozen(read_csv(path, VALID_COLUMNS)))

    def accuracy(self, query: Query, data: str, *, epochs: int = 200) -> float:
        """Validation accuracy in percent.

        Args:
            query: the architecture.
            data: what the networks were trained on.
            epochs: the schedule, 12 or 200. They are separate trainings: who trains an architecture for 12 epochs
                and then wants its accuracy after 200 pays for 212.
        """
        return float(self._columns[accuracy_column("valid", data, epochs)][index(query)])

    def accuracies(self, data: str, *, epochs: int = 200) -> NDArray[np.float64]:
        """Validation accuracy in percent of every architecture, by index; read-only."""
        return self._columns[accuracy_column("valid", data, epochs)]

    def seconds(self, query: Query, data: str = SECONDS_DATA, *, epochs: int = SECONDS_EPOCHS) -> float:
        """Seconds of training, as the table states them: for CIFAR-10 and the 12-epoch schedule only.

        The source does not say which hardware they are of, nor whether the network saw half of the training images
        or all. They are good to add up and to compare, not to predict the time on another machine.
        """
        check_covered("seconds of training", (data, epochs), (SECONDS_DATA, SECONDS_EPOCHS))
        return float(self._columns[SECONDS][index(query)])

    def parameters(self, query: Query, data: str = PARAMETERS_DATA) -> int:
        """Number of parameters of the network that was trained; stated for CIFAR-10 only."""
        check_covered("parameters", (data,), (PARAMETERS_DATA,))
        return int(self._columns[PARAMETERS][index(query)])
