"""The loss of words: PyTorch's cross-entropy, with and without compiled kernels."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from oche.text.loss import word_loss

pytestmark = pytest.mark.usefixtures("kernels")


def text(words: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    return (5 * torch.randn(2, 7, words, dtype=dtype)).requires_grad_(), torch.randint(words, (2, 7))


@pytest.mark.parametrize("words", [1, 2, 7, 8, 13, 16, 33, 1000, 10_003])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_it_is_the_mean_over_words_with_its_gradient(words: int, dtype: torch.dtype, close: float) -> None:
    scores, targets = text(words, dtype)
    exact = F.cross_entropy(scores.double().flatten(0, 1), targets.flatten())
    found = word_loss(scores, targets)
    assert found.dtype == dtype
    assert found.item() == pytest.approx(exact.item(), rel=close, abs=close)
    ours, theirs = (torch.autograd.grad(3 * value, scores)[0] for value in (found, exact))
    torch.testing.assert_close(ours, theirs, rtol=close, atol=close)


def test_gradients_are_those_of_differences_in_both_orders() -> None:
    scores, targets = text(11)
    assert torch.autograd.gradcheck(lambda x: word_loss(x, targets), scores)
    assert torch.autograd.gradgradcheck(lambda x: word_loss(x, targets), scores)


def test_scores_may_lie_in_any_order() -> None:
    scores, targets = text(12)
    there = scores.detach().transpose(0, 2).contiguous().transpose(0, 2).requires_grad_()
    assert not there.is_contiguous()
    found = [torch.autograd.grad(word_loss(x, targets), x)[0] for x in (scores, there)]
    torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_far_apart(dtype: torch.dtype) -> None:
    scores = torch.tensor([[[0.0, 5000.0, -5000.0], [-math.inf, 1.0, 1.0]]], dtype=dtype, requires_grad=True)
    assert word_loss(scores, torch.tensor([[0, 2]])).item() == pytest.approx((5000 + math.log(2)) / 2)
    found = torch.autograd.grad(word_loss(scores, torch.tensor([[1, 1]])), scores)[0]
    expected = torch.tensor([[[0.0, 0.0, 0.0], [0.0, -0.25, 0.25]]], dtype=dtype)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
    assert found[0, 0].tolist() == [0, 0, 0], "not even the smallest number"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 9, 18])
def test_what_is_no_number_makes_no_number(bad: float, place: int) -> None:
    scores, targets = text(19)
    values = scores.detach().index_fill(2, torch.tensor(place), bad).requires_grad_()
    found = word_loss(values, targets)
    assert found.isnan()
    assert torch.autograd.grad(found, values)[0].isnan().any()


def test_words_beyond_the_vocabulary_are_an_error() -> None:
    scores, targets = text(5)
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        word_loss(scores, targets + 5)
    with pytest.raises(ValueError, match="batch_size"):
        word_loss(scores, targets[:1])


def test_threads_change_no_bit() -> None:
    scores, targets = text(100_000, torch.float32)
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            value = word_loss(scores, targets)
            found.append([value.detach(), torch.autograd.grad(value, scores)[0]])
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*found, rtol=0, atol=0)
