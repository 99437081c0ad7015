"""The number by which networks are judged: its name, its direction, and how it is written. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

TOO_LONG = 1e6
"""From here on a number is written by its power of ten, such as the perplexity of a network that has diverged."""


def percent(share: float) -> str:
    """`98.61 %`."""
    return f"{100 * share:.2f} %"


def plainly(number: float, digits: int = 2) -> str:
    """`98.61`, or `2.8e+67` of what would not fit a line."""
    return f"{number:.{digits}f}" if abs(number) < TOO_LONG else f"{number:.{digits}g}"


@dataclass(frozen=True, kw_only=True)
class Score:
    """What counts of a network.

    Attributes:
        name: in results and records.
        higher_is_better: its direction.
        text: a value with its unit.
        best: the better one of several values.
        unit: of differences between values, which are shown with two decimals.
        scale: of values in that unit.
    """

    name: str
    higher_is_better: bool
    text: Callable[[float], str]
    best: Callable[[Iterable[float]], float]
    unit: str
    scale: float

    def compared(self, found: float, others: Sequence[float], name: str) -> str:
        """Mean and spread of some values, and where another one lies."""
        spread = f" ± {self.scale * stdev(others):.2f} (standard deviation)" if len(others) > 1 else ""
        ahead = self.scale * (found - mean(others))
        side = "above" if ahead >= 0 else "below"
        better = "" if self.higher_is_better else (", which is better" if ahead < 0 else ", which is worse")
        return (
            f"{name}: mean {self.text(mean(others))}{spread}, n = {len(others)}; the found network lies "
            f"{abs(ahead):.2f} {self.unit} {side} it{better if round(abs(ahead), 2) else ''}"
        )


ACCURACY = Score(name="accuracy", higher_is_better=True, text=percent, best=max, unit="points", scale=100.0)
"""Of a classifier: the share (0 to 1) of the images whose class is found."""

PERPLEXITY = Score(name="perplexity", higher_is_better=False, text=plainly, best=min, unit="words", scale=1.0)
"""Of a language model: exp of the mean loss per word; between so many equally likely words it is at a loss."""

SCORES = (ACCURACY, PERPLEXITY)


def score_in(values: Mapping[str, float]) -> Score | None:
    """Which of the scores is among some values; None: none of them, as with a user's own metrics."""
    return judged_by(values) if any(score.name in values for score in SCORES) else None


def judged_by(values: Mapping[str, float]) -> Score:
    """The score among the results of a network that a run has trained, which has one."""
    return next(score for score in SCORES if score.name in values)


def score_called(name: str) -> Score | None:
    """The score whose name ends a longer one, such as `valid_accuracy`; None: it is another number."""
    return next((score for score in SCORES if name.endswith(score.name)), None)
