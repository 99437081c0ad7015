"""How a language model is trained, beside what every network's training needs."""

from __future__ import annotations

from dataclasses import dataclass

from oche.errors import InputError
from oche.nn.recurrent.regularization import ActivationPenalty, VariationalDropout


@dataclass(frozen=True, kw_only=True)
class Language:
    """The numbers of a training on text.

    Attributes:
        bptt: words of a lane per step, through which gradients go back.
        jitter: whether that length is drawn anew for each step of the training (Merity et al. 2018, Sec. 5).
        dropout: in training.
        penalty: on the outputs of the cell; it counts by the protocol's `auxiliary`.
        evaluation_lanes: lanes in which the validation text is read side by side.
        test_lanes: the same for the test text. Each lane but the first begins without its past, so 1 is exact.

    Raises:
        InputError: a number is less than 1.
    """

    bptt: int = 35
    jitter: bool = True
    dropout: VariationalDropout = VariationalDropout()
    penalty: ActivationPenalty = ActivationPenalty()
    evaluation_lanes: int = 10
    test_lanes: int = 1

    def __post_init__(self) -> None:
        for name in ("bptt", "evaluation_lanes", "test_lanes"):
            if getattr(self, name) < 1:
                raise InputError(f"training on text needs {name} >= 1, but got {name}={getattr(self, name)}")
