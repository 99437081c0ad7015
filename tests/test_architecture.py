import json
import pickle
from pathlib import Path

import pytest

from oche.architecture import FORMAT, Architecture
from oche.errors import InputError

CHOICES = {"normal/2<-0": "skip_connect", "inputs": (0, 2), "kernel": 5, "rate": 0.5}
MIXED = Architecture.of("toy", CHOICES)


def text(**changes: object) -> str:
    return json.dumps({"format": FORMAT, "space": "toy", "choices": {"a": "x"}} | changes)


def test_equality_and_hash_do_not_depend_on_the_order_of_choices() -> None:
    again = Architecture.of("toy", dict(reversed(list(CHOICES.items()))))
    assert again == MIXED
    assert len({again, MIXED}) == 1


def test_it_can_be_sent_to_another_process_after_it_was_looked_into() -> None:
    assert MIXED.choices == CHOICES
    again = pickle.loads(pickle.dumps(MIXED))
    assert again == MIXED
    assert again.choices == CHOICES


@pytest.mark.parametrize(
    "other",
    [
        Architecture.of("another", CHOICES),
        Architecture.of("toy", CHOICES | {"kernel": 3}),
        Architecture.of("toy", {k: v for k, v in CHOICES.items() if k != "kernel"}),
    ],
)
def test_every_difference_counts(other: Architecture) -> None:
    assert other != MIXED


def test_choices_are_what_was_given_and_cannot_be_changed() -> None:
    assert dict(MIXED.choices) == CHOICES
    with pytest.raises(TypeError):
        MIXED.choices["kernel"] = 3  # type: ignore[index]


def test_json_gives_back_an_equal_value_of_the_same_types(tmp_path: Path) -> None:
    MIXED.save(tmp_path / "a.json")
    for again in (Architecture.from_json(MIXED.to_json()), Architecture.load(tmp_path / "a.json")):
        assert again == MIXED
        assert hash(again) == hash(MIXED)
        assert [type(v) for _, v in again.items] == [type(v) for _, v in MIXED.items]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("{", "must be JSON"),
        ("[1]", "format"),
        ('"text"', "format"),
        ("null", "format"),
        (text(format=FORMAT + 1), f"format {FORMAT}"),
        (json.dumps({"space": "toy", "choices": {}}), "format"),
        (text(space=3), "'space'"),
        (text(choices=["a"]), "'choices'"),
        (json.dumps({"format": FORMAT, "space": "toy"}), "'choices'"),
        (text(choices={"a": None}), "edge 'a'"),
        (text(choices={"a": {"b": 1}}), "edge 'a'"),
        (text(choices={"a": [1, "x"]}), "edge 'a'"),
        (text(choices={"a": True}), "edge 'a'"),
        (text(choices={"a": [True, False]}), "edge 'a'"),
    ],
)
def test_broken_json_is_refused(broken: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Architecture.from_json(broken)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.json"):
        Architecture.load(tmp_path / "missing.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes\.json"):
        Architecture.load(tmp_path / "bytes.json")
    (tmp_path / "old.json").write_text(text(format=0))
    with pytest.raises(InputError, match=r"old\.json.*format"):
        Architecture.load(tmp_path / "old.json")
