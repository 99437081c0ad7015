"""Several searches, one choice: each architecture is trained for a short while, and the best by validation is kept.

DARTS and R-DARTS search with four seeds, SP-DARTS (Sec. V) searches S1 to S4 with four temperatures. The
images that choose are held out of all searches and all short trainings, so that none of them has moved a logit or a
weight of what it scores; test images take no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from oche.axes import AXES
from oche.errors import InputError
from oche.methods import Method
from oche.metrics import Metric, better
from oche.randomness import derive
from oche.training.protocol import TrainingProtocol

SHORT = 1 / 6
"""Epochs of a short training as a share of the whole one's: DARTS chooses after 100 of 600."""

HELD_OUT = 0.1
"""The share of the training images that chooses where the training itself holds none out, as in `small`."""

SEARCHING = 0.75
"""Of the time of a try, the part of its search; its short training has the rest."""


@dataclass(frozen=True, kw_only=True)
class Try:
    """One search of several.

    Attributes:
        method: with the numbers for the space and the data.
        seed: of the search.
        label: what is its own, in words.
    """

    method: Method
    seed: int
    label: str


def tries(method: Method, seed: int, count: int | None) -> tuple[Try, ...]:
    """The searches; the first one has the seed that is given, and each further one a seed of its own.

    Args:
        method: with the numbers for the space and the data.
        seed: of everything.
        count: so many of the method as it is; None: the method's own.

    Raises:
        InputError: there is no search, or the method has none of its own.
    """
    if count is not None and count < 1:
        raise InputError(f"at least one search is needed, but got tries={count}; give 4 for four seeds")
    if count is None and not method.tries:
        raise InputError(
            f"method {method.name!r} has no several searches of its own in this space, but tries are the method's; "
            "give a number of them, such as 4 for four seeds"
        )
    plain = replace(method, tries=())
    changes: Sequence[Mapping[str, Any]] = method.tries if count is None else [{}] * count
    seeds = [seed, *(derive(seed, "try", i) for i in range(1, len(changes)))]
    return tuple(
        Try(method=replace(plain, **own), seed=s, label=_label(own) or f"seed {s}")
        for own, s in zip(changes, seeds, strict=True)
    )


def short_epochs(epochs: int) -> int:
    """Epochs of a short training where nobody says how many."""
    return ceil(SHORT * epochs)


def short(protocol: TrainingProtocol, epochs: int) -> TrainingProtocol:
    """The same training for fewer epochs, with images held out that choose.

    Where the protocol holds none out, its last epoch counts, and so does the last one of the short training. A text has
    a part of its own that chooses.
    """
    if protocol.validation > 0 or protocol.language is not None:
        return replace(protocol, epochs=epochs)
    return replace(protocol, epochs=epochs, validation=HELD_OUT, keep_best=False)


def best(scores: Sequence[Mapping[str, float]], metrics: Mapping[str, Metric]) -> int:
    """The index of the best scores: by the first metric, then by the loss, then the earlier one."""
    found = 0
    for index, score in enumerate(scores):
        if better(score, scores[found], metrics):
            found = index
    return found


def share(piece: int, count: int, whole: float) -> float:
    """The part of the time that is left which a piece may use, so that all tries get the same.

    What a piece leaves over goes to all that come after it.

    Args:
        piece: from 0: the search of the first try, its short training, the search of the second, ...
        count: of the tries.
        whole: of the time of everything, the part of all tries.
    """
    plan = [part * whole / count for _ in range(count) for part in (SEARCHING, 1 - SEARCHING)]
    return min(plan[piece] / (1 - sum(plan[:piece])), 1.0)


def _label(changes: Mapping[str, Any]) -> str:
    """The fields that a search changes, parts as in a recipe."""
    texts = {axis.field: axis.text for axis in AXES.values()}
    return ", ".join(texts.get(name, repr)(value) for name, value in changes.items())
