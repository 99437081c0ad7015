"""How good a ranking is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from oche.errors import InputError


def kendall_tau(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Kendall's tau-b: pairs in the right order minus pairs in the wrong one, as a share, corrected for ties.

    Raises:
        InputError: one side is constant, so that there is no ranking.
    """
    return _correlation(kendalltau, scores, truth)


def spearman(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Spearman's rank correlation.

    Raises:
        InputError: one side is constant, so that there is no ranking.
    """
    return _correlation(spearmanr, scores, truth)


def precision_at(k: int, scores: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """The share of the k best by score that are among the k best in truth; ties go to the lower index.

    Raises:
        InputError: there are fewer than k.
    """
    if not 1 <= k <= len(scores):
        raise InputError(f"1 <= k <= number of architectures must hold, but got k={k} of {len(scores)}")
    best = [set(np.argsort(-values, kind="stable")[:k].tolist()) for values in (scores, truth)]
    return len(best[0] & best[1]) / k


def _correlation(of: object, scores: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    assert callable(of)
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(truth) == 0:
        raise InputError("a rank correlation needs two different values on both sides")
    return float(of(scores, truth).statistic)
