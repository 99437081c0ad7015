"""Time, memory and calls of one bilevel first-order search step: both engines of oche against the public formulation.

A step is what a search repeats: the logit step on a validation batch, then the weight step on a training batch. All
sides get the same sizes and batches, start from the same seed and run in one process in turn, so that a slow moment of
the machine strikes all. Printed are, per side, the median of n rounds with its range, the growth of peak memory and
the operator calls; the line ends in the median over rounds of yardstick time / time of the fast engine. The yardstick
is the frozen transcription of the public formulation of the space, or the reference engine where there is none.

Sides, each of which adds to the one before it (`--ladder` measures all):

- `public`: public_darts.py or public_nasbench201.py, NCHW, every gradient at every half-step;
- `reference`: channels last, and each half-step computes only the gradients it applies;
- `depthwise`: the reference engine with quick gradients of depthwise convolutions (pure PyTorch);
- `pure`: the fast engine without compiled kernels: shared and folded, gradients written by hand;
- `fast`: the fast engine as it is;
- `batched`: what the fast engine is on other devices than a CPU, here forced on it: few operators, for their count.

Memory is the growth of the peak resident size (`ru_maxrss`) over the state after the imports, for the model and two
steps, each case in a process of its own (on CUDA: the peak of allocated memory). Those processes run first, while this
one is still small: on Linux a child's peak starts at the size of the process that started it. Operator calls are
those of the profiler in one step, without those that touch no data; a call of a compiled kernel counts as one. On a
CPU they include what operators call in their turn, such as one convolution per group of a grouped one. `asked of a GPU`
therefore counts only the outermost ones, in a step whose optimizers treat many tensors in one call, as PyTorch's do by
default on a GPU and not on a CPU. Each launches at least one kernel there.

Usage: python benchmarks/step.py [--space darts] [--channels 16] [--cells 8] [--batch 32] [--size 32] [--pairs 7]
    [--ladder] [--no-memory] [--device cuda]
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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the process that measures time imports torch only after memory has been measured
    from torch import Tensor
    from torch.autograd.profiler_util import FunctionEvent
    from torch.profiler import ProfilerActivity

Step = Callable[[], float]
CLASSES = 10

LADDER = ("public", "reference", "depthwise", "pure", "batched", "fast")
USUAL = ("public", "reference", "fast")
ASKED = ("public", "reference", "batched")
"""Sides that compute on a GPU as they do on a CPU."""

IDLE = frozenset(
    "aten::" + name
    for name in (
        "as_strided", "view", "reshape", "permute", "transpose", "t", "expand", "select", "slice", "split", "chunk",
        "unbind", "narrow", "alias", "detach", "squeeze", "unsqueeze", "result_type", "flatten", "size", "stride",
        "_unsafe_view", "view_as", "expand_as", "split_with_sizes", "unflatten", "lift_fresh",
        "empty", "new_empty", "empty_strided", "empty_like", "resize_",
        "to", "_to_copy", "contiguous", "clone", "zeros", "new_zeros", "zeros_like", "softmax", "relu", "max_pool2d",
        "conv2d", "convolution", "_convolution", "batch_norm", "_batch_norm_impl_index", "adaptive_avg_pool2d",
    )
)  # fmt: skip
"""Operators that touch no data: views, allocations, and those that only call another one."""

TRANSPARENT = (IDLE - {"aten::convolution"}) | frozenset(
    "aten::" + name
    for name in (
        "_nnpack_available", "resolve_conj", "resolve_neg", "as_strided_", "resize_as_", "new_empty_strided",
        "_reshape_alias", "squeeze_", "unfold", "detach_", "matmul", "linear", "cross_entropy_loss", "log_softmax",
        "nll_loss_nd", "nll_loss", "slice_backward", "pad", "constant_pad_nd", "stack", "item", "ones", "ones_like",
    )
)  # fmt: skip
"""The same, for the count of what a GPU is asked to do: there a convolution is one operator, whatever a CPU calls."""


def batches(args: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One training and one validation batch: `x` is `batch x 3 x size x size`, `y` is `batch`."""
    import torch

    generator = torch.Generator().manual_seed(0)
    shape = (args.batch, 3, args.size, args.size)
    train_x, valid_x = (torch.randn(shape, generator=generator).to(args.device) for _ in range(2))
    train_y, valid_y = (torch.randint(CLASSES, (args.batch,), generator=generator).to(args.device) for _ in range(2))
    return train_x, train_y, valid_x, valid_y


