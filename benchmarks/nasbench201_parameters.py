"""Compare the number of weights of all 15,625 networks of NAS-Bench-201 with the table, in processes on all cores.

    python benchmarks/nasbench201_parameters.py

Networks are built at 16 channels and 5 cells per stage, on the `meta` device, which allocates nothing. The tests do the
same for 314 of them. Prints one line, and exits with 1 if any number differs.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time

import torch

from oche.bench.encoding import SIZE, from_index
from oche.bench.table import Table
from oche.spaces.nasbench201 import nasbench201
from oche.task import ImageTask

CIFAR = ImageTask(channels=3, height=32, width=32, classes=10)


def counted(i: int) -> int:
    """The number of weights of the network with index `i`."""
    with torch.device("meta"):
        network = nasbench201().network(from_index(i), CIFAR)
    return sum(p.numel() for p in network.parameters())


def main() -> int:
    """Build and compare."""
    table, began = Table.embedded(), time.monotonic()
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        counts = pool.map(counted, range(SIZE), chunksize=64)
    wrong = [i for i, count in enumerate(counts) if count != table.parameters(i)]
    seconds = time.monotonic() - began
    equal = f"{SIZE - len(wrong)} of {SIZE} numbers of weights are the table's"
    print(f"{equal}, {seconds:.0f} s, {os.cpu_count()} processes")
    if wrong:
        print(f"different: index {', '.join(map(str, wrong[:5]))}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
