"""Words in, scores of the next word out: embedding, recurrent cell and a decoder that is the embedding once more.

As the public code of DARTS (rnn/model.py), which follows Merity et al. 2018. In training, with one mask each for all
words of a window (`VariationalDropout`, whose names are in brackets):

1. the rows of the embedding (`embedding`: whole words), then their numbers (`inputs`);
2. the cell, step by step, from the state in which the window before this one ended (`cell_inputs`, `hidden`);
3. its outputs (`outputs`), times the transposed embedding, plus a bias.

Parameters are `embedding` (`V x H`), `bias` (`V`), and those of the cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.metrics import Loss
from oche.nn.mixture import Mixture
from oche.nn.recurrent.cell import Masks, RecurrentCell, masked
from oche.nn.recurrent.memory import Memory
from oche.nn.recurrent.regularization import ActivationPenalty, VariationalDropout
from oche.task import TextTask
from oche.text.window import Window

INITIAL = 0.1
"""The embedding begins uniformly in plus or minus this."""


@dataclass(frozen=True)
class _Read:
    """What a model made of a window.

    Attributes:
        raw: outputs of the cell, `B x T x H`.
        dropped: the same behind their dropout.
    """

    raw: Tensor
    dropped: Tensor


class LanguageModel(nn.Module):
    """See the description of this file.

    Args:
        task: the vocabulary.
        width: H, of the embedding and of the cell's state.
        cell: of this width.

    Attributes:
        dropout: of a training; none until it is set.
        penalty: what `with_auxiliary` adds to the loss of a training; nothing until it is set.
        memory: the state between windows.
    """

    def __init__(self, task: TextTask, width: int, cell: RecurrentCell) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(task.vocabulary, width).uniform_(-INITIAL, INITIAL))
        self.bias = nn.Parameter(torch.zeros(task.vocabulary))
        self.cell = cell
        self.memory = Memory()
        self.dropout = VariationalDropout()
        self.penalty = ActivationPenalty()

    def forward(self, window: Window, mixture: Mixture | None = None) -> Tensor:
        """The scores of each word of the vocabulary as the one after each word, `B x T x V`."""
        return self._decoded(self._read(window, mixture or {}).dropped)

    def with_auxiliary(self, window: Window, mixture: Mixture | None = None) -> tuple[Tensor, Tensor]:
        """The scores, and the activation penalty, which is 0 outside of a training."""
        read = self._read(window, mixture or {})
        return self._decoded(read.dropped), self._cost(read)

    def auxiliary_loss(self, inner: Tensor, target: Any, loss: Loss) -> Tensor:
        """What the training loss adds, given the second value of `with_auxiliary`: the penalty itself."""
        return inner

    def _read(self, window: Window, mixture: Mixture) -> _Read:
        dropout, (lanes, width) = self.dropout, (len(window), self.embedding.shape[1])
        words = F.embedding(window.tokens, self.embedding)
        whole = self._mask(dropout.embedding, len(self.embedding), 1)
        if whole is not None:
            words = words * whole[window.tokens]
        words = masked(words, self._mask(dropout.inputs, lanes, 1, width))
        masks = Masks(self._mask(dropout.cell_inputs, lanes, width), self._mask(dropout.hidden, lanes, width))
        raw = self.cell(words, self.memory.start(window, width, words), masks, mixture)
        self.memory.leave(window, raw[:, -1])
        return _Read(raw, masked(raw, self._mask(dropout.outputs, lanes, 1, width)))

    def _mask(self, probability: float, *size: int) -> Tensor | None:
        """Zeros with a probability and else `1 / keep`; None: nothing is dropped."""
        if not self.training or probability == 0:
            return None
        keep = 1 - probability
        return self.embedding.new_empty(size).bernoulli_(keep) / keep

    def _decoded(self, outputs: Tensor) -> Tensor:
        """`F.linear(outputs, embedding, bias)`.

        For gradients the factors lie in memory the other way round, so that their products have long rows, which are
        quicker on a CPU; without them, as where a text is written word by word, copies would cost more than products.
        """
        if not torch.is_grad_enabled():
            return F.linear(outputs, self.embedding, self.bias)
        flat, columns = outputs.flatten(0, 1).t().contiguous(), self.embedding.t().contiguous()
        return torch.addmm(self.bias, flat.t(), columns).view(*outputs.shape[:2], -1)

    def _cost(self, read: _Read) -> Tensor:
        cost = read.raw.new_zeros(())
        if not self.training:
            return cost
        if self.penalty.alpha:
            cost = cost + self.penalty.alpha * read.dropped.square().mean()
        if self.penalty.beta and read.raw.shape[1] > 1:  # a window of one word has no differences
            cost = cost + self.penalty.beta * (read.raw[:, 1:] - read.raw[:, :-1]).square().mean()
        return cost
