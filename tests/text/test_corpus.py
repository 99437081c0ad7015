from typing import Any

import pytest
import torch
from torch import Tensor

from oche.errors import InputError
from oche.task import TextTask
from oche.text.corpus import Corpus


def row(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


def made(**changes: Any) -> Corpus:
    values = {
        "name": "toy",
        "train": row(0, 1, 2, 1),
        "valid": row(1, 2),
        "test": row(2, 0, 2),
        "vocabulary": ("a", "<eos>", "b"),
    } | changes
    return Corpus(**values)


def test_the_task_is_to_predict_a_word_of_the_vocabulary() -> None:
    assert made().task == TextTask(vocabulary=3)


def test_words_can_be_read_again() -> None:
    assert made().decode(row(0, 2, 1, 2, 0, 1)) == "a b\nb a\n"


def test_the_fingerprint_follows_each_word_and_each_part() -> None:
    base = made().fingerprint
    assert made(name="other", notes=("a note",)).fingerprint == base
    changes: list[dict[str, Any]] = [
        {"train": row(0, 1, 2, 2)},
        {"valid": row(1, 0)},
        {"test": row(2, 0, 1)},
        {"vocabulary": ("a", "<eos>", "c")},
        {"train": row(0, 1, 2), "valid": row(1, 1, 2)},  # a word moves to the next part
    ]
    assert len({base, *(made(**change).fingerprint for change in changes)}) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid": row()}, "the validation text is empty; give one with words"),
        ({"test": row(0, 3)}, r"3 words have the numbers 0\.\.2, but those of the test text run from 0 to 3; number"),
        ({"train": row(-1, 1)}, "training text run from -1 to 1"),
        ({"train": torch.zeros(3)}, r"int64.*the training text is \(3,\) of torch.float32; convert"),
        ({"train": torch.zeros(3, 1, dtype=torch.int64)}, r"the training text is \(3, 1\)"),
        ({"vocabulary": ("a",)}, "at least 2 different words, but got 1; give a longer"),
        ({"vocabulary": ("a", "b", "a")}, "'a' is in the vocabulary twice; leave one out"),
    ],
)
def test_what_is_no_corpus(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(**changes)
