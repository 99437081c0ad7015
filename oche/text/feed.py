"""Which text feeds what: the training text the weights, the validation text the logits, the test text nothing else."""

from __future__ import annotations

from functools import partial

import torch

from oche.data.halves import SearchData
from oche.errors import InputError
from oche.randomness import derive
from oche.text.batches import TextBatches, most_lanes
from oche.text.corpus import Corpus
from oche.text.window import Stream
from oche.training.trainer import TrainingData

EVALUATION_LANES = 10
"""Lanes of a validation text, as in the public code; fewer where the text is short."""

FEWEST = 2
"""Lanes in a search: one alone has no variance by which batch normalization could normalize."""

TEST_LANES = 1
"""Lanes of a test text, as in the public code: each word counts."""


def search_feed(
    corpus: Corpus,
    lanes: int,
    bptt: int,
    seed: int,
    device: torch.device,
    *,
    jitter: bool,
    evaluation_lanes: int = EVALUATION_LANES,
    fit: bool = False,
) -> SearchData:
    """Windows of a search: the training text trains the weights, the validation text the logits, as published.

    Args:
        corpus: its test text is not used.
        lanes: batch of both texts.
        bptt: words of a window.
        seed: decides the lengths of windows.
        device: where the words go.
        jitter: whether the lengths are random; those of the evaluation never are.
        evaluation_lanes: the most lanes of the validation text where it is evaluated.
        fit: take fewer lanes for both texts where one is too short, for a number that nobody asked for.

    Raises:
        InputError: a text is too short, or there is only one lane.
    """
    room = min(most_lanes(corpus.train, bptt), most_lanes(corpus.valid, bptt))
    lanes = min(lanes, room) if fit else lanes
    text = partial(TextBatches, bptt=bptt, device=device)
    train = text(corpus.train, lanes=lanes, stream=Stream.WEIGHTS, jitter=jitter, seed=derive(seed, "train"))
    valid = text(corpus.valid, lanes=lanes, stream=Stream.LOGITS, jitter=jitter, seed=derive(seed, "valid"))
    evaluation = text(
        corpus.valid,
        lanes=min(evaluation_lanes, most_lanes(corpus.valid, bptt)),
        stream=Stream.EVALUATION,
        jitter=False,
        seed=0,
    )
    if min(lanes, room) < FEWEST:
        raise InputError(
            f"a supernet normalizes its states over the lanes that are read side by side and needs {FEWEST} of them, "
            f"but got batch={lanes}, and in sequences of {bptt:,} words the texts have room for {room:,}; give a "
            "larger --search.batch, a shorter --search.bptt, or a longer text"
        )

    def at_batch(lanes: int) -> SearchData:
        lanes = min(lanes, room)
        return SearchData(
            train=train.with_batch(lanes), valid=valid.with_batch(lanes), evaluation=evaluation, batch=lanes
        )

    return SearchData(train=train, valid=valid, evaluation=evaluation, batch=lanes, at_batch=at_batch)


def training_feed(
    corpus: Corpus,
    lanes: int,
    bptt: int,
    seed: int,
    device: torch.device,
    *,
    jitter: bool,
    evaluation_lanes: int = EVALUATION_LANES,
    test_lanes: int = TEST_LANES,
    fit: bool = False,
    tested: bool = True,
) -> TrainingData:
    """Windows of a training, of the validation that chooses its best epoch, and of the test.

    Args:
        corpus: the three texts.
        lanes: batch of the training text.
        bptt: words of a window.
        seed: decides the lengths of windows.
        device: where the words go.
        jitter: whether the lengths are random; those of validation and test never are.
        evaluation_lanes: the most lanes of the validation text.
        test_lanes: the most lanes of the test text.
        fit: take fewer lanes where the training text is too short, for a number that nobody asked for.
        tested: whether there is a test part; False: for a training that only helps to choose.

    Raises:
        InputError: a text is too short.
    """
    lanes = min(lanes, most_lanes(corpus.train, bptt)) if fit else lanes
    text = partial(TextBatches, bptt=bptt, device=device)
    plain = partial(text, stream=Stream.EVALUATION, jitter=False, seed=0)
    return TrainingData(
        train=text(corpus.train, lanes=lanes, stream=Stream.WEIGHTS, jitter=jitter, seed=derive(seed, "train")),
        valid=plain(corpus.valid, lanes=min(evaluation_lanes, most_lanes(corpus.valid, bptt))),
        test=plain(corpus.test, lanes=min(test_lanes, most_lanes(corpus.test, bptt))) if tested else None,
        batch=lanes,
    )
