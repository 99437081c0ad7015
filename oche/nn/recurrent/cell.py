"""The recurrent cell of DARTS: a small graph that takes a word and the last state to the next state.

Liu, Simonyan and Yang, ICLR 2019, Sec. 2.1 and Appendix A.1.2, in the form of the public code (rnn/model.py and
rnn/model_search.py). With `x` and `h` (`B x H`) of a time step, `W_0` (`2H x 2H`) and `W_j` (`H x 2H`):

1. `[c, z] = [x * m_x, h * m_h] W_0` and `s_0 = h + sigmoid(c) (tanh(z) - h)`;
2. an edge from state `s_i` into node `j` computes `[c, z] = (s_i * m_h) W_j` and adds
   `sum_k a_k (s_i + sigmoid(c) (f_k(z) - s_i))` in a supernet, where `none` adds nothing, and
   `s_i + sigmoid(c) (f(z) - s_i)` in a discrete network, in which each node has one edge;
3. `s_j` is the sum of the edges; in a supernet `s_0` and every `s_j` go through one batch normalization without affine;
4. the next state, which is also the output, is the mean of the nodes `s_1` to `s_n`.

The masks `m` of variational dropout are drawn by the caller, once for all steps. As in image networks, one class serves
supernets and discrete networks, and only what stands on an edge differs. How the steps are evaluated is a function of
its own: edge by edge here, which defines what is right, and with less work in `oche.nn.recurrent.quick`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

import torch
from torch import Tensor, nn

from oche.architecture import Candidate
from oche.errors import named
from oche.nn.choice import Decision, total
from oche.nn.mixture import Live, Mixture, live_in
from oche.nn.operations import NONE

INITIAL = 0.04
"""Weights begin uniformly in plus or minus this."""

IDENTITY = "identity"

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    IDENTITY: nn.Identity,
}
"""The candidates of an edge, beside `none`."""


def activation(name: Candidate) -> nn.Module:
    """A candidate by name.

    Raises:
        InputError: the name is unknown.
    """
    return named("activation", str(name), ACTIVATIONS)()


@dataclass(frozen=True)
class Masks:
    """What numbers are multiplied by before the linear maps of a cell, at every time step; None: they are not.

    Attributes:
        inputs: of `x`, `B x H`.
        hidden: of the states, the last one of the cell included, `B x H`.
    """

    inputs: Tensor | None = None
    hidden: Tensor | None = None


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """`x`, or `x * mask`."""
    return x if mask is None else x * mask


class MixedActivation(Decision):
    """An edge on which activations compete.

    Args:
        candidates: names, `none` perhaps among them.
        key: of the logits.
    """

    def __init__(self, candidates: Sequence[str], key: str) -> None:
        super().__init__(tuple(candidates), key)
        self.activations = {i: activation(name) for i, name in enumerate(candidates) if name != NONE}

    def forward(self, s: Tensor, c: Tensor, z: Tensor, mixture: Mixture) -> Tensor:
        """`sum_k a_k (s + c (f_k(z) - s))` over the candidates that run (all `B x H`; `c` behind its sigmoid)."""
        mixing = mixture[self.name]
        computed = self.computed(live_in(mixture))
        if not computed:
            return torch.zeros_like(s)
        return total(mixing[i] * (s + c * (self.activations[i](z) - s)) for i in computed)

    @property
    def name(self) -> str:
        """Its key."""
        assert self.key is not None
        return self.key

    def computed(self, live: Live) -> tuple[int, ...]:
        """The places of the candidates that run and add something."""
        return tuple(i for i in live.get(self.name, range(len(self.options))) if i in self.activations)

    def fixed(self, option: Candidate) -> nn.Module:
        """The chosen activation."""
        return activation(option)


class FixedActivation(nn.Module):
    """An edge with its one chosen activation."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.activation = activation(name)

    def forward(self, s: Tensor, c: Tensor, z: Tensor, mixture: Mixture) -> Tensor:
        """`s + c (f(z) - s)`; a discrete network has no mixture to look at."""
        return s + c * (self.activation(z) - s)  # type: ignore[no-any-return]


ActivationEdge: TypeAlias = MixedActivation | FixedActivation
"""What stands on an edge."""


class Unrolling(Protocol):
    """Evaluates the time steps of a cell."""

    def __call__(self, cell: RecurrentCell, x: Tensor, h: Tensor, masks: Masks, mixture: Mixture) -> Tensor:
        """The states after each step, `B x T x H`, of inputs `B x T x H` from the state `h` (`B x H`) on."""
        ...


def step_by_step(cell: RecurrentCell, x: Tensor, h: Tensor, masks: Masks, mixture: Mixture) -> Tensor:
    """The reference: every edge that runs is called at every step."""
    states = []
    for word in x.unbind(1):
        h = cell.step(word, h, masks, mixture)
        states.append(h)
    return torch.stack(states, 1)


class RecurrentCell(nn.Module):
    """See the description of this file.

    Args:
        width: H.
        nodes: per node, the edges by the state they read: 0 is `s_0`, and `j` the node `j`.
        normalized: whether states go through batch normalization, as they do in a supernet.

    Attributes:
        first: `W_0`.
        maps: `W_1` to `W_n`.
        norm: the one normalization of all states; None: there is none.
        unroll: how the steps are evaluated.
    """

    def __init__(self, width: int, nodes: Sequence[Mapping[int, ActivationEdge]], *, normalized: bool) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.empty(2 * width, 2 * width).uniform_(-INITIAL, INITIAL))
        self.maps = nn.ParameterList(torch.empty(width, 2 * width).uniform_(-INITIAL, INITIAL) for _ in nodes)
        self.nodes = nn.ModuleList(nn.ModuleDict({str(i): edge for i, edge in node.items()}) for node in nodes)
        self.norm = nn.BatchNorm1d(width, affine=False) if normalized else None
        self.unroll: Unrolling = step_by_step

    def forward(self, x: Tensor, h: Tensor, masks: Masks, mixture: Mixture) -> Tensor:
        """The states after each step, `B x T x H`, of inputs `B x T x H` from the state `h` (`B x H`) on."""
        return self.unroll(self, x, h, masks, mixture)

    @property
    def edges(self) -> list[dict[int, ActivationEdge]]:
        """Per node, its edges by the state they read."""
        return [
            {int(i): cast(ActivationEdge, edge) for i, edge in cast(nn.ModuleDict, node).items()} for node in self.nodes
        ]

    def step(self, x: Tensor, h: Tensor, masks: Masks, mixture: Mixture) -> Tensor:
        """The next state (all `B x H`)."""
        live = live_in(mixture)
        c, z = torch.cat([masked(x, masks.inputs), masked(h, masks.hidden)], -1).mm(self.first).chunk(2, -1)
        states = [self._normalized(h + c.sigmoid() * (z.tanh() - h))]
        for node, weight in zip(self.edges, self.maps, strict=True):
            terms = []
            for source, edge in node.items():
                if runs(edge, live):
                    s = states[source]
                    c, z = masked(s, masks.hidden).mm(weight).chunk(2, -1)
                    terms.append(edge(s, c.sigmoid(), z, mixture))
            states.append(self._normalized(total(terms)))
        return total(states[1:]) / (len(states) - 1)

    def _normalized(self, s: Tensor) -> Tensor:
        return s if self.norm is None else self.norm(s)


def runs(edge: ActivationEdge, live: Live) -> bool:
    """Whether an edge runs: one on which activations compete does not where none of them does."""
    return isinstance(edge, FixedActivation) or live.get(edge.name) != ()
