"""What every method must do in every space."""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from oche.api import SearchResult, search
from oche.checkpoint import Checkpoints
from oche.consistency import set_regularization
from oche.interrupt import Interrupted
from oche.listeners.base import Listener
from oche.methods import Method
from oche.metrics import Meter
from oche.moment import Moment
from oche.nn.choice import Decision
from oche.nn.engine import FAST, REFERENCE, set_engine
from oche.nn.recurrent.quick import Plan
from oche.nn.supernet import Supernet, initialize_logits, logits
from oche.randomness import generator
from oche.remaining import Remaining
from oche.spaces.module_space import ModuleSpace
from oche.spaces.space import Space
from oche.step import SearchStep
from oche.testing.settings import Setting, setting

EPOCHS = 2
LOOKS = 7
"""After so many looks an interrupted search stops: behind its first step and before its last."""

TOLERANCE = 1e-8
"""Largest difference between the engines in float64, relative to the largest entry of a tensor or to 1."""


def check_search(
    method: Method, space: Space | nn.Module, directory: Path, *, epochs: int = EPOCHS, seed: int = 3
) -> SearchResult:
    """A search runs, goes on to the same bits after a stop, holds no more memory from step to step, and builds.

    Args:
        method: what to search with.
        space: what to search.
        directory: an empty one, for checkpoints.
        epochs: of the search.
        seed: of the search.

    Returns:
        The search.

    Raises:
        AssertionError: it does something else.
        InputError: the method refuses the space.
    """
    tensors, of = _Tensors(), setting(space)
    data = of.data()

    def run(listeners: Any = (), checkpoints: Any = None) -> SearchResult:
        return search(
            space,
            data=data,
            method=method,
            epochs=epochs,
            batch=of.batch,
            bptt=of.bptt,
            validation=0,
            protocol=of.protocol,
            seed=seed,
            listeners=listeners,
            checkpoints=checkpoints,
        )

    with tensors:
        whole = run(listeners=[tensors])
    _check_numbers(whole)
    assert tensors.growth <= 0, f"from one step to the next {tensors.growth} more tensors stay alive"

    interrupts: Any = StopAfter(LOOKS)
    try:
        run(checkpoints=Checkpoints(directory, "search", interrupts=interrupts))
    except Interrupted:
        pass
    else:
        raise AssertionError(f"the search was over before it looked {LOOKS} times whether to stop")
    different = _difference(run(checkpoints=Checkpoints(directory, "search")), whole)
    assert not different, f"after a stop the search goes on to other bits of {different}"
    _check_network(whole, of)
    return whole


def check_engines(method: Method, space: Space | nn.Module, steps: int = 2) -> None:
    """A few steps of both engines, in float64, come to the same weights and logits.

    Raises:
        AssertionError: they do not.
    """
    ends = {}
    for engine in (REFERENCE, FAST):
        supernet, step = started(method, space, engine)
        for seed in range(steps):
            step(*setting(space).pair(seed), seed=seed, now=Moment(epoch=1, epochs=2))
        ends[engine] = supernet.state_dict()
    for name, value in ends[REFERENCE].items():
        distance = (ends[FAST][name].double() - value.double()).abs().max() if value.numel() else torch.zeros(())
        assert distance <= TOLERANCE * max(1.0, float(value.double().abs().max())), (
            f"the engines differ by {float(distance):.2g} in {name}"
        )


def started(method: Method, space: Space | nn.Module, engine: str = FAST) -> tuple[Supernet, SearchStep]:
    """A supernet in float64 with logits, and what makes its steps; always the same."""
    torch.manual_seed(0)
    where = ModuleSpace(space) if isinstance(space, nn.Module) else space
    if isinstance(where, Space):
        method = method.fitted(where.name)
    method.check(where)
    of = setting(space)
    supernet = where.supernet() if isinstance(where, ModuleSpace) else where.supernet(of.task, method.structure)
    supernet = copy.deepcopy(supernet).double()
    set_regularization(supernet.body, method.regularization.numbers)
    set_engine(supernet, engine)
    initialize_logits(supernet, 0.1, generator(0))
    return supernet, SearchStep(supernet, method, of.medium.loss, torch.device("cpu"))


