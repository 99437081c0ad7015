"""Words per second of a recurrent search and of language models: both engines, the public formulation, an LSTM.

A round of the search is what a first-order step evaluates: on one window the gradient of the logits or the mixing
weights, on another one that of the weights, forward and backward, without optimizers. Both windows have `lanes` x
`bptt` words; words per second count those of one of them. All sides have the same sizes and run in one process in
turn, so that a slow moment of the machine strikes all. Printed are the median of n rounds with its range, and the
median over rounds of the time of a yardstick / that of the last line of its part.

Sides of the search, with the dropout of DARTS' search:

- `per edge`: public_darts_rnn.py with a matrix product and activations of its own for every edge;
- `public`: the same as it is published, one matrix product per node; both compute every gradient at each half;
- `reference`: the reference engine, edge by edge, each half with the gradients that it needs;
- `pure`: the fast engine without compiled kernels (on a GPU the fast engine itself);
- `fast`: the fast engine.

Sides of a training: `torch.nn.LSTM` of the same width behind the same embedding and before the same decoder, and the
network of a published cell in both engines. Before anything is timed, the losses of all sides of the search are
compared at equal weights, without dropout.

Usage: python benchmarks/recurrent.py [--width 300] [--lanes 64] [--bptt 35] [--vocabulary 10000] [--pairs 3]
    [--threads 2] [--device cuda] [--sides public,fast] [--no-search] [--no-training]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from unittest import mock

import public_darts_rnn
import torch
from step import cpu_model
from torch import Tensor, nn
from torch.nn import functional as F

import oche
from oche.nn.engine import FAST, REFERENCE, set_engine
from oche.nn.recurrent import quick
from oche.nn.recurrent.language_model import LanguageModel
from oche.nn.recurrent.regularization import SEARCH_DROPOUT, VariationalDropout
from oche.nn.supernet import Supernet, logits, weights
from oche.spaces.recurrent import recurrent
from oche.task import TextTask
from oche.text.loss import word_loss
from oche.text.window import Stream, Window

Round = Callable[[], float]

SEARCH = ("per edge", "public", "reference", "pure", "fast")
KNOWN = "darts-rnn-v2"


def window(args: argparse.Namespace, seed: int, stream: Stream = Stream.WEIGHTS) -> tuple[Window, Tensor]:
    """Words drawn at random, and those that follow them."""
    draws = torch.Generator().manual_seed(seed)
    words = torch.randint(args.vocabulary, (args.lanes, args.bptt + 1), generator=draws).to(args.device)
    return Window(words[:, :-1].contiguous(), 0, stream), words[:, 1:].contiguous()


def mask(probability: float, *size: int, device: str) -> Tensor:
    """Of variational dropout."""
    return torch.empty(size, device=device).bernoulli_(1 - probability) / (1 - probability)


class Public:
    """The frozen transcription."""

    def __init__(self, args: argparse.Namespace, per_edge: bool) -> None:
        torch.manual_seed(0)
        self.args = args
        self.model = public_darts_rnn.RNNModelSearch(args.vocabulary, args.width, per_edge).to(args.device)

    def loss(self, read: Window, targets: Tensor, dropout: VariationalDropout) -> Tensor:
        """Of a window."""
        device, lanes, width = self.args.device, len(read), self.args.width
        scores = self.model(
            read.tokens.t(),
            torch.zeros(lanes, width, device=device),
            mask(dropout.inputs, 1, lanes, width, device=device),
            mask(dropout.cell_inputs, lanes, width, device=device),
            mask(dropout.hidden, lanes, width, device=device),
            mask(dropout.outputs, 1, lanes, width, device=device),
        )
        return F.nll_loss(scores.flatten(0, 1), targets.t().flatten())

    def round(self) -> Round:
        """Both halves, every gradient in each."""
        one, other = window(self.args, 1), window(self.args, 2)

        def run() -> float:
            for half in (one, other):
                self.model.zero_grad()
                loss = self.loss(*half, SEARCH_DROPOUT)
                loss.backward()  # type: ignore[no-untyped-call]
            return float(loss.detach())

        return run


class Ours:
    """A supernet in one of the engines."""

    def __init__(self, args: argparse.Namespace, side: str) -> None:
        torch.manual_seed(0)
        self.args, self.side = args, side
        space = recurrent().replace(supernet_stack=oche.Stack(cells=1, channels=args.width))
        self.net: Supernet = space.supernet(TextTask(vocabulary=args.vocabulary)).to(args.device)
        set_engine(self.net, REFERENCE if side == "reference" else FAST)

    @property
    def model(self) -> LanguageModel:
        """The body."""
        assert isinstance(self.net.body, LanguageModel)
        return self.net.body

    def mixture(self) -> dict[str, Tensor]:
        """Of the logits as they are."""
        return {key: torch.softmax(value.detach(), 0) for key, value in logits(self.net).items()}

    def round(self) -> Round:
        """Both halves, each with the gradients that it needs."""
        (valid, valid_targets), (train, train_targets) = window(self.args, 1, Stream.LOGITS), window(self.args, 2)
        self.model.dropout = SEARCH_DROPOUT

        def run() -> float:
            rows = {key: a.requires_grad_() for key, a in self.mixture().items()}
            fixed = [w.detach() for w in weights(self.net)]
            torch.autograd.grad(
                word_loss(self.net.with_weights(fixed, rows, valid), valid_targets), list(rows.values())
            )
            self.net.zero_grad()
            loss = word_loss(self.net(train, self.mixture()), train_targets)
            loss.backward()  # type: ignore[no-untyped-call]
            return float(loss.detach())

        return run if self.side != "pure" else without_kernels(run)


def without_kernels(run: Round) -> Round:
    """The same without compiled kernels."""

    def bare() -> float:
        with mock.patch.object(quick, "library_of", _none):
            return run()

    return bare


def _none(x: Tensor) -> None:
    """No compiled kernels."""


def check(args: argparse.Namespace) -> None:
    """All sides have the same loss at the same weights.

    Raises:
        AssertionError: they do not.
    """
    ours, read = Ours(args, "reference"), window(args, 0)
    public = Public(args, per_edge=False)
    with torch.no_grad():
        model = ours.model
        public.model.encoder.weight.copy_(model.embedding)
        public.model.rnn._W0.copy_(model.cell.first)
        for w, value in zip(public.model.rnn._Ws, model.cell.maps, strict=True):
            w.copy_(value)
        public.model.rnn.weights.zero_()
        losses = {"public": float(public.loss(*read, VariationalDropout()))}
        public.model.rnn.per_edge = True
        losses["per edge"] = float(public.loss(*read, VariationalDropout()))
        for engine in (REFERENCE, FAST):
            set_engine(ours.net, engine)
            losses[engine] = float(word_loss(ours.net(read[0], ours.mixture()), read[1]))
    spread = max(losses.values()) - min(losses.values())
    assert spread < 1e-4, losses
    print(f"losses of all sides at equal weights: {losses['public']:.6f}, within {spread:.1e}")


class LSTM(nn.Module):
    """A language model of one LSTM layer, with a tied decoder."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, read: Window) -> Tensor:
        """Scores, `B x T x V`."""
        return F.linear(self.lstm(self.embedding(read.tokens))[0], self.embedding.weight, self.bias)


