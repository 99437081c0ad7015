"""The truth about NAS-Bench-201: test accuracies. For scoring what a search has found, never for searching.

Opening it is one explicit call, `Truth.embedded()` or `Truth.read(path)`. Whoever compares methods makes it after
the searches; nothing that a search gets refers to it (see `oche.bench.table`).

Here all architectures are known, and random ones are uniform over them, so the quartiles by which collapse is defined
(`oche.bench.ranking`) are those of the whole space, not of a sample.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oche.bench.columns import TEST_COLUMNS, TRIALS, Columns, accuracy_column, frozen
from oche.bench.csv_file import read_csv
from oche.bench.embedded import embedded_columns
from oche.bench.encoding import Query, index
from oche.bench.ranking import Quartiles, Ranking


@dataclass(frozen=True, eq=False)
class Truth:
    """Test accuracies of all 15,625 architectures; made by `embedded` or `read`.

    An architecture is given as `Architecture`, as the benchmark's string or as its index, and data by a name in
    `oche.bench.columns.DATA`; `epochs` is the schedule, 12 or 200. Every method raises `InputError` where the table
    has no such entry.
    """

    _columns: Columns = field(repr=False)

    @classmethod
    def embedded(cls) -> Truth:
        """The test accuracies that come with the package."""
        return cls(frozen(embedded_columns("test.npy")))

    @classmethod
    def read(cls, path: Path | str) -> Truth:
        """Those of a CSV file with the columns of `oche.bench.columns`, gzipped or not.

        Raises:
            InputError: the file is not such a table; as `oche.bench.csv_file.read_csv`.
        """
        return cls(frozen(read_csv(path, TEST_COLUMNS)))

    def accuracy(self, query: Query, data: str, *, epochs: int = 200) -> float:
        """Test accuracy in percent, mean over the seeds."""
        return float(self.accuracies(data, epochs=epochs)[index(query)])

    def accuracies(self, data: str, *, epochs: int = 200) -> NDArray[np.float64]:
        """Test accuracy in percent of every architecture, by index; read-only."""
        return self._columns[accuracy_column("test", data, epochs)]

    def trials(self, query: Query) -> tuple[float, ...]:
        """Test accuracies in percent of single seeds, for CIFAR-10 after 200 epochs: one to three.

        In 2,416 rows of the embedded table the mean (`accuracy`) covers seeds that the table does not list.
        """
        i = index(query)
        values = [float(self._columns[name][i]) for name in TRIALS]
        return tuple(value for value in values if not np.isnan(value))

    def best(self, data: str, *, epochs: int = 200) -> int:
        """The index of the architecture with the best test accuracy; of equal ones the lowest."""
        return int(self.accuracies(data, epochs=epochs).argmax())

    def rank(self, query: Query, data: str, *, epochs: int = 200) -> int:
        """1 for the best architecture: one more than the number of strictly better ones."""
        return self.ranking(data, epochs=epochs).rank(self.accuracy(query, data, epochs=epochs))

    def quartiles(self, data: str, *, epochs: int = 200) -> Quartiles:
        """The quartiles of the test accuracy over all architectures, linearly interpolated."""
        return self.ranking(data, epochs=epochs).quartiles

    def collapsed(self, query: Query, data: str, *, epochs: int = 200) -> bool:
        """Whether the accuracy lies below the lower quartile."""
        return self.ranking(data, epochs=epochs).collapsed(self.accuracy(query, data, epochs=epochs))

    def ranking(self, data: str, *, epochs: int = 200) -> Ranking:
        """The accuracies of all architectures, to rank one among them."""
        return Ranking(self.accuracies(data, epochs=epochs))
