"""The columns of a NAS-Bench-201 table, and which question each answers.

| column | content |
|---|---|
| `idx`, `arch` | the benchmark's index and string (`oche.bench.encoding`) |
| `DATA_valid_200`, `DATA_valid_12` | validation accuracy in percent, mean over the seeds; may guide a search |
| `DATA_test_200`, `DATA_test_12` | test accuracy in percent, mean over the seeds; only scores a search's result |
| `cifar10_test_200_trial1` to `3` | test accuracy of single seeds in percent; empty where the table has none |
| `cifar10_cost_12_s` | seconds of training for the 12-epoch schedule on CIFAR-10 |
| `params_cifar10` | parameters of the network for CIFAR-10 |

`DATA` is `cifar10`, `cifar100` or `imagenet16`. **The schedules of 12 and 200 epochs are separate trainings**: the
first is no prefix of the second, each anneals its own learning rate to zero. `cifar10_valid_*` are of networks
trained on half of the training images, `cifar10_test_*` of networks trained on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from oche.errors import InputError, named

Columns: TypeAlias = Mapping[str, NDArray[np.float64]]
"""Values by name of the column: one per architecture, in the benchmark's order."""

DATA = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16-120": "imagenet16"}
"""The data sets, and how the columns call them."""

EPOCHS = (12, 200)
"""The schedules, in epochs."""

INDEX, STRING = "idx", "arch"
SECONDS, SECONDS_DATA, SECONDS_EPOCHS = "cifar10_cost_12_s", "cifar10", 12
PARAMETERS, PARAMETERS_DATA = "params_cifar10", "cifar10"


def accuracy_column(part: str, data: str, epochs: int) -> str:
    """The name of a column of accuracies.

    Args:
        part: `valid` or `test`.
        data: a name in `DATA`.
        epochs: of the schedule, one of `EPOCHS`.

    Raises:
        InputError: the table has no such data set or schedule.
    """
    prefix = named("data of NAS-Bench-201", data, DATA)
    if epochs not in EPOCHS:
        raise InputError(f"NAS-Bench-201 has schedules of 12 and of 200 epochs, but got epochs={epochs!r}")
    return f"{prefix}_{part}_{epochs}"


def check_covered(what: str, asked: tuple[str | int, ...], stated: tuple[str | int, ...]) -> None:
    """Refuse a question about data or a schedule for which the table does not state `what`.

    Raises:
        InputError: `asked` is not `stated`.
    """
    if asked != stated:
        raise InputError(
            f"NAS-Bench-201 tables state {what} for {_named(stated)} only, but were asked for {_named(asked)}"
        )


def _named(case: tuple[str | int, ...]) -> str:
    return " and ".join(f"{part} epochs" if isinstance(part, int) else repr(part) for part in case)


def frozen(columns: Columns) -> Columns:
    """The same columns, read-only from now on: a table hands out its arrays without copying them."""
    for values in columns.values():
        values.setflags(write=False)
    return columns


def _accuracies(part: str) -> tuple[str, ...]:
    return tuple(accuracy_column(part, data, epochs) for data in DATA for epochs in EPOCHS)


TRIALS = ("cifar10_test_200_trial1", "cifar10_test_200_trial2", "cifar10_test_200_trial3")
VALID_COLUMNS = (*_accuracies("valid"), SECONDS, PARAMETERS)
"""What a search may know."""
TEST_COLUMNS = (*_accuracies("test"), *TRIALS)
"""What only scoring may know."""
ALL_COLUMNS = (INDEX, STRING, *VALID_COLUMNS, *TEST_COLUMNS)
