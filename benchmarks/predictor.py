"""How well NAS-Bench-201 is ranked without training: by the ranking network from few labels, and by zero-cost proxies.

`labels`: the network learns from the validation accuracies after 200 epochs of some random architectures, with and
without the 12-epoch accuracy of every architecture as a further fact, and ranks all others. The correlation is with the
table's CIFAR-10 test accuracy, which only this script sees; beside it stand those of the parameter count and of the
12-epoch accuracies alone.

`proxies`: every proxy scores some random architectures, each as one freshly initialized network; those that see images
see one batch of the given data set. The correlation is again with the test accuracy.

Every line is printed and appended to the results file.

Usage: python benchmarks/predictor.py RESULTS.jsonl labels [--seeds 5]
       python benchmarks/predictor.py RESULTS.jsonl proxies [--data cifar10-15k.npz] [--architectures 200] [--batch 32]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from step import cpu_model

import oche
from oche.bench.encoding import index
from oche.bench.table import Table
from oche.bench.truth import Truth
from oche.data.load import load
from oche.feed import search_feed
from oche.files import append_line
from oche.nosh.proposals import drawn, enumerated
from oche.predict.graph import graph_form
from oche.predict.proxies import PROXIES, Scorer
from oche.predict.quality import kendall_tau, precision_at, spearman
from oche.predict.ranking import comparisons, train_ranker

LABELS = (50, 100, 200, 400)
DATA = "cifar10"
K = 100
"""Of precision@k: a hundred of 15,625."""


def labels(args: argparse.Namespace, machine: dict[str, Any]) -> None:
    """The ranking network."""
    space = oche.space("nasbench201")
    everything, graphs = enumerated(space)
    at = np.array([index(a) for a in everything])
    table = Table.embedded()
    valid, early = (table.accuracies(DATA, epochs=epochs)[at] for epochs in (200, 12))
    parameters = np.array([table.parameters(int(i)) for i in at], float)
    test = Truth.embedded().accuracies(DATA)[at]
    for name, scores in (("parameters", parameters), ("12-epoch validation", early), ("200-epoch validation", valid)):
        say(args.results, {"ranked by": name, **quality(scores, test)} | machine)
    for count in LABELS:
        for name, facts in (
            ("graph", None),
            ("graph and 12-epoch validation", torch.from_numpy(early.copy())[:, None]),
        ):
            found = []
            for seed in range(args.seeds):
                some = np.random.default_rng(seed).permutation(len(at))[:count]
                rest = np.setdiff1d(np.arange(len(at)), some)
                began = time.perf_counter()
                order = comparisons(valid[some, None])
                given = None if facts is None else facts[some]
                ranker = train_ranker(graph_form(space), graphs[some], order, seed=seed, facts=given)
                trained = time.perf_counter()
                scores = ranker.scores(graphs, facts).mean(dim=0).numpy()
                seconds = {"training_s": trained - began, "scoring_s": time.perf_counter() - trained}
                found.append(quality(scores[rest], test[rest]) | seconds)
            row = {"ranked by": name, "labels": count, "n": args.seeds}
            for key in found[0]:
                values = [f[key] for f in found]
                row[key] = round(mean(values), 4)
                row[f"{key}_sd"] = round(stdev(values), 4) if len(values) > 1 else 0.0
            say(args.results, row | machine)


def proxies(args: argparse.Namespace, machine: dict[str, Any]) -> None:
    """The zero-cost proxies."""
    space = oche.space("nasbench201")
    stack = oche.Stack(cells=args.cells, channels=args.channels)
    some = drawn(space, set(), args.architectures, Random(0))
    truth = Truth.embedded()
    test = np.array([truth.accuracy(a, DATA) for a in some])
    task, batch = oche.ImageTask(channels=3, height=32, width=32, classes=10), None
    if args.data:
        dataset = load(args.data, seed=0)
        feed = search_feed(dataset, args.batch, 0, torch.device("cpu"), 0.0)
        task, batch = dataset.task, next(feed.train.epoch(0))
    for name, proxy in PROXIES.items():
        if proxy.sees_images and batch is None:
            continue
        scorer = Scorer(proxy=proxy, space=space, task=task, stack=stack, batch=batch)
        began = time.perf_counter()
        scores = np.array(list(scorer.scores(some).values()))
        seconds = (time.perf_counter() - began) / len(some)
        lowest = np.where(np.isfinite(scores), scores, np.nanmin(scores[np.isfinite(scores)]) - 1)
        row = {"proxy": name, "architectures": len(some), "network": f"{args.cells} cells, {args.channels} channels"}
        row |= {"images": args.batch if proxy.sees_images else 0}
        row |= {"spearman": round(spearman(lowest, test), 4), "kendall": round(kendall_tau(lowest, test), 4)}
        say(args.results, row | {"seconds_each": round(seconds, 4)} | machine)


def quality(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> dict[str, float]:
    """Rank correlations and precision@k."""
    values = {"spearman": spearman(scores, truth), "kendall": kendall_tau(scores, truth)}
    return {name: round(v, 4) for name, v in (values | {f"precision_{K}": precision_at(K, scores, truth)}).items()}


def say(results: Path, row: dict[str, Any]) -> None:
    print(json.dumps({key: value for key, value in row.items() if key not in ("cpu", "torch")}), flush=True)
    append_line(results, json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(description="How well NAS-Bench-201 is ranked without training.")
    parser.add_argument("results", type=Path, help="lines are appended to this file")
    parser.add_argument("part", choices=("labels", "proxies"), help="what to measure")
    parser.add_argument("--seeds", type=int, default=5, help="sets of labels (default: 5)")
    parser.add_argument("--data", help="images for the proxies that see some; without them these are left out")
    parser.add_argument("--architectures", type=int, default=200, help="that proxies score (default: 200)")
    parser.add_argument("--batch", type=int, default=32, help="images that they see (default: 32)")
    parser.add_argument("--cells", type=int, default=3, help="of the networks that are scored (default: 3)")
    parser.add_argument("--channels", type=int, default=8, help="of these networks (default: 8)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    machine = {"cpu": cpu_model(), "torch": torch.__version__, "threads": 1}
    {"labels": labels, "proxies": proxies}[args.part](args, machine)


if __name__ == "__main__":
    main()
