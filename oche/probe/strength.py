"""Whether mixing weights say how strong candidates are (Wang-2021, Ch. 2).

1. *Discretization accuracy at convergence* (Sec. 2.3.1, Fig. 2.1 and 2.2): an edge is discretized to a candidate, the
   rest of the supernet is trained on for some epochs, and its accuracy is measured; for every candidate from a fresh
   copy of the supernet, with the same batches and draws.
2. *The advantage of skip connections* (Fig. 2.3): `mean over edges of (a_skip - mean of the parametric a)` after every
   epoch, beside the accuracy of the supernet.
3. *Shuffled edges* (Table 2.1): in every cell two random edges of equal candidates and equal resolutions at both ends
   change places, weights and mixing row together. A supernet whose edges estimate one feature map hardly notices.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, count, islice
from random import Random
from statistics import mean
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from oche.architecture import Candidate
from oche.clock import Deadline
from oche.data.batches import Batch, Batches
from oche.data.halves import SearchData
from oche.domain import Domain
from oche.errors import InputError, unknown
from oche.listeners.base import Job, Listener, Listeners
from oche.methods import Method
from oche.metrics import Meter
from oche.mixture.base import Relaxation
from oche.moment import Moment
from oche.nn.cell import Graph, MixedEdge
from oche.nn.engine import REFERENCE, set_engine
from oche.nn.mixture import Mixture
from oche.nn.operations import PARAMETER_FREE
from oche.nn.structure import SKIP
from oche.nn.supernet import Supernet
from oche.optim import SGD, OptimizerSettings
from oche.randomness import derive
from oche.remaining import Remaining
from oche.schedule import Cosine
from oche.select.scene import Scene
from oche.step import SearchStep

Place: TypeAlias = tuple[int, str]
"""Of an edge in its cell: the number of a node, and the state that the edge reads."""

FINE_TUNING = SGD(lr=Cosine(0.0025, 0.001))
"""As in the selection by perturbation."""


@dataclass(frozen=True, kw_only=True)
class Strength:
    """How strong a candidate is.

    Attributes:
        key: of its edge.
        candidate: its name.
        weight: its mean mixing weight in the supernet.
        measured: loss and metrics after the edge was discretized to it and the rest was trained on.
    """

    key: str
    candidate: Candidate
    weight: float
    measured: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Advantage:
    """Of skip connections, after an epoch.

    Attributes:
        epoch: from 1.
        gap: `mean over edges of (a_skip - mean of the parametric a)`.
        measured: loss and metrics of the supernet by name; empty where it was not evaluated.
    """

    epoch: int
    gap: float
    measured: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Shuffle:
    """A supernet with edges that changed places.

    Attributes:
        before: loss and metrics as it is.
        after: the same, once for every shuffling.
    """

    before: Mapping[str, float]
    after: tuple[Mapping[str, float], ...]


def strengths(
    scene: Scene,
    method: Method,
    data: SearchData,
    keys: Collection[str],
    *,
    epochs: float = 5.0,
    optimizer: OptimizerSettings = FINE_TUNING,
    move_logits: bool = True,
    listeners: Iterable[Listener] = (),
) -> list[Strength]:
    """Discretization accuracy at convergence of every candidate of some edges.

    Args:
        scene: the trained supernet, which stays as it is.
        method: by which it was searched.
        data: the two halves of the search.
        keys: of edges that are not decided yet.
        epochs: of the training after each discretization; any fraction.
        optimizer: of the weights in it.
        move_logits: whether the logits of the other edges keep moving.
        listeners: who watches; every candidate is an epoch to them.

    Raises:
        InputError: an edge is unknown or decided, or the epochs are negative.
    """
    if not epochs >= 0:
        raise InputError(f"a candidate is trained for epochs >= 0, but got epochs={epochs}")
    for key in keys:
        if key not in scene.domain.edges:
            raise unknown("edge", key, scene.domain.edges)
        if scene.remaining.decided(key):
            raise InputError(f"edge {key!r} has been decided, so there is nothing to compare; choose another one")
    candidates = [
        (key, place) for key in keys for place in scene.remaining.of(key, len(scene.whole.edges[key].candidates))
    ]
    steps, watching, clock = round(epochs * len(data.train)), Listeners(listeners), Deadline()
    weights = {key: scene.widened(scene.rows)[key].tolist() for key in keys}
    found: list[Strength] = []
    with watching.job(Job("strength", len(candidates), steps)):
        for number, (key, place) in enumerate(candidates):
            supernet, remaining = copy.deepcopy(scene.supernet), scene.remaining.decide(key, place)
            fresh = replace(scene, supernet=supernet, remaining=remaining)
            step = SearchStep(supernet, replace(method, weight_optimizer=optimizer), scene.loss, scene.device)
            step.remaining, step.relaxation, step.groups = remaining, scene.relaxation, scene.groups
            now, meter = Moment(epoch=method.epochs - 1, epochs=method.epochs), Meter(scene.metrics)
            for done, (train, valid) in enumerate(islice(_endless(data), steps)):
                step.set_rates(done / steps)
                seed = derive(scene.seed, "strength", done)  # the same for every candidate
                meter.add(*step(train, valid, seed=seed, now=now, move_logits=move_logits), train[1])
                watching.step(number, done, meter)
            measured = fresh.measure(fresh.mixture)
            name = scene.whole.edges[key].candidates[place]
            found.append(Strength(key=key, candidate=name, weight=weights[key][place], measured=measured))
            watching.epoch({"epoch": number + 1, "seconds": clock.elapsed, **_valid(measured)})
    return found


def _valid(measured: Mapping[str, float]) -> dict[str, float]:
    """As the records of a search name them."""
    return {f"valid_{name}": value for name, value in measured.items()}


def _endless(data: SearchData) -> Iterator[tuple[Batch, Batch]]:
    for epoch in count():
        yield from data.pairs(epoch)


def advantages(records: Iterable[Mapping[str, Any]], domain: Domain, relaxation: Relaxation) -> list[Advantage]:
    """The advantage of skip connections after every epoch of a search.

    It is taken over the edges that are undecided and on which a skip connection competes with a candidate that has
    weights; epochs without such edges are left out.

    Args:
        records: of the epochs, as a search makes them.
        domain: the decisions of the supernet.
        relaxation: logits to mixing weights.
    """
    found = []
    for record in records:
        remaining = Remaining.from_plain(record.get("remaining", {}))
        rows = relaxation.mean(
            remaining.narrow({key: torch.tensor(row, dtype=torch.float64) for key, row in record["logits"].items()})
        )
        gaps = []
        for edge in remaining.domain(domain.restrict(record["logits"].keys())).edges.values():
            row = dict(zip(edge.candidates, rows[edge.key].tolist(), strict=True))
            parametric = [a for name, a in row.items() if name not in PARAMETER_FREE]
            if SKIP in row and parametric:
                gaps.append(row[SKIP] - mean(parametric))
        if gaps:
            measured = {k.removeprefix("valid_"): v for k, v in record.items() if k.startswith("valid_")}
            found.append(Advantage(epoch=record["epoch"], gap=mean(gaps), measured=measured))
    return found


def shuffled(scene: Scene, repeats: int = 5, listeners: Iterable[Listener] = ()) -> Shuffle:
    """The supernet with two random edges of every cell exchanged, several times anew.

    Args:
        scene: the trained supernet, which stays as it is.
        repeats: shufflings.
        listeners: who watches; every shuffling is an epoch to them.

    Raises:
        InputError: no cell has two edges that can be exchanged.
    """
    alike = _exchangeable(scene)
    if not any(alike):
        raise InputError(
            "no cell has two edges with equal candidates and equal resolutions at both ends, so none can be exchanged"
        )
    watching, clock, after = Listeners(listeners), Deadline(), []
    with watching.job(Job("shuffle", repeats, 1)):
        for number in range(repeats):
            rng, other = Random(derive(scene.seed, "shuffle", number)), copy.deepcopy(scene.supernet)
            for graph, pairs in zip(_graphs(other), alike, strict=True):
                if pairs:
                    exchange(graph, *rng.choice(pairs))
            after.append(replace(scene, supernet=other).measure(scene.mixture))
            watching.step(number, 0, Meter({}))
            watching.epoch({"epoch": number + 1, "seconds": clock.elapsed, **_valid(after[-1])})
    return Shuffle(before=scene.measure(scene.mixture), after=tuple(after))


def exchange(graph: Graph, a: Place, b: Place) -> None:
    """Let two edges of a cell change places. Each takes its weights and its row of the mixture along.

    Args:
        graph: the cell; its engine has not run yet.
        a: number of a node and the state that its edge reads.
        b: the same of another edge.
    """
    nodes = [cast(nn.ModuleDict, node) for node in graph.nodes]
    one, other = nodes[a[0]][a[1]], nodes[b[0]][b[1]]
    nodes[a[0]][a[1]], nodes[b[0]][b[1]] = other, one


def _graphs(supernet: Supernet) -> list[Graph]:
    return [module for module in supernet.modules() if isinstance(module, Graph)]


def _exchangeable(scene: Scene) -> list[list[tuple[Place, Place]]]:
    """Per cell, the pairs of edges that run, have equal candidates, and equal resolutions at both ends."""
    seen = copy.deepcopy(scene.supernet)
    set_engine(seen, REFERENCE)  # which calls every edge as a module
    forms: dict[nn.Module, Any] = {}

    def note(edge: nn.Module, inputs: tuple[Tensor, Mixture], output: Tensor) -> None:
        forms[edge] = (scene.domain.edges[cast(MixedEdge, edge).key].candidates, inputs[0].shape, output.shape)

    for module in seen.modules():
        if isinstance(module, MixedEdge):
            module.register_forward_hook(note)
    replace(scene, supernet=seen, images=_First(scene.images)).measure(scene.mixture)
    pairs = []
    for graph in _graphs(seen):
        edges = {
            (number, source): edge
            for number, node in enumerate(graph.nodes)
            for source, edge in cast(nn.ModuleDict, node).items()
            if edge in forms
        }
        pairs.append([(a, b) for a, b in combinations(edges, 2) if forms[edges[a]] == forms[edges[b]]])
    return pairs


@dataclass(frozen=True)
class _First:
    """The first batch alone."""

    batches: Batches

    def __len__(self) -> int:
        return 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return islice(self.batches.epoch(epoch, start), 1)
