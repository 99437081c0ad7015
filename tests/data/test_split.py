from dataclasses import replace

import pytest
import torch

from oche.data.augment import Augment
from oche.data.dataset import Dataset, Part
from oche.data.split import holdout, search_halves, stratified
from oche.errors import InputError

LABELS = torch.tensor([0] * 50 + [1] * 31 + [2] * 20)


def numbered(count: int, first: int) -> Part:
    """Images that differ in every pixel, so that two parts can be compared by content."""
    images = (torch.arange(count) + first).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).float().contiguous()
    return Part(images, torch.arange(count) % 3)


DATASET = Dataset(
    name="numbers",
    train=numbered(60, 0),
    test=numbered(30, 1000),
    classes=("a", "b", "c"),
    augment=Augment(),
)


def ids(part: Part) -> set[float]:
    assert isinstance(part.images, torch.Tensor)
    return set(part.images[:, 0, 0, 0].tolist())


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.8, 0.2), (0.2, 0.3, 0.5), (0.3,), (0.1, 0.2)])
def test_parts_are_disjoint_proportional_and_of_exact_size(fractions: tuple[float, ...]) -> None:
    parts = stratified(LABELS, fractions, seed=3)
    together = torch.cat(parts)
    assert len(together.unique()) == len(together)
    assert len(together) == round(sum(fractions) * len(LABELS))
    for part, fraction in zip(parts, fractions, strict=True):
        share = torch.bincount(LABELS) * fraction
        assert (torch.bincount(LABELS[part]) - share).abs().max() <= 1.01


def test_three_images_of_a_class_leave_one_for_a_fifth() -> None:
    labels = torch.tensor([0] * 97 + [1] * 3)
    assert [int(labels[part].sum()) for part in stratified(labels, (0.8, 0.2), seed=0)] == [2, 1]


def test_the_seed_decides_the_parts() -> None:
    first, again, other = (stratified(LABELS, (0.5, 0.5), seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_members_of_a_class_are_chosen_uniformly() -> None:
    chosen = torch.stack([torch.isin(torch.arange(101), stratified(LABELS, (0.5, 0.5), s)[0]) for s in range(300)])
    assert chosen.double().mean(0).sub(0.5).abs().max() < 0.15  # 5 standard deviations


@pytest.mark.parametrize("fractions", [(0.0, 1.0), (0.7, 0.4), (-0.1, 0.5)])
def test_impossible_fractions_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="fractions must be positive"):
        stratified(LABELS, fractions, seed=0)


def test_a_class_that_would_be_missing_is_named() -> None:
    labels = torch.tensor([0] * 50 + [1])
    with pytest.raises(InputError, match=r"class 1 has 1 of 51 images.*add images"):
        stratified(labels, (0.5, 0.5), seed=0)


def test_halves_validation_and_test_share_no_image() -> None:
    rest, held = holdout(DATASET, 0.1, 4)
    assert held is not None
    first, second = search_halves(DATASET, 0.1, 4)
    parts = [first, second, held, DATASET.test]
    for i, part in enumerate(parts):
        assert not ids(part) & set().union(*(ids(other) for other in parts[i + 1 :]))
    assert ids(first) | ids(second) == ids(rest)
    assert ids(rest) | ids(held) == ids(DATASET.train)
    for part in parts[:3]:
        assert torch.equal(part.labels, torch.tensor(sorted(ids(part))).long() % 3)  # labels stay with images


def test_without_a_validation_part_a_search_uses_all_training_images() -> None:
    assert holdout(DATASET, 0, 0) == (DATASET.train, None)
    first, second = search_halves(DATASET, 0, 0)
    assert ids(first) | ids(second) == ids(DATASET.train)
    assert not ids(first) & ids(second)


def test_halves_do_not_depend_on_the_test_part() -> None:
    other = replace(DATASET, test=numbered(9, 5000))
    assert ids(search_halves(DATASET, 0.1, 4)[0]) == ids(search_halves(other, 0.1, 4)[0])


@pytest.mark.parametrize("share", [1.0, -0.5])
def test_a_share_outside_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(InputError, match=f"but got {share}"):
        holdout(DATASET, share, 0)


def test_a_split_of_its_own_fixes_what_is_held_out_and_leaves_the_halves_to_the_seed() -> None:
    _, held = holdout(DATASET, 0.1, 7)
    assert held is not None
    halves = [search_halves(DATASET, 0.1, seed, 7) for seed in (1, 2)]
    for first, second in halves:
        assert ids(first) | ids(second) == ids(DATASET.train) - ids(held)
        assert not ids(first) & ids(second)
    assert ids(halves[0][0]) != ids(halves[1][0])


def test_without_a_split_the_seed_decides_it() -> None:
    for ours, theirs in zip(search_halves(DATASET, 0.1, 4), search_halves(DATASET, 0.1, 4, 4), strict=True):
        assert ids(ours) == ids(theirs)
    held = [ids(DATASET.train) - set().union(*map(ids, search_halves(DATASET, 0.1, seed))) for seed in (4, 5)]
    assert held[0] != held[1]
