"""Combinations in which every two values of two axes meet at least once: many fewer than all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from random import Random
from typing import TypeAlias

Combination: TypeAlias = Mapping[str, str]
"""A value for each axis."""

Pair: TypeAlias = tuple[tuple[str, str], tuple[str, str]]
"""Two axes, each with a value."""

TRIES = 200
"""Random combinations with a pair that are tried before it is given up."""

ENOUGH = 30
"""Combinations that work, of which the best is taken."""


@dataclass(frozen=True)
class Covering:
    """Few combinations with many pairs.

    Attributes:
        combinations: in the order in which they add the most.
        impossible: pairs that no combination that was tried could hold.
    """

    combinations: tuple[Combination, ...]
    impossible: tuple[Pair, ...]


def covering(axes: Mapping[str, Sequence[str]], works: Callable[[Combination], bool], seed: int) -> Covering:
    """Combinations that work and together hold every two values that go together.

    Greedy: for each pair that is still missing, the best of some random combinations that hold it.

    Args:
        axes: the values of each axis.
        works: whether a combination can be.
        seed: of the random combinations.
    """
    rng, chosen, impossible = Random(seed), list[Combination](), list[Pair]()
    missing = {((a, x), (b, y)) for a, b in combinations(sorted(axes), 2) for x, y in product(axes[a], axes[b])}
    for pair in sorted(missing):
        if pair not in missing:
            continue
        able = []
        for _ in range(TRIES):
            tried = {axis: rng.choice(values) for axis, values in axes.items()} | dict(pair)
            if works(tried):
                able.append(tried)
            if len(able) == ENOUGH:
                break
        if able:
            best = max(able, key=lambda tried: len(_pairs(tried) & missing))
            chosen.append(best)
            missing -= _pairs(best)
        else:
            impossible.append(pair)
    return Covering(tuple(chosen), tuple(impossible))


def _pairs(combination: Combination) -> set[Pair]:
    return set(combinations(sorted(combination.items()), 2))
