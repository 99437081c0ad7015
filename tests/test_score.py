"""Scores: how they are written, and which way they are better."""

from __future__ import annotations

import pytest

from oche.score import ACCURACY, PERPLEXITY, judged_by, score_called, score_in


def test_values_are_written_with_their_unit():
    assert ACCURACY.text(0.98611) == "98.61 %"
    assert PERPLEXITY.text(105.654) == "105.65"


def test_the_score_is_found_by_its_name():
    assert score_in({"loss": 1.0, "accuracy": 0.5}) is ACCURACY
    assert score_in({"loss": 1.0, "perplexity": 2.7}) is PERPLEXITY
    assert score_in({"loss": 1.0, "mae": 0.1}) is None
    assert score_called("valid_perplexity") is PERPLEXITY
    assert score_called("train_loss") is None
    assert judged_by({"perplexity": 3.0}) is PERPLEXITY


def test_a_difference_says_which_side_is_better():
    accuracy = ACCURACY.compared(0.9, [0.8, 0.9], "random")
    assert accuracy == (
        "random: mean 85.00 % ± 7.07 (standard deviation), n = 2; the found network lies 5.00 points above it"
    )
    assert PERPLEXITY.compared(100.0, [110.0], "random").endswith("10.00 words below it, which is better")
    assert PERPLEXITY.compared(120.0, [110.0], "random").endswith("10.00 words above it, which is worse")
    assert PERPLEXITY.compared(110.0, [110.0], "random").endswith("0.00 words above it")


@pytest.mark.parametrize("score", [ACCURACY, PERPLEXITY])
def test_the_best_of_several_is_in_the_right_direction(score):
    assert score.best([1.0, 2.0]) == (2.0 if score.higher_is_better else 1.0)
