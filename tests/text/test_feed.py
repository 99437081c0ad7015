"""Which text feeds what. The parts share no word, so that each is recognized."""

from itertools import pairwise

import pytest
import torch

from oche.data.batches import Batches
from oche.errors import InputError
from oche.text.corpus import Corpus
from oche.text.feed import search_feed, training_feed
from oche.text.window import Stream

CPU = torch.device("cpu")


def corpus(train: int = 1000, valid: int = 200, test: int = 300) -> Corpus:
    ends = [0, train, train + valid, train + valid + test]
    parts = [torch.arange(a, b) for a, b in pairwise(ends)]
    return Corpus("toy", parts[0], parts[1], parts[2], tuple(map(str, range(ends[-1]))))


def words(batches: Batches, epoch: int = 0) -> set[int]:
    return {word for window, _ in batches.epoch(epoch) for word in window.tokens.flatten().tolist()}


def streams(batches: Batches) -> set[Stream]:
    return {window.stream for window, _ in batches.epoch(0)}


def lanes(batches: Batches) -> int:
    return len(next(batches.epoch(0))[0])


def test_a_search_trains_on_one_text_and_moves_logits_on_the_other() -> None:
    feed = search_feed(corpus(), 8, 10, 0, CPU, jitter=True)
    assert words(feed.train) <= set(range(1000))
    assert words(feed.valid) | words(feed.evaluation) <= set(range(1000, 1200))
    assert [streams(b) for b in (feed.train, feed.valid, feed.evaluation)] == [
        {Stream.WEIGHTS},
        {Stream.LOGITS},
        {Stream.EVALUATION},
    ]
    assert feed.batch == lanes(feed.train) == lanes(feed.valid) == 8
    assert lanes(feed.evaluation) == 10
    assert [w.tokens.tolist() for w, _ in feed.evaluation.epoch(0)] == [
        w.tokens.tolist() for w, _ in feed.evaluation.epoch(1)
    ]


def test_each_step_of_a_search_has_a_window_of_both_texts() -> None:
    feed = search_feed(corpus(), 8, 10, 0, CPU, jitter=True)
    pairs = list(feed.pairs(1))
    assert len(pairs) == len(feed.train) == 13
    places = [window.place for _, (window, _) in pairs]
    assert places == [0, 1] * 6 + [0]  # the shorter text begins anew
    again = list(feed.pairs(1, 5))
    for (train, valid), (train_again, valid_again) in zip(pairs[5:], again, strict=True):
        assert torch.equal(train[0].tokens, train_again[0].tokens)
        assert torch.equal(valid[1], valid_again[1])


def test_the_two_texts_have_lengths_of_their_own() -> None:
    same = torch.arange(500)
    feed = search_feed(Corpus("toy", same, same, same, tuple(map(str, same.tolist()))), 4, 10, 0, CPU, jitter=True)
    first, second = ([w.tokens.shape[1] for w, _ in b.epoch(0)] for b in (feed.train, feed.valid))
    assert sum(first) == sum(second) == 124
    assert first != second


def test_a_search_in_another_batch() -> None:
    feed = search_feed(corpus(), 8, 10, 0, CPU, jitter=False)
    larger = feed.larger(4)
    assert larger.batch == lanes(larger.train) == lanes(larger.valid) == 12
    assert feed.larger(1000).batch == 19  # what the validation text has room for
    with pytest.raises(InputError, match="200 words have room for 1 to 19 lanes"):
        search_feed(corpus(), 20, 10, 0, CPU, jitter=False)
    fitted = search_feed(corpus(), 20, 10, 0, CPU, jitter=False, fit=True)
    assert fitted.batch == lanes(fitted.train) == lanes(fitted.valid) == 19
    assert lanes(search_feed(corpus(valid=50), 4, 10, 0, CPU, jitter=False).evaluation) == 4


def test_a_training_reads_three_texts() -> None:
    data = training_feed(corpus(), 8, 10, 0, CPU, jitter=True)
    assert data.valid is not None
    assert data.test is not None
    assert words(data.train) <= set(range(1000))
    assert words(data.valid) == set(range(1000, 1190))
    assert words(data.test) == set(range(1200, 1499))  # all that have a next word
    assert (data.batch, lanes(data.valid), lanes(data.test), data.normalize) == (8, 10, 1, None)
    assert streams(data.valid) == streams(data.test) == {Stream.EVALUATION}
    assert training_feed(corpus(), 8, 10, 0, CPU, jitter=True, tested=False).test is None


def test_a_training_text_that_is_too_short() -> None:
    with pytest.raises(InputError, match="100 words have room for 1 to 9 lanes"):
        training_feed(corpus(100), 64, 10, 0, CPU, jitter=True)
    assert training_feed(corpus(100), 64, 10, 0, CPU, jitter=True, fit=True).batch == 9
    with pytest.raises(InputError, match="longer than the text"):
        training_feed(corpus(test=8), 8, 10, 0, CPU, jitter=True, fit=True)
