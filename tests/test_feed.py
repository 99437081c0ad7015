"""Which images feed what. The images are random, so that each can be recognized by its pattern."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from oche.data.augment import Augment
from oche.data.batches import Batches
from oche.data.dataset import Dataset, Part
from oche.errors import InputError
from oche.feed import search_feed, training_feed
from oche.nn.network import Stack
from oche.training.protocol import TrainingProtocol

CPU = torch.device("cpu")
PROTOCOL = TrainingProtocol(name="p", summary="", stack=Stack(cells=1, channels=1), epochs=1, batch=8)


def part(count: int) -> Part:
    return Part(torch.randint(256, (count, 1, 6, 6), dtype=torch.uint8), torch.arange(count) % 2)


def dataset(augment: Augment | None = None) -> Dataset:
    return Dataset("toy", part(60), part(20), ("a", "b"), augment or Augment())


def images(batches: Batches, epoch: int = 0) -> Tensor:
    return torch.cat([x for x, _ in batches.epoch(epoch)])


def recognized(batches: Batches, data: Dataset, epoch: int = 0) -> list[int]:
    """The numbers of the images, found by their pattern up to an affine map (the normalization)."""
    known = torch.cat([data.train.images, data.test.images]).flatten(1).double()  # type: ignore[list-item]
    number = torch.cat([torch.arange(60), torch.arange(100, 120)])

    def standard(x: Tensor) -> Tensor:
        x = x - x.mean(dim=1, keepdim=True)
        return x / x.norm(dim=1, keepdim=True)

    match = standard(images(batches, epoch).flatten(1).double()) @ standard(known).T
    assert match.amax(dim=1).min() > 1 - 1e-6
    return number[match.argmax(dim=1)].tolist()


def test_a_search_sees_two_disjoint_halves_of_the_training_images() -> None:
    data = dataset()
    feed = search_feed(data, 5, 0, CPU, 0)
    train, valid, evaluation = (recognized(b, data) for b in (feed.train, feed.valid, feed.evaluation))
    assert len(set(train)) == len(train) == len(set(valid)) == len(valid) == 30
    assert set(train) | set(valid) == set(range(60))
    assert set(evaluation) == set(valid)
    assert evaluation == sorted(evaluation)
    assert recognized(feed.train, data, 1) != train
    assert set(recognized(feed.train, data, 1)) == set(train)


def test_the_halves_depend_on_the_seed_alone() -> None:
    data = dataset()
    first, again, other = (recognized(search_feed(data, 5, seed, CPU, 0).train, data) for seed in (0, 0, 1))
    assert first == again
    assert set(first) != set(other)


def test_the_images_that_train_the_weights_are_normalized_to_mean_0_and_variance_1() -> None:
    feed = search_feed(dataset(), 5, 0, CPU, 0)
    x = images(feed.train).double()
    assert x.mean().item() == pytest.approx(0, abs=1e-5)
    assert x.var(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert abs(images(feed.valid).double().mean().item()) > 1e-5  # by the same numbers, not by its own


def test_evaluation_images_are_never_changed_at_random() -> None:
    data = dataset()
    plain, changed = (
        search_feed(replace(data, augment=a), 5, 0, CPU, 0) for a in (Augment(), Augment(crop_padding=2, flip=True))
    )
    assert torch.equal(images(changed.evaluation), images(plain.evaluation))
    assert torch.equal(images(changed.evaluation, 1), images(changed.evaluation))
    for half in ("train", "valid"):
        assert not torch.equal(images(getattr(changed, half)), images(getattr(plain, half)))


@pytest.mark.parametrize("validation", [0.0, 0.25])
def test_a_training_holds_out_the_validation_part(validation: float) -> None:
    data = dataset()
    feed = training_feed(data, replace(PROTOCOL, batch=5, validation=validation), 0, CPU)
    train = recognized(feed.train, data)
    assert len(train) == round(60 * (1 - validation))
    assert feed.test is not None
    assert recognized(feed.test, data) == list(range(100, 120))
    if validation:
        assert feed.valid is not None
        valid = recognized(feed.valid, data)
        assert len(valid) == 15
        assert set(train) | set(valid) == set(range(60))
    else:
        assert feed.valid is None


def test_cutout_is_the_protocols_and_hits_training_images_only() -> None:
    data = dataset(Augment(flip=True, cutout=2))
    plain, cut = (training_feed(data, replace(PROTOCOL, cutout=c, batch=5, validation=0.25), 0, CPU) for c in (0, 3))
    x, y = images(plain.train), images(cut.train)
    changed = (x != y).squeeze(1)
    assert y[(x != y)].abs().max() == 0
    assert changed.flatten(1).any(1).all()
    for mask in changed:  # a filled rectangle, clipped at the border
        rows, columns = mask.any(1), mask.any(0)
        assert max(int(rows.sum()), int(columns.sum())) <= 3
        assert (mask == (rows[:, None] & columns[None])).sum() >= mask.numel() - 1  # a pixel may be zero already
    for name in ("valid", "test"):
        assert torch.equal(images(getattr(plain, name)), images(getattr(cut, name)))


def test_batches_that_cannot_be_filled_are_refused() -> None:
    with pytest.raises(InputError, match="batch=31"):
        search_feed(dataset(), 31, 0, CPU, 0)
    with pytest.raises(InputError, match="batch=61"):
        training_feed(dataset(), replace(PROTOCOL, batch=61, validation=0.0), 0, CPU)
