"""The recurrent supernet in the formulation of the public DARTS code. FROZEN: a yardstick.

Source of the formulation: H. Liu, K. Simonyan, Y. Yang, "DARTS: Differentiable Architecture Search",
ICLR 2019, and its public repository quark0/darts (Apache-2.0), directory rnn: the search cell and the
model around it. Written anew for this benchmark so that it does the same tensor work in the same order;
what no longer runs is left out (`.cuda()`, `Variable`), and so is weight dropping of words.

Kept as published, because this is what a speed-up is measured against:

- one matrix product per node over all earlier states, which are concatenated anew after each node;
- per node and activation one tensor over all edges, weighted and summed; `none` is left out;
- the softmax of the logits is computed again at every time step, from one leaf tensor `edges x candidates`;
- masks are given from outside here (they are drawn once a window), so that runs can be compared.

`per_edge=True` is the same with one matrix product and one set of activations per edge, as the formula is
written in the paper.

Do not improve this file. The package does not import it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PRIMITIVES = ("none", "tanh", "relu", "sigmoid", "identity")
STEPS = 8
CONCAT = 8
INITRANGE = 0.04


def activation(name: str, h: Tensor) -> Tensor:
    if name == "tanh":
        return torch.tanh(h)
    if name == "relu":
        return torch.relu(h)
    if name == "sigmoid":
        return torch.sigmoid(h)
    assert name == "identity"
    return h


class DARTSCellSearch(nn.Module):
    def __init__(self, nhid: int, per_edge: bool) -> None:
        super().__init__()
        self.nhid, self.per_edge = nhid, per_edge
        self._W0 = nn.Parameter(torch.empty(2 * nhid, 2 * nhid).uniform_(-INITRANGE, INITRANGE))
        self._Ws = nn.ParameterList(
            nn.Parameter(torch.empty(nhid, 2 * nhid).uniform_(-INITRANGE, INITRANGE)) for _ in range(STEPS)
        )
        self.bn = nn.BatchNorm1d(nhid, affine=False)
        edges = sum(i for i in range(1, STEPS + 1))
        self.weights = nn.Parameter(torch.randn(edges, len(PRIMITIVES)) * 1e-3)

    def forward(self, inputs: Tensor, hidden: Tensor, x_mask: Tensor, h_mask: Tensor) -> Tensor:
        hiddens = []
        step = self.step_per_edge if self.per_edge else self.step
        for t in range(inputs.size(0)):
            hidden = step(inputs[t], hidden, x_mask, h_mask)
            hiddens.append(hidden)
        return torch.stack(hiddens)

    def _compute_init_state(self, x: Tensor, h_prev: Tensor, x_mask: Tensor, h_mask: Tensor) -> Tensor:
        xh_prev = torch.cat([x * x_mask, h_prev * h_mask], dim=-1)
        c0, h0 = torch.split(xh_prev.mm(self._W0), self.nhid, dim=-1)
        c0 = c0.sigmoid()
        h0 = h0.tanh()
        return h_prev + c0 * (h0 - h_prev)

    def step(self, x: Tensor, h_prev: Tensor, x_mask: Tensor, h_mask: Tensor) -> Tensor:
        s0 = self.bn(self._compute_init_state(x, h_prev, x_mask, h_mask))
        probs = F.softmax(self.weights, dim=-1)
        offset = 0
        states = s0.unsqueeze(0)
        for i in range(STEPS):
            masked_states = states * h_mask.unsqueeze(0)
            ch = masked_states.view(-1, self.nhid).mm(self._Ws[i]).view(i + 1, -1, 2 * self.nhid)
            c, h = torch.split(ch, self.nhid, dim=-1)
            c = c.sigmoid()
            s = torch.zeros_like(s0)
            for k, name in enumerate(PRIMITIVES):
                if name == "none":
                    continue
                unweighted = states + c * (activation(name, h) - states)
                s = s + torch.sum(probs[offset : offset + i + 1, k].unsqueeze(-1).unsqueeze(-1) * unweighted, dim=0)
            s = self.bn(s)
            states = torch.cat([states, s.unsqueeze(0)], 0)
            offset += i + 1
        return torch.mean(states[-CONCAT:], dim=0)

    def step_per_edge(self, x: Tensor, h_prev: Tensor, x_mask: Tensor, h_mask: Tensor) -> Tensor:
        s0 = self.bn(self._compute_init_state(x, h_prev, x_mask, h_mask))
        probs = F.softmax(self.weights, dim=-1)
        offset = 0
        states = [s0]
        for i in range(STEPS):
            s = torch.zeros_like(s0)
            for j, state in enumerate(states):
                c, h = torch.split((state * h_mask).mm(self._Ws[i]), self.nhid, dim=-1)
                c = c.sigmoid()
                for k, name in enumerate(PRIMITIVES):
                    if name != "none":
                        s = s + probs[offset + j, k] * (state + c * (activation(name, h) - state))
            states.append(self.bn(s))
            offset += i + 1
        return torch.mean(torch.stack(states[-CONCAT:]), dim=0)


class RNNModelSearch(nn.Module):
    def __init__(self, ntoken: int, nhid: int, per_edge: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Embedding(ntoken, nhid)
        self.rnn = DARTSCellSearch(nhid, per_edge)
        self.decoder = nn.Linear(nhid, ntoken)
        self.decoder.weight = self.encoder.weight
        self.encoder.weight.data.uniform_(-0.1, 0.1)
        self.decoder.bias.data.fill_(0)

    def forward(
        self, tokens: Tensor, hidden: Tensor, inputs: Tensor, x_mask: Tensor, h_mask: Tensor, outputs: Tensor
    ) -> Tensor:
        """Words `T x B`, masks `1 x B x H` around and `B x H` in the cell, to log-probabilities `T x B x V`."""
        emb = self.encoder(tokens) * inputs
        output = self.rnn(emb, hidden, x_mask, h_mask) * outputs
        logit = self.decoder(output.reshape(-1, output.size(2)))
        return F.log_softmax(logit, dim=-1).view(tokens.size(0), tokens.size(1), -1)
