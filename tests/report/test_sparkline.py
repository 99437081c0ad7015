"""Sparklines against what a reader would see in the numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oche.report.sparkline import BARS, GAP, sparkline

NUMBERS = st.floats(-1e6, 1e6)
GAPS = st.sampled_from([None, math.nan, math.inf, -math.inf])


@given(st.lists(st.one_of(NUMBERS, GAPS), min_size=1, max_size=200), st.integers(1, 80))
def test_the_length_and_the_characters(values, width):
    line = sparkline(values, width)
    assert len(line) == min(len(values), width)
    assert set(line) <= set(BARS + GAP)


@given(st.lists(NUMBERS, min_size=2, max_size=80))
def test_heights_follow_the_values(values):
    heights = [BARS.index(c) for c in sparkline(values, 80)]
    for v, h in zip(values, heights, strict=True):
        for w, k in zip(values, heights, strict=True):
            if v < w:
                assert h <= k
    if min(values) < max(values):
        assert (min(heights), max(heights)) == (0, len(BARS) - 1)


@given(NUMBERS, st.integers(1, 100), st.integers(1, 80))
def test_a_constant_series_is_level(value, count, width):
    """Groups of unequal size must not differ in the last bit of their means."""
    assert len(set(sparkline([value] * count, width))) == 1
    assert sparkline([value] * count, width)[0] not in BARS[0] + BARS[-1]


@given(st.lists(st.one_of(NUMBERS, GAPS), min_size=1, max_size=80))
def test_gaps_are_where_the_numbers_are_missing(values):
    missing = [v is None or not math.isfinite(v) for v in values]
    assert [c == GAP for c in sparkline(values, 80)] == missing


@pytest.mark.parametrize("values", [[None], [math.nan, None, math.inf]])
def test_no_number_at_all_is_blank(values):
    assert sparkline(values, 10) == GAP * len(values)


def test_no_values_no_line():
    assert sparkline([], 10) == ""


def test_neighbours_share_a_character_when_there_are_too_many():
    assert sparkline([0.0, 0.0, 4.0, 4.0, 8.0, 8.0], 3) == sparkline([0.0, 4.0, 8.0], 3)
    assert sparkline([0.0, None, 8.0, 8.0], 2) == BARS[0] + BARS[-1]


def test_evenly_spaced_values_use_every_height():
    assert sparkline([float(i) for i in range(8)], 8) == BARS
