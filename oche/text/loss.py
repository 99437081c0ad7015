"""How well a language model expects a text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from oche.nn.fast.compiled.library import Library, library_of


def word_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy per word, in nats; its exponential is the perplexity.

    Args:
        scores: of each word of the vocabulary, `B x T x V`.
        targets: the words that came, `B x T`.
    """
    flat, words = scores.flatten(0, 1), targets.flatten()
    kernels = library_of(flat)
    if kernels is None or len(flat) != len(words):  # which is an error that PyTorch explains
        return F.cross_entropy(flat, words)
    return _CrossEntropy.apply(kernels, flat.contiguous(), words)  # type: ignore[no-any-return]


class _CrossEntropy(torch.autograd.Function):
    """`F.cross_entropy` in one pass over the scores, and one for their gradient.

    With a vocabulary of thousands the scores are the largest tensor of a step, and PyTorch makes four more like it.

    Inputs: the kernels, scores (`N x V`), words (`N`).
    """

    @staticmethod
    def forward(ctx: Any, kernels: Library, scores: Tensor, words: Tensor) -> Tensor:
        """The mean over words."""
        sums = scores.new_empty(len(scores))
        kernels("log_sums", scores.dtype, *scores.shape, scores, sums)
        ctx.kernels = kernels
        ctx.save_for_backward(scores, words, sums)
        return (sums - scores.gather(1, words[:, None])[:, 0]).mean()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, Tensor, None]:
        """Of the scores."""
        scores, words, sums = ctx.saved_tensors
        if torch.is_grad_enabled():  # second derivatives are those of PyTorch
            (found,) = torch.autograd.grad(F.cross_entropy(scores, words), scores, g, create_graph=True)
            return None, found, None
        found, share = torch.empty_like(scores), g / len(words)
        ctx.kernels("shares", scores.dtype, *scores.shape, scores, sums, float(share), found)
        found.scatter_add_(1, words[:, None], -share.expand(len(words), 1))
        return None, found, None
