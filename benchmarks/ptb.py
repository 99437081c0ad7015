"""Recurrent cells on Penn Treebank at a reduced size: search, equal training, and what they are worth.

    python benchmarks/ptb.py RESULTS.jsonl --data DIR [--device cuda] [--workers 8] [--minutes 9]
    python benchmarks/ptb.py RESULTS.jsonl --report [--figure FILE.png]

The pieces, each a line of the results file when it is done; called again, it goes on with those that are missing:

- `search METHOD SEED`: a search of `--search-epochs` epochs at `--search-width`;
- `train NAME`: the training of a cell, all alike: of every architecture that a search has found, of random ones, of the
  published `darts-rnn-v2`, and of an LSTM with as many parameters;
- `ngram`: a 5-gram with modified Kneser-Ney smoothing on the same words.

Searches see the training and the validation text. The test text is read once, after each training, for the report.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

METHODS = ("darts", "darts-2nd", "amended", "drnas")
SEEDS = (0, 1, 2)
RANDOM = 3
KNOWN = "darts-rnn-v2"
SHORTEST = 20.0
"""Seconds before the end in which nothing is begun any more."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of searches and trainings.

    Attributes:
        search_words: of the training text, from its beginning.
        search_vocabulary: different words of it.
        search_width: of the supernet.
        search_epochs: of a search.
        search_lanes: its batch.
        search_bptt: words of a lane per step.
        words: of the training text that trains networks and is counted by the 5-gram, from its beginning.
        vocabulary: different words of it.
        scored: words of the validation and of the test text, from their beginnings.
        width: of the networks; that of the LSTM is what gives it as many parameters.
        epochs: of a training.
        lanes: its batch.
        bptt: words of a lane per step, in the mean.
    """

    search_words: int = 160_000
    search_vocabulary: int = 3_000
    search_width: int = 100
    search_epochs: int = 4
    search_lanes: int = 64
    search_bptt: int = 20
    words: int = 929_589
    vocabulary: int = 10_000
    scored: int = 82_430
    width: int = 200
    epochs: int = 10
    lanes: int = 128
    bptt: int = 10


def main() -> None:
    """Compute what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--data", type=Path, help="directory with ptb.train.txt, ptb.valid.txt and ptb.test.txt")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="begin nothing after this time, and stop soon after"
    )
    parser.add_argument("--only", default="", help="pieces whose names begin so")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--figure", type=Path)
    for name, value in asdict(Sizes()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    args = parser.parse_args()
    if args.report:
        report(args.results, args.figure)
        return
    sizes = Sizes(**{name: getattr(args, name) for name in asdict(Sizes())})
    compute(args, sizes)


# -- computing ---------------------------------------------------------------------------------------------------------


def compute(args: argparse.Namespace, sizes: Sizes) -> None:
    """Every missing piece, several at a time."""
    end = time.monotonic() + 60 * args.minutes
    done = read(args.results)
    running: dict[Any, str] = {}
    with ProcessPoolExecutor(args.workers, multiprocessing.get_context("spawn")) as pool:
        while True:
            left = end - time.monotonic()
            for name in pieces(done):
                free = len(running) < args.workers and left > SHORTEST
                if free and name not in done and name not in running.values() and name.startswith(args.only):
                    piece = Piece(name, sizes, str(args.data), args.device, args.threads, left - SHORTEST / 2)
                    running[pool.submit(run, piece, architecture_of(name, done))] = name
            if not running:
                return
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                name = running.pop(future)
                entry = future.result()
                if entry["stopped"]:
                    print(f"{name}: {entry['stopped']}, not written down", flush=True)
                    done[name] = {"architecture": None}  # not again by this process
                    continue
                with args.results.open("a") as file:
                    file.write(json.dumps(entry) + "\n")
                done[name] = entry
                print(f"{name}: {headline(entry)}", flush=True)


def pieces(done: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Names of all pieces that can be begun now."""
    yield "ngram"
    for seed in SEEDS:  # the slow methods first
        yield from (f"search {method} {seed}" for method in reversed(METHODS))
    yield from ("train lstm", f"train {KNOWN}", *(f"train random {i}" for i in range(RANDOM)))
    seen = set()
    for name, entry in done.items():
        if name.startswith("search ") and entry.get("architecture"):
            text = json.dumps(entry["architecture"], sort_keys=True)
            if text not in seen:
                seen.add(text)
                yield f"train {name}"


def architecture_of(name: str, done: Mapping[str, Mapping[str, Any]]) -> dict[str, str] | None:
    """What a search has found, for its training."""
    entry = done.get(name.removeprefix("train "))
    return None if entry is None else entry["architecture"]


@dataclass(frozen=True)
class Piece:
    """What a process is to do."""

    name: str
    sizes: Sizes
    data: str
    device: str
    threads: int
    seconds: float


def run(piece: Piece, architecture: dict[str, str] | None) -> dict[str, Any]:
    """Compute a piece."""
    import torch

    import oche
    from oche.text.corpus import Corpus

    torch.set_num_threads(piece.threads)
    kind, _, what = piece.name.partition(" ")
    sizes, options = piece.sizes, oche.DataOptions(root=piece.data)
    if kind == "search":
        corpus = oche.load("ptb", replace(options, limit=sizes.search_words, vocabulary=sizes.search_vocabulary))
    else:
        corpus = oche.load("ptb", replace(options, limit=sizes.words, vocabulary=sizes.vocabulary))
        assert isinstance(corpus, Corpus)
        corpus = replace(corpus, valid=corpus.valid[: sizes.scored], test=corpus.test[: sizes.scored])
    began = time.monotonic()
    try:
        found = {"ngram": ngram, "search": search, "train": train}[kind](piece, what, corpus, architecture)
    except (RuntimeError, oche.InputError) as error:  # of the device, or nothing can be selected
        return {"stopped": f"{type(error).__name__}: {error}"}
    where = torch.cuda.get_device_name() if piece.device.startswith("cuda") else platform.processor() or "cpu"
    return {
        "piece": piece.name,
        "sizes": asdict(piece.sizes),
        "seconds": time.monotonic() - began,
        "machine": f"{where}, torch {torch.__version__}, {piece.threads} threads",
        "stopped": None,
        **found,
    }


def ngram(piece: Piece, what: str, corpus: Any, architecture: Any) -> dict[str, Any]:
    """The 5-gram."""
    from oche.text.ngram import NGram

    model = NGram(corpus.train, len(corpus.vocabulary))
    return {"valid": model.perplexity(corpus.valid), "test": model.perplexity(corpus.test)}


def search(piece: Piece, what: str, corpus: Any, architecture: Any) -> dict[str, Any]:
    """A search."""
    import oche
    from oche.nn.network import Stack
    from oche.spaces.recurrent import recurrent

    method, seed = what.split()
    space = recurrent().replace(supernet_stack=Stack(cells=1, channels=piece.sizes.search_width))
    found = oche.search(
        space,
        data=corpus,
        method=method,
        protocol=protocol(piece.sizes),
        epochs=piece.sizes.search_epochs,
        batch=piece.sizes.search_lanes,
        bptt=piece.sizes.search_bptt,
        time_limit=piece.seconds,
        seed=int(seed),
        device=piece.device,
    )
    records = found.found.records
    return {
        "architecture": dict(found.architecture.items),
        "verdict": str(found.verdict),
        "status": found.verdict.status,
        "steps": found.found.steps,
        "valid": [record.get("valid_perplexity") for record in records],
        "entropy": [record["entropy"] for record in records],
        "selections": [record["architecture"] for record in records],
        "stopped": found.found.stopped,
    }


def train(piece: Piece, what: str, corpus: Any, architecture: dict[str, str] | None) -> dict[str, Any]:
    """A training, always with the same seed."""
    import oche
    from oche.nn.network import Stack
    from oche.spaces.recurrent import recurrent

    sizes = piece.sizes
    space, stack = recurrent(), Stack(cells=1, channels=sizes.width)
    if what == "lstm":
        model: Any = lstm(len(corpus.vocabulary), sizes.width)
    elif what == KNOWN:
        model = oche.known_architectures()[KNOWN].architecture
    elif what.startswith("random"):
        model = space.sample(Random(what))
    else:
        assert architecture is not None
        model = oche.Architecture.of(space.name, architecture)
    trained = oche.train(
        model,
        data=corpus,
        space=space,
        stack=stack,
        protocol=protocol(sizes),
        time_limit=piece.seconds,
        device=piece.device,
    )
    return {
        "architecture": dict(model.items) if isinstance(model, oche.Architecture) else None,
        "parameters": trained.parameters,
        "curve": [record["valid_perplexity"] for record in trained.records],
        "averaged_from": next((r["epoch"] for r in trained.records if r.get("averaged")), None),
        "best_epoch": trained.best_epoch,
        "valid": trained.validation["perplexity"],
        "test": trained.test["perplexity"],
        "stopped": trained.stopped,
    }


def protocol(sizes: Sizes) -> Any:
    """`text-small` at the sizes of this comparison, with the dropout that a narrow network bears."""
    from oche.nn.network import Stack
    from oche.nn.recurrent.regularization import VariationalDropout
    from oche.training.protocol import protocol as named

    rules = named("text-small")
    assert rules.language is not None
    dropout = VariationalDropout(embedding=0.05, inputs=0.2, cell_inputs=0.3, hidden=0.1, outputs=0.3)
    return replace(
        rules,
        stack=Stack(cells=1, channels=sizes.width),
        epochs=sizes.epochs,
        batch=sizes.lanes,
        language=replace(rules.language, bptt=sizes.bptt, dropout=dropout, test_lanes=10),
    )


def lstm(vocabulary: int, width: int) -> Any:
    """A language model around PyTorch's LSTM, with as many parameters as a cell of this width gives, and no more care.

    Its variational dropout is that of a cell, except that nothing inside the recurrence is dropped.
    """
    import torch
    from torch import Tensor, nn

    from oche.nn.recurrent.cell import Masks, RecurrentCell
    from oche.nn.recurrent.language_model import LanguageModel
    from oche.task import TextTask

    class Cell(nn.Module):
        """In the place of a found cell. Beside the state that the model carries it has one of its own, by lanes."""

        def __init__(self, inner: int) -> None:
            super().__init__()
            self.lstm = nn.LSTM(inner, inner, batch_first=True)
            self.inside: dict[int, Tensor] = {}

        def forward(self, x: Tensor, h: Tensor, masks: Masks, mixture: object) -> Tensor:
            x = x if masks.inputs is None else x * masks.inputs[:, None]
            kept = self.inside[len(h)] if h.any() else torch.zeros_like(h)  # a text begins with zeros
            output, (_, c) = self.lstm(x, (h[None].contiguous(), kept[None].contiguous()))
            self.inside[len(h)] = c[0].detach()
            return output  # type: ignore[no-any-return]

    def count(inner: int) -> int:
        return vocabulary * (inner + 1) + 8 * inner * inner + 8 * inner

    wanted = vocabulary * (width + 1) + (2 * width) ** 2 + 8 * 2 * width * width
    inner = min(range(8, 4 * width), key=lambda size: abs(count(size) - wanted))
    cell: Any = Cell(inner)
    assert not isinstance(cell, RecurrentCell)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LanguageModel(TextTask(vocabulary=vocabulary), inner, cell)


# -- reporting ---------------------------------------------------------------------------------------------------------


def read(results: Path) -> dict[str, dict[str, Any]]:
    """The pieces that are done, by name."""
    if not results.exists():
        return {}
    entries = [json.loads(line) for line in results.read_text().splitlines()]
    return {entry["piece"]: entry for entry in entries}


def headline(entry: Mapping[str, Any]) -> str:
    """A piece in a few words."""
    if "test" in entry:
        return f"validation {entry['valid']:.2f}, test {entry['test']:.2f}, {entry['seconds']:.0f} s"
    return f"supernet {entry['valid'][-1]:.2f}, {entry['status']}, {entry['seconds']:.0f} s"


def report(results: Path, figure: Path | None) -> None:
    """Print the tables, and draw the curves of validation."""
    done = read(results)
    trained = {name.removeprefix("train "): entry for name, entry in done.items() if name.startswith("train ")}
    by_cell = {json.dumps(e["architecture"], sort_keys=True): e for e in trained.values() if e["architecture"]}
    print("| | n | validation perplexity | test perplexity | each seed, test |\n|---|---|---|---|---|")
    for method in METHODS:
        found = [done[n] for seed in SEEDS if (n := f"search {method} {seed}") in done]
        texts = [json.dumps(entry["architecture"], sort_keys=True) for entry in found]
        print_row(method, [by_cell[text] for text in texts if text in by_cell])
    print_row("random cells", [entry for name, entry in trained.items() if name.startswith("random")])
    for name in (KNOWN, "lstm"):
        print_row(name, [trained[name]] if name in trained else [])
    print_row("5-gram, modified Kneser-Ney", [done["ngram"]] if "ngram" in done else [])
    print("\n| search | steps | supernet, first and last epoch | IES | verdict | seconds |\n|---|---|---|---|---|---|")
    for name, entry in done.items():
        if name.startswith("search "):
            curve, entropy = entry["valid"], entry["entropy"]
            print(
                f"| {name.removeprefix('search ')} | {entry['steps']:,} | {curve[0]:.1f}, {curve[-1]:.1f} | "
                f"{entropy[0]:.1f}, {entropy[-1]:.1f} | {entry['status']} | {entry['seconds']:.0f} |"
            )
    seconds = sum(entry["seconds"] for entry in done.values())
    parameters = sorted({entry["parameters"] for entry in trained.values()})
    print(f"\n{len(done)} pieces, {seconds / 3600:.2f} hours of one process; parameters {parameters}")
    for machine in sorted({entry["machine"] for entry in done.values()}):
        print(machine)
    if figure is not None:
        draw(trained, done.get("ngram"), figure)


def print_row(name: str, entries: list[dict[str, Any]]) -> None:
    """Mean and spread of some networks."""
    if not entries:
        return
    columns = []
    for part in ("valid", "test"):
        values = [entry[part] for entry in entries]
        spread = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        columns.append(f"{statistics.mean(values):.2f}{spread}")
    each = ", ".join(f"{entry['test']:.2f}" for entry in entries)
    print(f"| {name} | {len(entries)} | {columns[0]} | {columns[1]} | {each} |")


def draw(trained: Mapping[str, Mapping[str, Any]], ngram: Mapping[str, Any] | None, file: Path) -> None:
    """Validation perplexity along the trainings."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from oche.report.anytime import COLOURS

    groups = [*METHODS, "random", KNOWN, "lstm"]
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    for number, group in enumerate(groups):
        curves = [e["curve"] for n, e in trained.items() if group in n.removeprefix("search ").split()]
        for first, curve in enumerate(curves):
            label = group if first == 0 else None
            axis.plot(range(1, len(curve) + 1), curve, color=COLOURS[number % len(COLOURS)], label=label, lw=1.2)
    if ngram is not None:
        axis.axhline(ngram["valid"], color="grey", ls=":", label="5-gram")
    axis.set_xlabel("epoch of the training")
    axis.set_ylabel("validation perplexity")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
