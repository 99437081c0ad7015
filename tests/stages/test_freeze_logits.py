import pytest

from oche.errors import InputError
from oche.stages.base import EpochPlan
from oche.stages.freeze_logits import FreezeLogits


def test_logits_are_frozen_in_the_first_epochs_only() -> None:
    moves = [FreezeLogits(epochs=3).plan(EpochPlan(), epoch, 6).move_logits for epoch in range(6)]
    assert moves == [False] * 3 + [True] * 3


def test_what_an_earlier_stage_froze_stays_frozen() -> None:
    assert not FreezeLogits(epochs=0).plan(EpochPlan(move_logits=False), 5, 6).move_logits


def test_a_negative_number_of_epochs_is_refused() -> None:
    with pytest.raises(InputError, match=r"epochs >= 0.*-1"):
        FreezeLogits(epochs=-1)
