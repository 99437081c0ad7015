"""The ranking network: a score for an architecture's graph.

Information flows through the graph as it does through the network that it stands for (Ning et al., "A Generic
Graph-based Neural Architecture Encoding Scheme for Predictor-based NAS" (GATES), ECCV 2020, Eq. 1-3): an operation is
a soft gate on what passes its edge. With `h_i` the vector at state `i`, `W` a matrix and `g_o` the vector of
operation `o`:

    h_j = relu( sum over edges i -> j with operation o of  sigmoid(g_o) * (h_i W) )

Input states have vectors of their own. What leaves a cell (the mean over its output states) and further facts about
the architecture go through one hidden layer to the score. GATES is deeper and adds an attention of its own; this is
its core, which is enough here and quick.

There is no bias before the last layers: a state that nothing reaches is exactly zero and passes nothing on. So
architectures that differ only in edges from or into the void, which compute the same function, have the same score.

All members of the ensemble are computed at once: tensors begin with a dimension `members`. Legend: K members, N
architectures, H width of a vector, F facts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from oche.predict.graph import ABSENT, GraphForm


class RankingNetwork(nn.Module):
    """K networks that score architectures.

    Args:
        form: of the space's graphs.
        facts: numbers about each architecture beside its graph.
        members: K.
        width: H.
        random: draws the initial weights.
    """

    def __init__(self, form: GraphForm, *, facts: int, members: int, width: int, random: torch.Generator) -> None:
        super().__init__()

        def normal(*shape: int, fan_in: int = 1) -> nn.Parameter:
            return nn.Parameter(torch.randn(members, *shape, generator=random) / math.sqrt(fan_in))

        self._form = form
        self.inputs = nn.ParameterList(normal(cell.inputs, width) for cell in form.cells)
        # Row ABSENT is never passed by anything; it keeps the numbering simple.
        self.gates = nn.ParameterList(normal(len(form.operations) + 1, width) for _ in form.cells)
        self.messages = nn.ParameterList(normal(width, width, fan_in=width) for _ in form.cells)
        seen = len(form.cells) * width + facts
        self.hidden = normal(seen, width, fan_in=seen)
        self.bias = nn.Parameter(torch.zeros(members, 1, width))
        self.last = normal(width, 1, fan_in=width)

    def forward(self, graphs: Tensor, facts: Tensor | None = None) -> Tensor:
        """Scores `K x N`, higher is better, of graphs `N x edges` and, where there are any, facts `N x F`."""
        leaving, column = [], 0
        for number, cell in enumerate(self._form.cells):
            gates = torch.sigmoid(self.gates[number])
            states = [self.inputs[number][:, i, None].expand(-1, len(graphs), -1) for i in range(cell.inputs)]
            passed: dict[int, Tensor] = {}  # by source: h_i W, the same for all edges that leave it
            for j in range(cell.inputs, cell.inputs + cell.nodes):
                arriving = torch.zeros_like(states[0])
                for _, i, _ in (edge for edge in cell.edges if edge[0] == j):
                    if i not in passed:
                        passed[i] = torch.bmm(states[i], self.messages[number])
                    there = graphs[:, column]
                    arriving = arriving + (there != ABSENT)[None, :, None] * gates[:, there] * passed[i]
                    column += 1
                states.append(torch.relu(arriving))
            leaving.append(torch.stack([states[j] for j in cell.outputs]).mean(dim=0))
        if facts is not None:
            leaving.append(facts.expand(len(self.last), -1, -1))
        hidden = torch.relu(torch.bmm(torch.cat(leaving, dim=-1), self.hidden) + self.bias)
        return torch.bmm(hidden, self.last)[..., 0]
