"""Time and memory of one bilevel first-order search step: oche against the public formulation.

A step is what a search repeats: the logit step on a validation batch, then the weight step on a training
batch. Both sides get the same sizes and batches, start from the same seed and run in one process in turn
(reference, public, reference, ...), so that a slow moment of the machine strikes both. Printed are the
median of n pairs with its range, and the median over pairs of public time / our time: above 1 we are faster.

Memory is the growth of the peak resident size (`ru_maxrss`) over the state after the imports, for the model
and two steps, each case in a process of its own. Those processes run first, while this one is still small:
on Linux a child's peak starts at the size of the process that started it.

Usage: python benchmarks/step.py [--channels 16] [--cells 8] [--batch 32] [--size 32] [--pairs 3]
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the process that measures time imports torch only after memory has been measured
    from torch import Tensor

Step = Callable[[], float]
CLASSES = 10


def batches(args: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One training and one validation batch: `x` is `batch x 3 x size x size`, `y` is `batch`."""
    import torch

    generator = torch.Generator().manual_seed(0)
    shape = (args.batch, 3, args.size, args.size)
    train_x, valid_x = (torch.randn(shape, generator=generator) for _ in range(2))
    train_y, valid_y = (torch.randint(CLASSES, (args.batch,), generator=generator) for _ in range(2))
    return train_x, train_y, valid_x, valid_y


def public_step(args: argparse.Namespace) -> Step:
    """The frozen transcription in public_darts.py."""
    import public_darts
    import torch

    torch.manual_seed(0)
    step = public_darts.search_step(public_darts.Network(args.channels, CLASSES, args.cells))
    data = batches(args)
    return lambda: float(step(*data)[0])


def oche_step(args: argparse.Namespace) -> Step:
    """The step of oche's search loop on its reference engine, for the method `darts` (first order)."""
    import torch
    from torch.nn.functional import cross_entropy

    import oche
    from oche.loop import SearchStep
    from oche.methods import DARTS
    from oche.moment import Moment

    torch.manual_seed(0)
    space = oche.space("darts").replace(supernet_stack=oche.Stack(cells=args.cells, channels=args.channels))
    supernet = space.supernet(oche.ImageTask(channels=3, height=args.size, width=args.size, classes=CLASSES))
    step = SearchStep(supernet, DARTS, cross_entropy, torch.device("cpu"))
    train_x, train_y, valid_x, valid_y = batches(args)
    now = Moment(epoch=0, epochs=1)
    return lambda: float(step((train_x, train_y), (valid_x, valid_y), seed=0, now=now)[0].detach())


SIDES: dict[str, Callable[[argparse.Namespace], Step]] = {"reference": oche_step, "public": public_step}


def max_rss() -> int:
    """Peak resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def report_memory(args: argparse.Namespace) -> None:
    """Body of a memory process: print how far the peak grew, in bytes."""
    import public_darts  # noqa: F401  both sides start from the same imports
    import torch

    torch.set_num_threads(args.threads)
    torch.zeros(1, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call]  # autograd's own threads
    before = max_rss()
    step = SIDES[args.memory_of](args)
    for _ in range(2):  # the second step has the optimizers' state beside the activations
        step()
    print(max_rss() - before)


def measure_memory(side: str, arguments: list[str]) -> int:
    """Peak growth in bytes of `side`, in a fresh process with the same options."""
    command = [sys.executable, str(Path(__file__).resolve()), *arguments, "--memory-of", side]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.split()[-1])


def measure_time(steps: dict[str, Step], pairs: int) -> dict[str, list[float]]:
    """Seconds of each step, the sides in turn; one step of each before that is not counted."""
    seconds: dict[str, list[float]] = {side: [] for side in steps}
    for pair in range(-1, pairs):
        for side, step in steps.items():
            start = time.perf_counter()
            step()
            if pair >= 0:
                seconds[side].append(time.perf_counter() - start)
    return seconds


def measure_loading(args: argparse.Namespace, repeats: int = 50) -> float:
    """Median seconds to index, crop, flip, normalize and cut out the two batches of a step, data on the device."""
    import torch

    from oche.data.augment import Augment
    from oche.data.batches import batches as image_batches
    from oche.data.dataset import Part
    from oche.data.prepare import Normalize

    count = args.batch * repeats
    pixels = torch.randint(256, (count, 3, args.size, args.size), dtype=torch.uint8)
    part = Part(pixels, torch.arange(count) % CLASSES)
    normalize, augment = Normalize.of(part), Augment(crop_padding=4, flip=True, cutout=args.size // 2)
    feed = image_batches(
        part,
        batch=args.batch,
        normalize=normalize,
        augment=augment,
        shuffle=True,
        drop_last=True,
        seed=0,
        device=torch.device("cpu"),
    )
    seconds = []
    coming = feed.epoch(0)
    for _ in range(repeats):
        start = time.perf_counter()
        next(coming)
        seconds.append(time.perf_counter() - start)
    return 2 * statistics.median(seconds)


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Measure and print one line per case."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description="Time and memory of one bilevel first-order step.")
    parser.add_argument("--channels", type=int, default=16, help="initial channels (default: 16)")
    parser.add_argument("--cells", type=int, default=8, help="cells (default: 8)")
    parser.add_argument("--batch", type=int, default=32, help="images in each batch (default: 32)")
    parser.add_argument("--size", type=int, default=32, help="height and width of an image (default: 32)")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of timed steps (default: 3)")
    parser.add_argument("--threads", type=int, default=cores, help=f"torch threads (default: {cores})")
    parser.add_argument("--memory-of", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.pairs < 1:
        parser.error(f"--pairs must be at least 1, but got {args.pairs}")
    if args.memory_of:
        report_memory(args)
        return

    memory = {side: measure_memory(side, sys.argv[1:]) for side in SIDES}

    import torch

    torch.set_num_threads(args.threads)
    machine = f"{cpu_model()}, {args.threads} of {cores} threads"
    print(f"torch {torch.__version__}, {machine}, fp32, n={args.pairs} pairs")
    seconds = measure_time({side: make(args) for side, make in SIDES.items()}, args.pairs)

    case = f"darts c{args.channels}x{args.cells} bs{args.batch} {args.size}x{args.size} first-order"
    columns = []
    for side, times in seconds.items():
        spread = f"({min(times):.3g}-{max(times):.3g})"
        columns.append(f"{side} {statistics.median(times):.3g} s {spread} {memory[side] / 2**20:.0f} MiB")
    ratios = [theirs / ours for ours, theirs in zip(seconds["reference"], seconds["public"], strict=True)]
    print(case, *columns, f"{statistics.median(ratios):.2f}x")
    loading, step = measure_loading(args), statistics.median(seconds["reference"])
    print(f"loading and augmenting the two batches of a step {1000 * loading:.2f} ms, {loading / step:.2%} of the step")


if __name__ == "__main__":
    main()
