"""Time of one training step of a discrete network, against the plain formulation.

The network is a published architecture in the size of the arguments, trained by SGD with gradient clipping. *Ours*:
channels last, and the quick gradients of depthwise convolutions; *plain*: the same network in NCHW with PyTorch's own
gradients. Both start from the same weights and run in turn in one process; the line ends in the median over pairs of
plain time / our time. That both compute the same is checked first.

Usage: python benchmarks/retrain.py [--architecture darts-v2] [--cells 20] [--channels 16] [--batch 64] [--pairs 7]
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable

import torch
from step import cpu_model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import oche
from oche.nn.engine import FAST, REFERENCE, set_engine
from oche.nn.network import CellNetwork

CLASSES = 10

TOLERANCE = 1e-9
"""Largest relative difference of the losses after a step in double precision. (In single precision a step through 20
cells turns rounding into percents, on either side.)"""


class Plain(nn.Module):
    """A cell network in NCHW throughout: `CellNetwork` itself asks for channels last."""

    def __init__(self, network: CellNetwork) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.contiguous_format)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.network.stem(x)
        for cell in self.network.cells:
            first, second = second, cell(first, second, {})
        return self.network.classifier(second.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def training_step(network: nn.Module, x: Tensor, y: Tensor) -> Callable[[], float]:
    """One step of SGD on a fixed batch."""
    optimizer = torch.optim.SGD(network.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)

    def step() -> float:
        optimizer.zero_grad()
        loss = cross_entropy(network(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        return float(loss.detach())

    return step


def main() -> None:
    """Measure and print one line."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description="Time of one training step of a discrete network.")
    parser.add_argument("--architecture", default="darts-v2", help="a known architecture (default: darts-v2)")
    parser.add_argument("--cells", type=int, default=20, help="cells (default: 20)")
    parser.add_argument("--channels", type=int, default=16, help="initial channels (default: 16)")
    parser.add_argument("--batch", type=int, default=64, help="images (default: 64)")
    parser.add_argument("--size", type=int, default=32, help="height and width of an image (default: 32)")
    parser.add_argument("--pairs", type=int, default=7, help="pairs of timed steps (default: 7)")
    parser.add_argument("--threads", type=int, default=cores, help=f"torch threads (default: {cores})")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    def steps(cells: int, batch: int, dtype: torch.dtype) -> dict[str, Callable[[], float]]:
        torch.manual_seed(0)
        stack = oche.Stack(cells=cells, channels=args.channels)
        ours = oche.space(architecture.space).network(architecture, task, stack).to(dtype)
        assert isinstance(ours, CellNetwork)
        theirs = copy.deepcopy(ours)
        set_engine(ours, FAST)
        set_engine(theirs, REFERENCE)
        x, y = torch.randn(batch, 3, args.size, args.size, dtype=dtype), torch.randint(CLASSES, (batch,))
        return {"ours": training_step(ours, x, y), "plain": training_step(Plain(theirs), x, y)}

    task = oche.ImageTask(channels=3, height=args.size, width=args.size, classes=CLASSES)
    architecture = oche.known_architectures()[args.architecture].architecture

    checked = steps(3, 4, torch.float64)
    for _ in range(2):  # the second loss depends on the first gradients
        losses = {side: step() for side, step in checked.items()}
    assert abs(losses["ours"] / losses["plain"] - 1) < TOLERANCE, losses

    timed = steps(args.cells, args.batch, torch.float32)
    for step in timed.values():
        step()  # not counted
    seconds: dict[str, list[float]] = {side: [] for side in timed}
    for _ in range(args.pairs):
        for side, step in timed.items():
            start = time.perf_counter()
            step()
            seconds[side].append(time.perf_counter() - start)
    print(f"torch {torch.__version__}, {cpu_model()}, {args.threads} of {cores} threads, fp32, n={args.pairs} pairs")
    columns = [f"{side} {statistics.median(t):.3g} s ({min(t):.3g}-{max(t):.3g})" for side, t in seconds.items()]
    ratio = statistics.median(plain / own for plain, own in zip(seconds["plain"], seconds["ours"], strict=True))
    print(f"{args.architecture} c{args.channels}x{args.cells} bs{args.batch} training", *columns, f"{ratio:.2f}x")


if __name__ == "__main__":
    main()
