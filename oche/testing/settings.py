"""What a tiny search reads: digits or words, and what goes with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import nn

from oche.data.batches import Batch
from oche.data.dataset import Dataset
from oche.data.load import load
from oche.data.options import DataOptions
from oche.medium import IMAGES, TEXT, Medium
from oche.nn.network import Stack
from oche.nn.recurrent.regularization import ActivationPenalty, VariationalDropout
from oche.randomness import generator
from oche.spaces.space import Space
from oche.task import ImageTask, Task, TextTask
from oche.text.corpus import END, UNKNOWN, Corpus
from oche.text.window import Stream, Window
from oche.training.language import Language
from oche.training.protocol import TEXT_TINY, TINY, TrainingProtocol

Pair: TypeAlias = tuple[Batch, Batch]
"""A training and a validation batch."""

DIGITS = 80
"""Images in all; half of them train the weights."""

WORDS = 30
"""Of the vocabulary."""

FOLLOWING = 3
"""Words that may come after a word."""

LANES, BPTT = 4, 5
"""Of a step of a search on text."""

WINDOWS = 4
"""Of an epoch, in each of the three texts."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the spaces of a medium are searched with.

    Attributes:
        medium: what their networks read.
        data: makes the data set.
        batch: of a step.
        bptt: words of a lane per step; None: of images.
        task: of `pair`.
        network: size of a discrete network.
        protocol: of the training that would follow: it has everything with which a search may be consistent.
        pair: the batches of a step (from 0), noise with targets in float64.
    """

    medium: Medium
    data: Callable[[], Dataset | Corpus]
    batch: int
    bptt: int | None
    task: Task
    network: Stack
    protocol: TrainingProtocol
    pair: Callable[[int], Pair]


def setting(space: Space | nn.Module) -> Setting:
    """What a space is searched with; a module reads images."""
    return ON_TEXT if isinstance(space, Space) and space.medium is TEXT else ON_IMAGES


def images() -> Dataset:
    """A few of the embedded digits, for all spaces of image networks."""
    return load("digits", DataOptions(limit=DIGITS))


def text() -> Corpus:
    """Words each of which makes three others likely, for all spaces of language models; always the same."""
    length, words = LANES * BPTT * WINDOWS + 1, [0]
    for step in torch.randint(FOLLOWING, (3 * length - 1,), generator=generator(0, "words")).tolist():
        words.append((FOLLOWING * words[-1] + step) % WORDS)
    train, valid, test = torch.tensor(words).view(3, length)
    vocabulary = (END, UNKNOWN, *(f"word{number}" for number in range(2, WORDS)))
    return Corpus("words", train=train, valid=valid, test=test, vocabulary=vocabulary)


def _digits(step: int, count: int = 10) -> Pair:
    return _noise(2 * step, count), _noise(2 * step + 1, count)


def _noise(seed: int, count: int) -> Batch:
    task = DIGIT
    x = torch.randn(count, task.channels, task.height, task.width, generator=generator(seed), dtype=torch.float64)
    return x, torch.arange(count) % task.classes


def _windows(step: int) -> Pair:
    return _window(step, Stream.WEIGHTS), _window(step, Stream.LOGITS)


def _window(place: int, stream: Stream) -> Batch:
    draws = generator(place, stream.value)
    x, y = (torch.randint(WORDS, (LANES, BPTT), generator=draws) for _ in range(2))
    return Window(x, place, stream), y


DIGIT = ImageTask(channels=1, height=8, width=8, classes=10)

ON_IMAGES = Setting(
    medium=IMAGES,
    data=images,
    batch=16,
    bptt=None,
    task=DIGIT,
    network=Stack(cells=2, channels=4),
    protocol=replace(TINY, cutout=2, drop_path=0.2, auxiliary=0.4),
    pair=_digits,
)

ON_TEXT = Setting(
    medium=TEXT,
    data=text,
    batch=LANES,
    bptt=BPTT,
    task=TextTask(vocabulary=WORDS),
    network=Stack(cells=1, channels=6),
    protocol=replace(
        TEXT_TINY,
        language=Language(
            dropout=VariationalDropout(embedding=0.1, inputs=0.1, cell_inputs=0.1, hidden=0.1, outputs=0.1),
            penalty=ActivationPenalty(alpha=1.0, beta=1.0),
        ),
    ),
    pair=_windows,
)
