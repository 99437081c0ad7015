"""What a search step costs, method by method, next to first-order DARTS in the same process.

    python benchmarks/methods.py [--methods sp-darts,amended] [--pairs 7] [--space darts] [--size 32] ...

Every method makes its own step (logits and weights) with the fast engine on the same random images. `late` is the last
epoch of a search whose mixture has decided: there SP-DARTS computes one candidate per edge, so its weight step is put
beside the training step of the discrete network, per executed edge.

Prints one row per method: the median ratio to first-order DARTS over the pairs, its range, and what the paper claims.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from oche.methods import Method
    from oche.nn.supernet import Supernet

CLASSES = 10
BASE = "darts"

CLAIMS = {
    "darts-2nd": "4 passes instead of 1 in the logit step",
    "sp-darts": "1.0x dense, cheaper as p rises",
    "drnas": "about DARTS",
    "amended": "about the second order",
    "amended-exact": "about the second order",
    "sdarts-rs": "about DARTS",
    "sdarts-adv": "9 passes instead of 1 in the weight step",
    "sgas": "1.0x at first, cheaper with every decision",
    "idarts": "1.0x, and one discretization",
    "allegro": "7 passes instead of 1 in the logit step",
}
"""What the papers say, or what follows from the number of passes."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="", help="names, separated by commas (default: all)")
    parser.add_argument("--pairs", type=int, default=7, help="measured rounds")
    parser.add_argument("--space", default="darts", help="space of methods that do not need another one")
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--channels", type=int, default=24, help="a multiple of 12, which every method takes")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    import torch

    from oche.methods import METHODS

    torch.set_num_threads(args.threads)
    names = args.methods.split(",") if args.methods else list(METHODS)
    sides: dict[str, Callable[[], None]] = {BASE: method_step(METHODS[BASE], args)}
    sides |= {name: method_step(METHODS[name].fitted(args.space), args) for name in names if name != BASE}
    seconds = measured(sides, args.pairs)
    print(
        f"{platform.machine()}, {args.threads} threads, {args.device}, torch {torch.__version__}, fp32, n={args.pairs}"
    )
    print(f"{args.space}, {args.cells} cells, C={args.channels}, batch {args.batch}, {args.size}x{args.size}")
    print(f"{BASE:14s} {statistics.median(seconds[BASE]):.2f} s a step ({spread(seconds[BASE])})")
    for name in sides:
        if name != BASE:
            ratios = [a / b for a, b in zip(seconds[name], seconds[BASE], strict=True)]
            print(f"{name:14s} {statistics.median(ratios):5.2f}x ({spread(ratios)})  {CLAIMS.get(name, '')}")
    if "sp-darts" in names:
        late(args)


def late(args: argparse.Namespace) -> None:
    """The sparse step of a decided SP-DARTS search next to dense DARTS and to the discrete network."""
    from oche.methods import METHODS

    chosen = METHODS["sp-darts"].fitted("darts-without-none")
    weights_only, edges = weight_step(chosen, args)
    network, network_edges = network_step(args)
    sides = {
        BASE: method_step(METHODS[BASE], args),
        "late": method_step(chosen, args, decided=True),
        "weights": weights_only,
        "network": network,
    }
    seconds = measured(sides, args.pairs)
    ratios = [a / b for a, b in zip(seconds["late"], seconds[BASE], strict=True)]
    print(f"sp-darts, late {statistics.median(ratios):5.2f}x ({spread(ratios)})  of a step of {BASE}")
    per_edge = [(a / edges) / (b / network_edges) for a, b in zip(seconds["weights"], seconds["network"], strict=True)]
    print(f"  its weight step, {edges} edges: {statistics.median(seconds['weights']):.3f} s")
    print(f"  a training step of the network, {network_edges} edges: {statistics.median(seconds['network']):.3f} s")
    print(f"  per executed edge: {statistics.median(per_edge):.2f}x ({spread(per_edge)})")


