"""How well a language model expects a text."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def word_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy per word, in nats; its exponential is the perplexity.

    Args:
        scores: of each word of the vocabulary, `B x T x V`.
        targets: the words that came, `B x T`.
    """
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten())