def public_step(args: argparse.Namespace) -> Step:
    """The frozen transcription of the space's public formulation."""
    import public_darts
    import public_nasbench201
    import torch

    torch.manual_seed(0)
    if args.space == "darts":
        network = public_darts.Network(args.channels, CLASSES, args.cells)
    else:
        network = public_nasbench201.Network(args.channels, CLASSES, args.cells)  # type: ignore[assignment]  # as duck
    network = network.to(args.device)
    network._alphas = [a.detach().to(args.device).requires_grad_() for a in network._alphas]
    step = public_darts.search_step(network)
    data = batches(args)
    return lambda: float(step(*data)[0])


def oche_step(side: str, args: argparse.Namespace) -> Step:
    """The step of oche's search loop, for the method `darts` (first order)."""
    from unittest import mock

    import torch
    from torch.nn.functional import cross_entropy

    import oche
    from oche.methods import DARTS
    from oche.moment import Moment
    from oche.nn.engine import FAST, REFERENCE, set_engine
    from oche.nn.fast import planning, quick
    from oche.step import SearchStep

    torch.manual_seed(0)
    space = oche.space(args.space).replace(supernet_stack=oche.Stack(cells=args.cells, channels=args.channels))
    supernet = space.supernet(oche.ImageTask(channels=3, height=args.size, width=args.size, classes=CLASSES))
    supernet.to(args.device)
    set_engine(supernet, FAST if side in ("pure", "batched", "fast") else REFERENCE)
    for module in supernet.modules():
        if isinstance(module, quick.Depthwise):
            module.quick = side == "depthwise"
    step = SearchStep(supernet, DARTS, cross_entropy, torch.device(args.device))
    train_x, train_y, valid_x, valid_y = batches(args)
    now = Moment(epoch=0, epochs=1)

    def run() -> float:
        if side == "fast":
            return float(step((train_x, train_y), (valid_x, valid_y), seed=0, now=now)[0].detach())
        one_by_one = () if side == "batched" else planning.ONE_BY_ONE
        with (
            mock.patch.object(planning, "library_for", _none),
            mock.patch.object(quick, "library_for", _none),
            mock.patch.object(planning, "ONE_BY_ONE", one_by_one),
        ):
            return float(step((train_x, train_y), (valid_x, valid_y), seed=0, now=now)[0].detach())

    return run


def _none(x: Tensor) -> None:
    """No compiled kernels."""


SIDES: dict[str, Callable[[argparse.Namespace], Step]] = {
    side: public_step if side == "public" else partial(oche_step, side) for side in LADDER
}


def max_rss() -> int:
    """Peak resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def report_memory(args: argparse.Namespace) -> None:
    """Body of a memory process: print how far the peak grew, in bytes."""
    import public_darts  # noqa: F401  all sides start from the same imports
    import torch

    import oche.loop  # noqa: F401

    torch.set_num_threads(args.threads)
    torch.zeros(1, requires_grad=True, device=args.device).sum().backward()  # type: ignore[no-untyped-call]
    before = max_rss()
    step = SIDES[args.memory_of](args)
    for _ in range(2):  # the second step has the optimizers' state beside the activations
        step()
    print(torch.cuda.max_memory_allocated() if args.device.startswith("cuda") else max_rss() - before)


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
            step()  # ends in a number on the host, so a GPU has finished
            if pair >= 0:
                seconds[side].append(time.perf_counter() - start)
    return seconds


def count_calls(step: Step) -> tuple[int, int]:
    """Operators that do work in one step (compiled kernels included), and kernels launched on a GPU."""
    from unittest import mock

    from torch._C._autograd import DeviceType
    from torch.profiler import profile

    from oche.nn.fast.compiled.library import Library

    compiled = 0
    call = Library.__call__

    def counting(self: Library, *arguments: object) -> None:
        nonlocal compiled
        compiled += 1
        call(self, *arguments)  # type: ignore[arg-type]

    with (
        mock.patch.object(Library, "__call__", counting),
        profile(activities=_activities()) as seen,
    ):
        step()
    events = seen.events() or []
    operators = sum(event.name.startswith("aten::") and event.name not in IDLE for event in events)
    launched = sum(event.device_type == DeviceType.CUDA for event in events)
    return operators + compiled, launched


def count_outermost(step: Step) -> int:
    """Operators that do work and are not called by another one, in a step with the optimizers' defaults for a GPU."""
    from unittest import mock

    from torch.optim import optimizer
    from torch.profiler import ProfilerActivity, profile
    from torch.utils import _foreach_utils

    name = "_get_foreach_kernels_supported_devices"
    with (
        mock.patch.object(_foreach_utils, name, return_value=["cpu"]),
        mock.patch.object(optimizer, name, return_value=["cpu"]),
        profile(activities=[ProfilerActivity.CPU]) as seen,
    ):
        step()
    return sum(_works(event) and not _called(event) for event in seen.events() or [])


