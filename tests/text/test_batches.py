"""Windows of text, against a loop over single words."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from oche.errors import InputError
from oche.text.batches import TextBatches, jittered, most_lanes
from oche.text.window import Stream

CPU = torch.device("cpu")


def text(words: int = 100, **changes: object) -> TextBatches:
    values = {"lanes": 4, "bptt": 7, "stream": Stream.WEIGHTS, "jitter": False, "seed": 0, "device": CPU} | changes
    return TextBatches(torch.arange(words) * 3 % 101, **values)  # type: ignore[arg-type]


def contents(batches: TextBatches, epoch: int = 0, start: int = 0) -> list[tuple[list[list[int]], list[list[int]]]]:
    return [(window.tokens.tolist(), targets.tolist()) for window, targets in batches.epoch(epoch, start)]


def by_hand(tokens: Tensor, lanes: int, lengths: list[int]) -> list[tuple[list[list[int]], list[list[int]]]]:
    """Word by word."""
    words = tokens.tolist()
    per_lane = (len(words) - 1) // lanes
    result = []
    begin = 0
    for length in lengths:
        inputs, targets = [], []
        for lane in range(lanes):
            places = [lane * per_lane + begin + i for i in range(length)]
            inputs.append([words[place] for place in places])
            targets.append([words[place + 1] for place in places])
        result.append((inputs, targets))
        begin += length
    return result


@pytest.mark.parametrize(("words", "lanes", "bptt"), [(100, 4, 7), (101, 4, 5), (30, 1, 29), (30, 29, 1), (31, 3, 4)])
def test_windows_are_those_of_a_loop_over_words(words: int, lanes: int, bptt: int) -> None:
    batches = text(words, lanes=lanes, bptt=bptt)
    length = (words - 1) // lanes
    lengths = [min(bptt, length - begin) for begin in range(0, length, bptt)]
    assert contents(batches) == by_hand(torch.arange(words) * 3 % 101, lanes, lengths)
    assert len(batches) == len(lengths)
    assert batches.left_out == words - 1 - lanes * length
    assert contents(batches, epoch=1) == contents(batches)  # nothing is random


def test_one_lane_predicts_every_word_but_the_first_exactly_once() -> None:
    batches = text(lanes=1)
    assert batches.left_out == 0
    targets = [word for _, rows in contents(batches) for word in rows[0]]
    assert targets == [3 * i % 101 for i in range(1, 100)]


def test_each_pair_of_words_is_used_at_most_once() -> None:
    pairs = [
        pair
        for inputs, targets in contents(text(lanes=8, jitter=True))
        for lane in range(8)
        for pair in zip(inputs[lane], targets[lane], strict=True)
    ]
    assert len(set(pairs)) == len(pairs) == 96  # (100 - 1) // 8 in each lane
    assert text(lanes=8).left_out == 3


def test_windows_say_what_they_are() -> None:
    windows = [window for window, _ in text(stream=Stream.LOGITS, bptt=10).epoch(3)]
    assert [window.place for window in windows] == [0, 1, 2]
    assert [window.share for window in windows] == [1.0, 1.0, 0.4]  # 24 words in a lane
    assert {window.stream for window in windows} == {Stream.LOGITS}
    assert all(window.tokens.is_contiguous() and len(window) == 4 for window in windows)


@pytest.mark.parametrize("jitter", [False, True])
def test_an_epoch_can_be_entered_at_any_window(jitter: bool) -> None:
    batches = text(1000, jitter=jitter)
    whole = contents(batches, epoch=2)
    places = [window.place for window, _ in batches.epoch(2, 5)]
    assert places == list(range(5, len(batches)))
    for start in range(len(batches) + 1):
        assert contents(text(1000, jitter=jitter), 2, start) == whole[start:]


def test_jitter_is_a_function_of_seed_and_epoch() -> None:
    batches = text(4000, jitter=True)
    assert batches.lengths(0) == text(4000, jitter=True).lengths(0)
    others = [batches.lengths(1), text(4000, jitter=True, seed=1).lengths(0)]
    assert batches.lengths(0) not in others
    assert contents(batches, 1) == by_hand(torch.arange(4000) * 3 % 101, 4, batches.lengths(1))
    assert [window.share for window, _ in batches.epoch(1)] == [length / 7 for length in batches.lengths(1)]


@given(
    words=st.integers(2, 3000),
    lanes=st.integers(1, 40),
    bptt=st.integers(1, 80),
    epoch=st.integers(0, 3),
    seed=st.integers(0, 9),
)
def test_jittered_windows_fill_the_lane_whatever_the_sizes(
    words: int, lanes: int, bptt: int, epoch: int, seed: int
) -> None:
    if words - 1 < bptt or lanes > most_lanes(torch.arange(words), bptt):
        return
    batches = text(words, lanes=lanes, bptt=bptt, jitter=True, seed=seed)
    lengths = batches.lengths(epoch)
    assert len(lengths) == len(batches)
    assert sum(lengths) == batches.length
    assert min(lengths) >= 1


def test_lengths_are_distributed_as_in_the_public_code() -> None:
    """In 20,000 windows: means, share of short ones and extremes of max(5, min(55, int(normal(base, 5))))."""
    windows, bptt = 20_000, 35
    expected = 0.95 * 34.5 + 0.05 * 17.0  # int() takes half a word away on average
    lengths = torch.tensor(jittered(round(windows * expected), windows, bptt, seed=3)).double()
    assert lengths.mean().item() == pytest.approx(expected, rel=1e-3)
    short = (lengths < 26).double().mean().item()
    assert short == pytest.approx(0.05 * 0.95 + 0.95 * 0.036, abs=0.01)
    whole = lengths[lengths > 22]
    assert whole.std().item() == pytest.approx(5, abs=0.3)
    assert lengths.min() >= 4
    assert lengths.max() <= 56


def test_another_number_of_lanes() -> None:
    batches = text(1000, jitter=True)
    other = batches.with_batch(9)
    assert contents(other) == contents(text(1000, jitter=True, lanes=9))
    assert contents(batches) == contents(text(1000, jitter=True))
    with pytest.raises(InputError, match="room for 1 to 142 lanes"):
        batches.with_batch(143)


@pytest.mark.parametrize(
    ("words", "changes", "message"),
    [
        (10, {"bptt": 10}, r"longer than the text, but 10 words and the next one are more than the 10 words of this"),
        (10, {"bptt": 35}, r"longer than the text.*give shorter sequences \(--search.bptt, --train.bptt\) or a longer"),
        (1, {"bptt": 1}, "more than the 1 words"),
        (100, {"bptt": 0}, "sequences need at least 1 word, but got bptt=0; 35 is usual"),
        (
            100,
            {"lanes": 15},
            r"100 words have room for 1 to 14 lanes .* sequences of 7 words, but got batch=15; give --search.batch or "
            r"--train.batch 14, shorter sequences \(--search.bptt, --train.bptt\), or a longer text",
        ),
        (100, {"lanes": 0}, "but got batch=0"),
        (1000, {"lanes": 1000, "bptt": 1}, "room for 1 to 999 lanes .*--train.batch 64"),
    ],
)
def test_texts_that_are_too_short(words: int, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        text(words, **changes)
    text(100, lanes=14)
