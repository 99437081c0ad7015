"""A language model with a found cell, as the source of a Python file that needs PyTorch alone.

The parameters are called as those of `LanguageModel`, so that the weights of a run fit the classes of the file.
"""

from __future__ import annotations

from collections.abc import Sequence

from oche.architecture import Architecture
from oche.errors import InputError
from oche.spaces.recurrent import RecurrentSpace

FUNCTIONS = {"tanh": "torch.tanh", "relu": "torch.relu", "sigmoid": "torch.sigmoid", "identity": "self.identity"}
"""How the file calls the activations."""

TEMPLATE = '''\
"""A recurrent cell found by architecture search, and the language model around it. Needs PyTorch alone.

{drawing}
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VOCABULARY, WIDTH = {vocabulary}, {width}


class Cell(nn.Module):
    """From a word and the last state to the next state.

    Attributes:
        first: 2H x 2H, of the word and the state together.
        maps: H x 2H, one for each node.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.empty(2 * width, 2 * width).uniform_(-0.04, 0.04))
        self.maps = nn.ParameterList(torch.empty(width, 2 * width).uniform_(-0.04, 0.04) for _ in range({nodes}))

    def forward(self, x: Tensor, h: Tensor, x_mask: Tensor | float = 1.0, h_mask: Tensor | float = 1.0) -> Tensor:
        """The next state (B x H) after the word x in the state h (both B x H).

        The masks are those of variational dropout: zeros and 1 / keep, the same at all steps of a window.
        """
        gate, change = torch.cat([x * x_mask, h * h_mask], -1).mm(self.first).chunk(2, -1)
        s0 = h + torch.sigmoid(gate) * (torch.tanh(change) - h)
{steps}
        return ({total}) / {nodes}

    def node(self, s: Tensor, weight: Tensor, activation, h_mask: Tensor | float) -> Tensor:
        """s + gate (activation(change) - s): the gate decides how much of s is replaced."""
        gate, change = (s * h_mask).mm(weight).chunk(2, -1)
        return s + torch.sigmoid(gate) * (activation(change) - s)

    @staticmethod
    def identity(x: Tensor) -> Tensor:
        return x


class LanguageModel(nn.Module):
    """Words to scores of the next word; the decoder is the embedding once more."""

    def __init__(self, vocabulary: int = VOCABULARY, width: int = WIDTH) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(vocabulary, width).uniform_(-0.1, 0.1))
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.cell = Cell(width)

    def forward(self, words: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Numbers of words (B x T) to scores (B x T x vocabulary), and the state after the last word (B x H)."""
        h = self.embedding.new_zeros(len(words), self.embedding.shape[1]) if h is None else h
        states = []
        for x in F.embedding(words, self.embedding).unbind(1):
            h = self.cell(x, h)
            states.append(h)
        return F.linear(torch.stack(states, 1), self.embedding, self.bias), h


def load(path: str) -> tuple[LanguageModel, list[str]]:
    """The trained model and its vocabulary from the network.pt of a run."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    model = LanguageModel(len(saved["vocabulary"]), saved["stack"]["channels"])
    model.load_state_dict(saved["weights"])
    return model.eval(), saved["vocabulary"]
'''


def source(architecture: Architecture, space: RecurrentSpace, *, vocabulary: int, width: int, drawing: str) -> str:
    """The text of the file.

    Args:
        architecture: of the space.
        space: a recurrent one.
        vocabulary: number of words.
        width: of embedding and states.
        drawing: of the architecture, for its head.

    Raises:
        InputError: the architecture is not of this space.
    """
    space.domain.check(architecture)
    ((_, nodes),) = space.cells(architecture).items()
    return TEMPLATE.format(
        drawing=drawing,
        vocabulary=vocabulary,
        width=width,
        nodes=len(nodes),
        steps="\n".join(f"        {line}" for line in _steps(nodes)),
        total=" + ".join(f"s{number}" for number in range(1, len(nodes) + 1)),
    )


def _steps(nodes: Sequence[dict[int, str]]) -> list[str]:
    lines = []
    for number, edges in enumerate(nodes, 1):
        ((read, activation),) = edges.items()
        if activation not in FUNCTIONS:
            raise InputError(
                f"the activation {activation!r} is not among those that the file can call: {', '.join(FUNCTIONS)}"
            )
        lines.append(f"s{number} = self.node(s{read}, self.maps[{number - 1}], {FUNCTIONS[activation]}, h_mask)")
    return lines