def training_round(args: argparse.Namespace, model: nn.Module) -> Round:
    """Forward and backward of one window."""
    read, targets = window(args, 1)

    def run() -> float:
        model.zero_grad()
        loss = word_loss(model(read), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    return run


def trainings(args: argparse.Namespace) -> dict[str, Round]:
    """The sides of a training."""
    task, architecture = TextTask(vocabulary=args.vocabulary), oche.known_architectures()[KNOWN].architecture
    models: dict[str, nn.Module] = {"lstm": LSTM(args.vocabulary, args.width).to(args.device)}
    for engine in (REFERENCE, FAST):
        models[f"{KNOWN}, {engine}"] = (
            recurrent().network(architecture, task, oche.Stack(cells=1, channels=args.width)).to(args.device)
        )
        set_engine(models[f"{KNOWN}, {engine}"], engine)
    for name, model in models.items():
        print(f"  {name}: {sum(w.numel() for w in model.parameters()):,} parameters")
    return {name: training_round(args, model) for name, model in models.items()}


def measure(rounds: dict[str, Round], pairs: int) -> dict[str, list[float]]:
    """Seconds of each side, in turn; one round of each before that is not counted."""
    seconds: dict[str, list[float]] = {side: [] for side in rounds}
    for pair in range(-1, pairs):
        for side, run in rounds.items():
            start = time.perf_counter()
            run()  # ends in a number on the host, so a GPU has finished
            if pair >= 0:
                seconds[side].append(time.perf_counter() - start)
    return seconds


def report(args: argparse.Namespace, seconds: dict[str, list[float]]) -> None:
    """One line per side."""
    words, last = args.lanes * args.bptt, list(seconds)[-1]
    for side, took in seconds.items():
        rates = sorted(words / t for t in took)
        ratio = statistics.median(a / b for a, b in zip(took, seconds[last], strict=True))
        print(
            f"  {side:24s} {statistics.median(rates):10,.0f} words/s ({rates[0]:,.0f} to {rates[-1]:,.0f})"
            f"   {statistics.median(took):8.3f} s   {ratio:5.2f} times that of {last}"
        )


def arguments() -> argparse.Namespace:
    """The command line."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description="Words per second of recurrent searches and trainings.")
    parser.add_argument("--width", type=int, default=300, help="of embedding and state (default: 300)")
    parser.add_argument(
        "--lanes", type=int, default=64, help="lanes of a window (default: 64; DARTS searches with 256)"
    )
    parser.add_argument("--bptt", type=int, default=35, help="words of a lane (default: 35)")
    parser.add_argument("--vocabulary", type=int, default=10_000, help="words (default: 10000, as Penn Treebank)")
    parser.add_argument("--pairs", type=int, default=3, help="timed rounds (default: 3)")
    parser.add_argument("--threads", type=int, default=cores, help=f"torch threads (default: {cores})")
    parser.add_argument("--device", default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--sides", default=",".join(SEARCH), help="of the search (default: all)")
    parser.add_argument("--search", action=argparse.BooleanOptionalAction, default=True, help="time the search")
    parser.add_argument("--training", action=argparse.BooleanOptionalAction, default=True, help="time trainings")
    args = parser.parse_args()
    if args.pairs < 1:
        parser.error(f"--pairs must be at least 1, but got {args.pairs}")
    args.sides = args.sides.split(",")
    if not set(args.sides) <= set(SEARCH):
        parser.error(f"--sides are among {', '.join(SEARCH)}")
    return args


def main() -> None:
    """Measure and print."""
    args = arguments()
    torch.set_num_threads(args.threads)
    gpu = args.device.startswith("cuda")
    print(
        f"{torch.cuda.get_device_name() if gpu else cpu_model()}, torch {torch.__version__}, {args.threads} threads, "
        f"width {args.width}, {args.lanes} lanes of {args.bptt} words, vocabulary {args.vocabulary}, n={args.pairs}"
    )
    if args.search:
        check(args)
        print("search, both halves of a step:")
        rounds = {
            side: Public(args, side == "per edge").round() if side in SEARCH[:2] else Ours(args, side).round()
            for side in args.sides
        }
        report(args, measure(rounds, args.pairs))
    if args.training:
        print("training:")
        report(args, measure(trainings(args), args.pairs))


if __name__ == "__main__":
    main()