def images(args: argparse.Namespace, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch: `batch x 3 x size x size`, and `batch` labels."""
    import torch

    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(args.batch, 3, args.size, args.size, generator=draws)
    return x.to(args.device), torch.randint(CLASSES, (args.batch,), generator=draws).to(args.device)


def supernet_for(method: Method, args: argparse.Namespace, space: str) -> Supernet:
    """The supernet of a method, in the fast engine."""
    import torch

    import oche
    from oche.nn.engine import FAST, set_engine

    torch.manual_seed(0)
    sized = oche.space(space).replace(supernet_stack=oche.Stack(cells=args.cells, channels=args.channels))
    task = oche.ImageTask(channels=3, height=args.size, width=args.size, classes=CLASSES)
    supernet = sized.supernet(task, method.structure).to(args.device)
    set_engine(supernet, FAST)
    return supernet


def method_step(method: Method, args: argparse.Namespace, *, decided: bool = False) -> Callable[[], None]:
    """A step of a method: the first one of a search, or (decided) one of its last epoch with far-apart logits."""
    import torch
    from torch.nn.functional import cross_entropy

    from oche.moment import Moment
    from oche.nn.supernet import initialize_logits
    from oche.step import SearchStep

    supernet = supernet_for(method, args, "darts-without-none" if decided else args.space)
    initialize_logits(supernet, 1.0 if decided else method.logit_std, torch.Generator().manual_seed(0))
    step = SearchStep(supernet, method, cross_entropy, torch.device(args.device))
    step.set_rates(0.0)
    train, valid = images(args, 1), images(args, 2)
    now = Moment(epoch=9, epochs=10) if decided else Moment(epoch=0, epochs=10)

    def run() -> None:
        float(step(train, valid, seed=0, now=now)[0].detach())  # ends on the host, so a GPU has finished

    return run


def weight_step(method: Method, args: argparse.Namespace) -> tuple[Callable[[], None], int]:
    """The weight half of a decided step, and the number of edges that it executes."""
    import torch
    from torch.nn.functional import cross_entropy

    from oche.moment import Moment
    from oche.nn.cell import MixedEdge
    from oche.nn.supernet import initialize_logits
    from oche.step import SearchStep

    supernet = supernet_for(method, args, "darts-without-none")
    initialize_logits(supernet, 1.0, torch.Generator().manual_seed(0))
    step = SearchStep(supernet, method, cross_entropy, torch.device(args.device))
    train = images(args, 1)

    def run() -> None:
        now = Moment(epoch=9, epochs=10)
        float(step(train, train, seed=0, now=now, move_logits=False)[0].detach())

    return run, sum(isinstance(module, MixedEdge) for module in supernet.modules())


def network_step(args: argparse.Namespace) -> tuple[Callable[[], None], int]:
    """A training step of the discrete network that those logits select, in the same sizes, and its number of edges."""
    import torch
    from torch.nn.functional import cross_entropy

    import oche
    from oche.methods import METHODS
    from oche.nn.cell import FixedEdge
    from oche.nn.engine import FAST, set_engine
    from oche.nn.supernet import initialize_logits, logits
    from oche.select.magnitude import Magnitude

    method = METHODS["sp-darts"].fitted("darts-without-none")
    supernet = supernet_for(method, args, "darts-without-none")
    initialize_logits(supernet, 1.0, torch.Generator().manual_seed(0))
    space = oche.space("darts-without-none")
    found = Magnitude().preview(space.domain, logits(supernet), method.relaxation)
    task = oche.ImageTask(channels=3, height=args.size, width=args.size, classes=CLASSES)
    network = space.network(found, task, oche.Stack(cells=args.cells, channels=args.channels)).to(args.device)
    set_engine(network, FAST)
    optimizer = method.weight_optimizer.build(network.parameters())
    x, y = images(args, 1)

    def run() -> None:
        loss = cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        float(loss.detach())

    return run, sum(isinstance(module, FixedEdge) for module in network.modules())


def measured(sides: dict[str, Callable[[], None]], pairs: int) -> dict[str, list[float]]:
    """Seconds of each side, by turns; two rounds before that are not counted (plans, kernels, optimizer state)."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(-2, pairs):
        for name, run in sides.items():
            begin = time.perf_counter()
            run()
            if number >= 0:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def spread(values: list[float]) -> str:
    """Smallest to largest."""
    return f"{min(values):.2f}-{max(values):.2f}"


if __name__ == "__main__":
    main()