def _works(event: FunctionEvent) -> bool:
    return event.name.startswith("aten::") and event.name not in TRANSPARENT


def _called(event: FunctionEvent) -> bool:
    """Whether an operator that counts calls this one."""
    parent = event.cpu_parent
    return parent is not None and (_works(parent) or _called(parent))


def _activities() -> list[ProfilerActivity]:
    import torch
    from torch.profiler import ProfilerActivity

    return [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()


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
        device=torch.device(args.device),
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


def arguments() -> argparse.Namespace:
    """The command line."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description="Time and memory of one bilevel first-order step.")
    parser.add_argument("--space", default="darts", help="search space (default: darts)")
    parser.add_argument("--channels", type=int, default=16, help="initial channels (default: 16)")
    parser.add_argument("--cells", type=int, default=8, help="cells (default: 8)")
    parser.add_argument("--batch", type=int, default=32, help="images in each batch (default: 32)")
    parser.add_argument("--size", type=int, default=32, help="height and width of an image (default: 32)")
    parser.add_argument("--pairs", type=int, default=3, help="rounds of timed steps (default: 3)")
    parser.add_argument("--threads", type=int, default=cores, help=f"torch threads (default: {cores})")
    parser.add_argument("--device", default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--ladder", action="store_true", help="measure every side, to see what each trick earns")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="measure memory, too")
    parser.add_argument("--memory-of", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.pairs < 1:
        parser.error(f"--pairs must be at least 1, but got {args.pairs}")
    return args


def main() -> None:
    """Measure and print one line per side, and the case with its ratio."""
    args = arguments()
    if args.memory_of:
        report_memory(args)
        return
    sides = [side for side in (LADDER if args.ladder else USUAL) if _has(side, args)]
    memory = {side: measure_memory(side, sys.argv[1:]) for side in sides} if args.memory else {}

    import torch

    torch.set_num_threads(args.threads)
    where = f"{cpu_model()}, {args.threads} of {os.cpu_count()} threads"
    if args.device.startswith("cuda"):
        where = torch.cuda.get_device_name(args.device)
    print(f"torch {torch.__version__}, {where}, fp32, n={args.pairs} rounds")
    steps = {side: SIDES[side](args) for side in sides}
    seconds = measure_time(steps, args.pairs)

    yardstick = seconds[sides[0]]
    columns = []
    for side, times in seconds.items():
        ratio = statistics.median(theirs / ours for theirs, ours in zip(yardstick, times, strict=True))
        operators, launched = count_calls(steps[side])
        spread = f"{statistics.median(times):.3g} s ({min(times):.3g}-{max(times):.3g})"
        peak = f", {memory[side] / 2**20:.0f} MiB" if memory else ""
        calls = f", {operators} operator calls" + (f", {launched} kernels" if launched else "")
        if side in ASKED and not launched:
            calls += f", {count_outermost(steps[side])} asked of a GPU"
        print(f"  {side:10} {spread}{peak}{calls}, {ratio:.2f}x")
        columns.append(f"{side} {statistics.median(times):.3g} s")
    case = f"{args.space} c{args.channels}x{args.cells} bs{args.batch} {args.size}x{args.size} first-order"
    print(case, *columns, f"{ratio:.2f}x")  # of the last side, the fast engine
    loading, step = measure_loading(args), statistics.median(seconds["fast"])
    print(f"loading and augmenting the two batches of a step {1000 * loading:.2f} ms, {loading / step:.2%} of the step")


def _has(side: str, args: argparse.Namespace) -> bool:
    """The public formulation exists for two spaces; the compiled kernels, and what is quick without them, for CPUs."""
    if side in ("reference", "fast"):
        return True
    return bool(args.space in ("darts", "nasbench201") if side == "public" else args.device == "cpu")


if __name__ == "__main__":
    main()
