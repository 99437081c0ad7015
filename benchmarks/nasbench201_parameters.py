"""Build all 15,625 networks of NAS-Bench-201 and compare their parameter counts with the table.

    python benchmarks/nasbench201_parameters.py

The networks are built on the `meta` device, without memory for their weights: more than ten minutes on one core.
"""

from __future__ import annotations

import sys
import time

import torch

from oche.bench.encoding import SIZE, from_index
from oche.bench.table import Table
from oche.spaces.nasbench201 import nasbench201
from oche.task import ImageTask


def main() -> int:
    """Print how many counts are equal; the status is 1 if one is not."""
    space, table = nasbench201(), Table.embedded()
    cifar = ImageTask(channels=3, height=32, width=32, classes=10)
    begin, different = time.monotonic(), []
    with torch.device("meta"):
        for i in range(SIZE):
            counted = sum(p.numel() for p in space.network(from_index(i), cifar).parameters())
            if counted != table.parameters(i):
                different.append((i, counted, table.parameters(i)))
    seconds = time.monotonic() - begin
    print(f"{SIZE - len(different)} of {SIZE} parameter counts are those of the table, {seconds:.0f} s")
    for i, counted, stated in different[:10]:
        print(f"index {i}: {counted}, in the table {stated}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
