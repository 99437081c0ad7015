from dataclasses import replace

import pytest

from oche.errors import InputError
from oche.mixture.softmax import Softmax
from oche.schedule import Epochs, Share
from oche.stages.base import EpochPlan
from oche.stages.freeze_logits import FreezeLogits

PLAN = EpochPlan(relaxation=Softmax(), end=6)


def test_logits_are_frozen_in_the_first_epochs_only() -> None:
    moves = [FreezeLogits(first=Epochs(3)).plan(PLAN, epoch, 6).move_logits for epoch in range(6)]
    assert moves == [False] * 3 + [True] * 3


def test_a_share_keeps_the_proportions_of_a_paper() -> None:
    for epochs, frozen in ((50, 15), (100, 30), (10, 3), (8, 3), (1, 1)):
        moves = [FreezeLogits(first=Share(15 / 50)).plan(PLAN, e, epochs).move_logits for e in range(epochs)]
        assert moves.count(False) == frozen
    with pytest.raises(InputError, match="share of the epochs"):
        Share(1.5)


def test_what_an_earlier_stage_froze_stays_frozen() -> None:
    assert not FreezeLogits(first=Epochs(0)).plan(replace(PLAN, move_logits=False), 5, 6).move_logits


def test_a_negative_number_of_epochs_is_refused() -> None:
    with pytest.raises(InputError, match=r"epochs >= 0.*-1"):
        Epochs(-1)
