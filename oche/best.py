"""The Python interface of several searches: `search_best`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from oche import api
from oche.architecture import Architecture
from oche.data.dataset import Dataset
from oche.data.read import load
from oche.errors import InputError
from oche.listeners.base import Listener
from oche.medium import TEXT
from oche.methods import Method
from oche.methods import method as named_method
from oche.nn.engine import FAST
from oche.presets import at_preset, default_preset
from oche.presets import preset as named_preset
from oche.probe.verdict import Verdict
from oche.spaces.registry import space as named_space
from oche.spaces.space import Space
from oche.text.corpus import Corpus
from oche.training.protocol import TrainingProtocol
from oche.training.protocol import protocol as named_protocol
from oche.tries import Try, best, share, short, short_epochs
from oche.tries import tries as planned_tries

SHORTEST = 0.001
"""Seconds for a piece when the time is already up: it makes one step."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What a try came to.

    Attributes:
        planned: its method and seed.
        architecture: that its search selected.
        verdict: of its search.
        validation: loss and accuracy on the validation part after the short training.
        stopped: why the short training ended before its last epoch; None if it did not.
    """

    planned: Try
    architecture: Architecture
    verdict: Verdict
    validation: Mapping[str, float]
    stopped: str | None


@dataclass(frozen=True, kw_only=True)
class BestSearch:
    """What `search_best` returns.

    Attributes:
        result: the search that is chosen.
        tries: what each came to.
        chosen: the index of the chosen one.
    """

    result: api.SearchResult
    tries: tuple[Tried, ...]
    chosen: int


def search_best(
    space: str | Space,
    *,
    data: str | Dataset | Corpus,
    method: str | Method = "darts",
    tries: int | None = None,
    tries_epochs: int | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    bptt: int | None = None,
    preset: str | None = None,
    protocol: str | TrainingProtocol | None = None,
    time_limit: float | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    engine: str = FAST,
    probes: str = "all",
    listeners: Iterable[Listener] = (),
    checkpoints: str | Path | None = None,
) -> BestSearch:
    """Search several times, train each architecture for a short while, and return the search of the best.

    The images that choose are held out of every search and every short training, and test images are not read. (Of a
    text the validation part chooses, which moves the logits too, as in DARTS' searches.) Equal accuracies are told
    apart by the loss, and equal losses by the order.

    Args:
        space: as in `oche.search`.
        data: as in `oche.search`.
        method: as in `oche.search`.
        tries: so many searches with a seed each; None: the searches of the method's paper.
        tries_epochs: epochs of the short trainings; None: a sixth of the protocol's.
        epochs: of each search; None: the preset's.
        batch: as in `oche.search`.
        bptt: as in `oche.search`.
        preset: `tiny`, `small` or `paper`; None: `tiny` on a CPU, `small` elsewhere.
        protocol: of which the short trainings have the numbers; None: the preset's.
        time_limit: seconds of all tries together; they get equal parts, of which a search has three quarters.
        seed: of the first search and of the short trainings; it also decides which images are held out.
        device: as in `oche.search`.
        engine: as in `oche.search`.
        probes: as in `oche.search`.
        listeners: hear of the jobs `search 1`, `try 1`, `search 2`, ...
        checkpoints: a directory; the same call goes on from there, bit for bit.

    Raises:
        InputError: something given cannot be used, the method has no tries of its own, or a first epoch diverges.
    """
    start = time.monotonic()
    device = api.resolve_device(device)
    named = named_space(space) if isinstance(space, str) else space
    chosen_sizes = named_preset(preset or default_preset(device), text=named.medium is TEXT)
    searched = at_preset(named, chosen_sizes.supernet) if isinstance(space, str) else named
    rules = protocol if isinstance(protocol, TrainingProtocol) else named_protocol(protocol or chosen_sizes.protocol)
    if tries_epochs is not None and tries_epochs < 1:
        raise InputError(f"a short training needs an epoch at least, but got tries_epochs={tries_epochs}")
    brief = short(rules, tries_epochs or short_epochs(rules.epochs))
    name = data if isinstance(data, str) else data.name
    whole = named_method(method) if isinstance(method, str) else method
    planned = planned_tries(whole.fitted(searched.name, name), seed, tries)
    dataset = load(data, seed=seed) if isinstance(data, str) else data

    def limit(piece: int) -> float | None:
        if time_limit is None:
            return None
        left = time_limit - (time.monotonic() - start)
        return max(left * share(piece, len(planned), 1.0), SHORTEST)

    done: list[Tried] = []
    result: api.SearchResult | None = None
    for index, one in enumerate(planned):
        found = api.search(
            searched,
            data=dataset,
            method=one.method,
            epochs=epochs,
            batch=batch,
            bptt=bptt,
            preset=preset,
            validation=brief.validation,
            split=seed,
            protocol=rules,
            time_limit=limit(2 * index),
            seed=one.seed,
            device=device,
            engine=engine,
            probes=probes,
            listeners=listeners,
            checkpoints=checkpoints,
            job=f"search {index + 1}",
        )
        trained = api.train(
            found.architecture,
            data=dataset,
            protocol=brief,
            space=searched,
            time_limit=limit(2 * index + 1),
            seed=seed,
            device=device,
            listeners=listeners,
            checkpoints=checkpoints,
            job=f"try {index + 1}",
            fit_batch=True,
            tested=False,
        )
        done.append(
            Tried(
                planned=replace(one, method=found.method),
                architecture=found.architecture,
                verdict=found.verdict,
                validation=trained.validation,
                stopped=trained.stopped,
            )
        )
        if best([entry.validation for entry in done], searched.medium.metrics) == index:
            result = found  # the supernets of the others are let go
    assert result is not None
    return BestSearch(
        result=result, tries=tuple(done), chosen=best([entry.validation for entry in done], searched.medium.metrics)
    )