def trajectory(result: SearchResult) -> list[dict[str, Any]]:
    """The records of a search without what its clock says."""
    return [{key: value for key, value in record.items() if key != "seconds"} for record in result.found.records]


def _check_numbers(result: SearchResult) -> None:
    for record in trajectory(result):
        for name, value in record.items():
            assert not isinstance(value, float) or math.isfinite(value), f"{name} is {value}"
    for name, value in result.supernet.state_dict().items():
        assert value.isfinite().all(), f"{name} holds what is no number"
    first, last = result.found.logits[0], result.found.logits[-1]
    left = Remaining.from_plain(result.found.records[-1].get("remaining", {}))
    for key in first:
        moved = any(x != y for x, y in zip(first[key], last[key], strict=True))
        assert moved or left.decided(key), f"the logits of {key} have not moved"


def _check_network(result: SearchResult, of: Setting) -> None:
    """The selection is one of the space, and its network is a plain module that can be trained."""
    keys = logits(result.supernet).keys()
    result.space.domain.restrict(keys).check(result.architecture)
    if isinstance(result.space, ModuleSpace):
        network: nn.Module = result.space.network(result.architecture)
    else:
        network = result.space.network(result.architecture, of.task, result.space.fitting(of.network))
    undecided = [m for m in network.modules() if isinstance(m, Decision) and len(m.options) > 1]
    assert not undecided, f"the network still has {undecided}"
    (x, y), _ = of.pair(0)
    of.medium.loss(network.double()(x), y).backward()  # type: ignore[no-untyped-call]
    assert any(w.grad is not None and w.grad.abs().max() > 0 for w in network.parameters()), "it does not train"


def _difference(one: SearchResult, other: SearchResult) -> str | None:
    """What is not the same bit by bit; None: nothing."""
    left, right = one.supernet.state_dict(), other.supernet.state_dict()
    parts: Mapping[str, bool] = {
        "the logits": one.found.logits == other.found.logits,
        "the records": trajectory(one) == trajectory(other),
        "the architecture": one.architecture == other.architecture,
        "the supernet": left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left),
    }
    return next((name for name, same in parts.items() if not same), None)


class StopAfter:
    """Asks a search to stop after so many looks."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    @property
    def received(self) -> int | None:
        """The signal's number when it is time; each look counts."""
        self.left -= 1
        return 2 if self.left < 0 else None


@dataclass
class _Tensors(Listener):
    """Counts the tensors that are alive after each step, of those that were made in its context."""

    counts: list[tuple[int, int]] = field(default_factory=list)

    def __enter__(self) -> None:
        gc.collect()
        gc.freeze()  # what is there already is neither counted nor looked through again and again

    def __exit__(self, *error: object) -> None:
        gc.unfreeze()

    def step(self, epoch: int, step: int, meter: Meter) -> None:
        """Count."""
        gc.collect()
        things = gc.get_objects()
        # By the type: isinstance would ask strange objects for their class.
        count = sum(issubclass(type(thing), Tensor) for thing in things)
        self.counts.append((epoch, count - sum(_tensors_of(thing) for thing in things if type(thing) is Plan)))

    @property
    def growth(self) -> int:
        """From one step of an epoch to the next, the last time that there are two of them.

        What an epoch leaves behind comes between its last step and the first one of the next epoch.
        """
        within = [b - a for (first, a), (second, b) in pairwise(self.counts) if first == second]
        return within[-1]


def _tensors_of(plan: Plan) -> int:
    """How many tensors say what runs under a sparse mixture: a cell keeps a few such plans, and no more."""
    values = [v for value in vars(plan).values() for v in (value if isinstance(value, tuple) else (value,))]
    return sum(isinstance(value, Tensor) for value in values)
