from itertools import product

import numpy as np
import pytest

from oche.architecture import Architecture
from oche.bench import encoding
from oche.bench.encoding import EDGES, OPERATIONS, SIZE, from_index, from_string, index, string_of_index, to_string
from oche.errors import InputError

ALL_SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"


def test_every_string_every_index_and_every_value_are_one() -> None:
    seen = set()
    for a, b, c, d, e, f in product(OPERATIONS, repeat=6):
        text = f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
        value = Architecture.of("nasbench201", dict(zip(EDGES, (a, b, c, d, e, f), strict=True)))
        i = index(text)
        assert index(value) == index(i) == i
        assert to_string(value) == string_of_index(i) == text
        assert from_string(text) == from_index(i) == value
        seen.add(i)
    assert seen == set(range(SIZE)) == set(range(15_625))


def test_the_index_is_the_benchmarks_own(sample: list[dict[str, str]]) -> None:
    assert [index(row["arch"]) for row in sample] == [int(row["idx"]) for row in sample]
    assert string_of_index(1835) == ALL_SKIP


def test_an_edge_ends_at_the_first_number_of_its_key() -> None:
    value = from_string("|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|none~2|")
    assert value.choices["cell/1<-0"] == "none"
    assert value.choices["cell/2<-0"] == "skip_connect"
    assert value.choices["cell/2<-1"] == "nor_conv_1x1"
    assert value.choices["cell/3<-0"] == "nor_conv_3x3"
    assert value.choices["cell/3<-1"] == "avg_pool_3x3"
    assert value.choices["cell/3<-2"] == "none"


def test_json_keeps_an_architecture() -> None:
    assert index(Architecture.from_json(from_index(6111).to_json())) == 6111


def test_integers_of_numpy_are_indices() -> None:
    assert index(np.int64(6111)) == 6111
    assert type(index(np.int64(6111))) is int


@pytest.mark.parametrize("bad", [-1, SIZE, 10**30, True, np.int64(SIZE)])
def test_a_number_that_is_no_index(bad: int) -> None:
    for function in (index, from_index, string_of_index):
        with pytest.raises(InputError, match=rf"from 0 to 15624, but got .*{int(bad) if bad is not True else bad}"):
            function(bad)


@pytest.mark.parametrize("bad", [1.0, None, ("none",) * 6])
def test_what_is_no_architecture_at_all(bad: object) -> None:
    with pytest.raises(InputError, match="given as Architecture, string or index, but got"):
        index(bad)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is written .*but got ''"),
        ("6111", "is written"),
        (ALL_SKIP + "\n", "is written"),
        (ALL_SKIP[:-1], "is written"),
        (ALL_SKIP.replace("~1", "~0"), "is written"),
        (ALL_SKIP.replace("skip_connect~2", "skip_conect~2"), "unknown operation 'skip_conect'; did you mean 'skip_co"),
        (ALL_SKIP.replace("skip_connect~0", "~0", 1), "unknown operation ''"),
    ],
)
def test_a_string_that_is_no_architecture(text: str, message: str) -> None:
    for function in (index, from_string):
        with pytest.raises(InputError, match=message):
            function(text)


def changed(**choices: str | int | None) -> Architecture:
    """All-skip with the edges `e10=...` changed, or left out by None."""
    edges = dict.fromkeys(EDGES, "skip_connect") | {f"cell/{key[1]}<-{key[2]}": value for key, value in choices.items()}
    return Architecture.of(encoding.SPACE, {key: value for key, value in edges.items() if value is not None})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Architecture.of("darts", {}), "of space 'nasbench201', but got one of space 'darts'; .*--space nasbench201"),
        (changed(e21=None, e30=None), "all six edges; add cell/2<-1, cell/3<-0$"),
        (changed(e40="none"), "unknown edge 'cell/4<-0'; did you mean"),
        (changed(e32="conv"), "unknown operation on edge 'cell/3<-2' 'conv'"),
        (changed(e32=3), "unknown operation on edge 'cell/3<-2' '3'"),
    ],
)
def test_an_architecture_that_the_benchmark_lacks(bad: Architecture, message: str) -> None:
    for function in (index, to_string):
        with pytest.raises(InputError, match=message):
            function(bad)
