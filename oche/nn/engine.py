"""The two engines: two ways to evaluate the same modules, held together by tests (docs/engine.md)."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from oche.errors import named
from oche.nn.cell import Graph, MixedEdge, Wiring, one_by_one
from oche.nn.fast.planning import recognized
from oche.nn.fast.quick import Depthwise
from oche.nn.fast.wiring import ByState
from oche.nn.operations import FactorizedReduce
from oche.nn.recurrent.cell import RecurrentCell, step_by_step
from oche.nn.recurrent.quick import Quick

REFERENCE, FAST = "reference", "fast"

ENGINES: dict[str, Callable[[], Wiring]] = {REFERENCE: lambda: one_by_one, FAST: ByState}


def set_engine(network: nn.Module, name: str) -> None:
    """Let every cell of a network be evaluated by the named engine; parameters and buffers stay where they are.

    Discrete networks have no mixtures, but the gradients of their depthwise convolutions are the engine's as well.

    Call it again after changing a module inside a candidate, because the fast engine plans at its first call.

    Raises:
        InputError: the name is unknown.
    """
    build = named("engine", name, ENGINES)
    for module in network.modules():
        if isinstance(module, Graph):
            module.wiring = build()
        elif isinstance(module, RecurrentCell):
            module.unroll = Quick() if name == FAST else step_by_step
        elif isinstance(module, Depthwise):
            module.quick = name == FAST


SELDOM = (FactorizedReduce,)
"""Known and on CPUs called as a module all the same: few edges of few cells have it. Nobody needs to be told."""


def unknown_candidates(network: nn.Module) -> list[str]:
    """The candidates that the fast engine does not know and calls one by one, by name, in alphabetical order."""
    mixtures = [module.choice for module in network.modules() if isinstance(module, MixedEdge)]
    candidates = [item for choice in mixtures for item in choice.candidates.items()]
    return sorted({name for name, c in candidates if recognized(c) is None and not isinstance(c, SELDOM)})
