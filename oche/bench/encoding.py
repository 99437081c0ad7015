"""The 15,625 architectures of NAS-Bench-201 as values, as the benchmark's strings, and as its indices.

Dong & Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020. A cell has
the nodes 0 (input) to 3 (output) and an edge from each node to every later one; every edge has one of five
operations:

    |op~0|+|op~0|op~1|+|op~0|op~1|op~2|      node 1 | node 2 | node 3; `op~i` is the edge from node i

**The index is the benchmark's own**, from 0 to 15,624. Its authors shuffled the architectures once, so no formula
gives it: `nasbench201/order.npy` lists the code of each architecture in this order. The code is the six operations,
in the order of `EDGES`, as a number in base five whose first digit counts most.
"""

from __future__ import annotations

import re
from functools import cache
from operator import index as as_int
from typing import TypeAlias

from oche.architecture import Architecture, Candidate
from oche.bench.embedded import read_embedded
from oche.errors import InputError, unknown

SPACE = "nasbench201"

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The candidates of every edge, in the benchmark's order; their positions are the digits of a code."""

EDGES = ("cell/1<-0", "cell/2<-0", "cell/2<-1", "cell/3<-0", "cell/3<-1", "cell/3<-2")
"""The keys of the edges, in the order of the benchmark's strings."""

SIZE = len(OPERATIONS) ** len(EDGES)

FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"

Query: TypeAlias = Architecture | str | int
"""An architecture of the benchmark: a value, the benchmark's string, or its index."""

_STRING = re.compile(re.escape(FORM).replace("op", r"([^|~]*)"))
_DIGITS: dict[Candidate, int] = {name: digit for digit, name in enumerate(OPERATIONS)}


def to_string(architecture: Architecture) -> str:
    """The benchmark's string of an architecture.

    Raises:
        InputError: it is no architecture of the benchmark.
    """
    return _string(_code(architecture))


def from_string(text: str) -> Architecture:
    """The architecture that one of the benchmark's strings denotes.

    Raises:
        InputError: the string has another form or an unknown operation.
    """
    return _architecture(code_of_string(text))


def index(query: Query) -> int:
    """The benchmark's index of an architecture, 0 to 15,624.

    Raises:
        InputError: there is no such architecture, string or index.
    """
    if isinstance(query, Architecture):
        return _orders()[1][_code(query)]
    if isinstance(query, str):
        return _orders()[1][code_of_string(query)]
    return _checked(query)


def from_index(i: int) -> Architecture:
    """The architecture with index `i`.

    Raises:
        InputError: `i` is no index.
    """
    return _architecture(_orders()[0][_checked(i)])


def string_of_index(i: int) -> str:
    """The benchmark's string of the architecture with index `i`.

    Raises:
        InputError: `i` is no index.
    """
    return _string(_orders()[0][_checked(i)])


def code_of_string(text: str) -> int:
    """The code of the architecture that one of the benchmark's strings denotes.

    Raises:
        InputError: the string has another form or an unknown operation.
    """
    match = _STRING.fullmatch(text)
    if match is None:
        raise InputError(f"an architecture of NAS-Bench-201 is written {FORM}, but got {text!r}")
    code = 0
    for name in match.groups():
        digit = _DIGITS.get(name)
        if digit is None:
            raise unknown("operation", name, OPERATIONS)
        code = code * len(OPERATIONS) + digit
    return code


@cache
def _orders() -> tuple[list[int], list[int]]:
    """The code of each index, and the index of each code."""
    codes = read_embedded("order.npy")
    return codes.tolist(), codes.argsort().tolist()


def _checked(i: int) -> int:
    try:
        number = as_int(i)  # NumPy's integers are indices too
    except TypeError:
        raise InputError(f"an architecture is given as Architecture, string or index, but got {i!r}") from None
    if isinstance(i, bool) or not 0 <= number < SIZE:
        raise InputError(f"an index of NAS-Bench-201 is a whole number from 0 to {SIZE - 1}, but got {i!r}")
    return number


def _code(architecture: Architecture) -> int:
    if architecture.space != SPACE:
        raise InputError(
            f"the table holds architectures of space {SPACE!r}, but got one of space {architecture.space!r}; "
            f"search with --space {SPACE}"
        )
    choices = architecture.choices
    code = 0
    try:
        for key in EDGES:
            code = code * len(OPERATIONS) + _DIGITS[choices[key]]
    except KeyError:
        raise _misfit(architecture) from None
    if len(choices) != len(EDGES):
        raise _misfit(architecture)
    return code


def _misfit(architecture: Architecture) -> InputError:
    """Why an architecture that claims the space does not belong to it."""
    for key, candidate in architecture.items:
        if key not in EDGES:
            return unknown("edge", key, EDGES)
        if candidate not in OPERATIONS:
            return unknown(f"operation on edge {key!r}", str(candidate), OPERATIONS)
    missing = [key for key in EDGES if key not in architecture.choices]
    return InputError(f"an architecture of NAS-Bench-201 has an operation on all six edges; add {', '.join(missing)}")


def _names(code: int) -> list[str]:
    base = len(OPERATIONS)
    return [OPERATIONS[code // base**place % base] for place in reversed(range(len(EDGES)))]


def _string(code: int) -> str:
    names = iter(_names(code))
    return re.sub("op", lambda _: next(names), FORM)


def _architecture(code: int) -> Architecture:
    return Architecture.of(SPACE, dict(zip(EDGES, _names(code), strict=True)))
