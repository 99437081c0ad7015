"""Learning to rank: pairs that can be compared, losses on pairs, and an ensemble that is trained on them.

Wang-2021, Sec. 4.1.2: accuracies after different numbers of epochs are not comparable, so the network learns from
pairs and not from values. Two architectures are compared at the highest level that both have reached, which is their
common epoch if they are on different levels; equal accuracies say nothing. Level 0 is a score that needs no training
(`oche.predict.proxies`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oche.errors import InputError
from oche.predict.graph import GraphForm
from oche.predict.network import RankingNetwork
from oche.randomness import derive
from oche.schedule import Cosine

LEAST_SPREAD = 1e-12
"""Of a fact, below which it is constant and only its mean is taken away."""

FARTHEST = 3.0
"""Spreads from the middle beyond which a fact says no more: accuracies of broken networks lie very far out."""


def comparisons(labels: NDArray[np.float64]) -> NDArray[np.int8]:
    """Which of two architectures is better at the highest level that both have reached.

    Args:
        labels: accuracies, `N x levels`, the lowest level first; NaN where a level was not reached.

    Returns:
        `N x N`: 1 where the row's is better, -1 where the column's is, 0 where nobody knows.
    """
    order = np.zeros((len(labels), len(labels)), np.int8)
    for column in labels.T:  # a higher level overwrites what a lower one says
        with np.errstate(invalid="ignore"):
            difference = column[:, None] - column[None, :]
        known = ~np.isnan(difference)
        order[known] = np.sign(difference[known]).astype(np.int8)
    return order


class PairLoss(ABC):
    """What a pair costs, by how much higher the better one is scored."""

    @abstractmethod
    def __call__(self, lead: Tensor) -> Tensor:
        """Elementwise, of the score of the better minus that of the worse."""


@dataclass(frozen=True)
class Hinge(PairLoss):
    """`max(0, margin - lead)`: nothing, once the lead is large enough.

    Attributes:
        margin: that is large enough.
    """

    margin: float = 0.1

    def __post_init__(self) -> None:
        if not self.margin > 0:
            raise InputError(f"with a margin of 0 equal scores would be best; margin > 0 must hold, got {self.margin}")

    def __call__(self, lead: Tensor) -> Tensor:
        """See `PairLoss`."""
        return torch.relu(self.margin - lead)


@dataclass(frozen=True)
class Logistic(PairLoss):
    """`log(1 + exp(-lead))`: the likelihood that the better one wins, if its odds are `exp(lead)`."""

    def __call__(self, lead: Tensor) -> Tensor:
        """See `PairLoss`."""
        return torch.nn.functional.softplus(-lead)


@dataclass(frozen=True, kw_only=True)
class RankingSettings:
    """How an ensemble is built and trained. The numbers were chosen on validation accuracies of NAS-Bench-201.

    Attributes:
        members: of the ensemble; they differ in their initial weights.
        width: of the vectors in the network.
        loss: on pairs.
        steps: of Adam.
        rate: its first rate, falling to 0 along a cosine.
        decay: weight decay, decoupled.
        batch: architectures per step, all of whose pairs count; more than there are means all.
    """

    members: int = 5
    width: int = 32
    loss: PairLoss = Hinge()
    steps: int = 200
    rate: float = 1e-2
    decay: float = 1e-4
    batch: int = 256

    def __post_init__(self) -> None:
        for name in ("members", "width", "steps", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"a ranking network needs {name} >= 1, but got {name}={getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Scale:
    """How facts come to numbers of ordinary size.

    Attributes:
        middle: of each fact, `F`.
        spread: of each fact, `F`.
    """

    middle: Tensor
    spread: Tensor

    @classmethod
    def of(cls, facts: Tensor) -> Scale:
        """By quartiles, which a few broken networks do not move; by the deviation where these coincide."""
        facts = facts.double()
        low, middle, high = torch.quantile(facts, torch.tensor([0.25, 0.5, 0.75], dtype=torch.double), dim=0)
        spread = torch.where(high - low > LEAST_SPREAD, high - low, facts.std(dim=0, correction=0))
        return cls(middle, torch.where(spread > LEAST_SPREAD, spread, torch.ones_like(spread)))

    def applied(self, facts: Tensor) -> Tensor:
        """The facts, `N x F`, around 0."""
        return ((facts.double() - self.middle) / self.spread).clamp(-FARTHEST, FARTHEST).float()


class Ranker:
    """A trained ensemble.

    Args:
        network: trained.
        scale: of the facts that it was trained with; None: it was trained without.
    """

    def __init__(self, network: RankingNetwork, scale: Scale | None) -> None:
        self._network, self._scale = network, scale

    @torch.no_grad()
    def scores(self, graphs: Tensor, facts: Tensor | None = None) -> Tensor:
        """The scores of every member, `members x N`, of mean 0 and variance 1 over the N: members count alike.

        Args:
            graphs: `N x edges`.
            facts: `N x F`, if it was trained with facts.
        """
        raw: Tensor = self._network(graphs, _scaled(self._scale, facts))
        spread = raw.std(dim=1, keepdim=True, correction=0)
        return (raw - raw.mean(dim=1, keepdim=True)) / spread.clamp(min=LEAST_SPREAD)


def train_ranker(
    form: GraphForm,
    graphs: Tensor,
    order: NDArray[np.int8],
    *,
    seed: int,
    facts: Tensor | None = None,
    settings: RankingSettings = RankingSettings(),
) -> Ranker:
    """Train an ensemble on all pairs that can be compared.

    Args:
        form: of the graphs.
        graphs: of the architectures that are known, `N x edges`.
        order: which of two is better, `N x N`, as `comparisons` says.
        seed: of initial weights and batches.
        facts: further numbers about each, `N x F` in any units; they are needed for scoring too.
        settings: of network and training.

    Raises:
        InputError: no two architectures can be compared.
    """
    if not order.any():
        raise InputError(
            f"a ranking is learned from pairs, but no two of the {len(graphs)} architectures can be compared: "
            "none has a label, or all labels of a level are equal"
        )
    random = torch.Generator().manual_seed(derive(seed, "ranker"))
    network = RankingNetwork(
        form,
        facts=0 if facts is None else facts.shape[1],
        members=settings.members,
        width=settings.width,
        random=random,
    )
    scale = None if facts is None else Scale.of(facts)
    scaled, better = _scaled(scale, facts), torch.from_numpy(order) > 0
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=settings.decay)
    rate, everything = Cosine(settings.rate, 0.0), torch.arange(len(graphs))
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate.at(step / settings.steps)
        some = everything
        if len(graphs) > settings.batch:
            some = torch.randperm(len(graphs), generator=random)[: settings.batch]
        won = better[some][:, some]
        if not won.any():
            continue  # a batch of few labels may hold no pair
        scores = network(graphs[some], None if scaled is None else scaled[some])
        lead = scores[:, :, None] - scores[:, None, :]  # members x N x N; all pairs are quicker than picking out some
        optimizer.zero_grad(set_to_none=True)
        of_members = (settings.loss(lead) * won).sum(dim=(1, 2)) / won.sum()  # the mean over pairs
        of_members.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return Ranker(network, scale)


def label_rows(labels: Sequence[Sequence[float]], levels: int) -> NDArray[np.float64]:
    """Labels of different lengths, from the lowest level, as a matrix with NaN where a level was not reached."""
    rows = np.full((len(labels), levels), np.nan)
    for row, values in zip(rows, labels, strict=True):
        row[: len(values)] = values
    return rows


def _scaled(scale: Scale | None, facts: Tensor | None) -> Tensor | None:
    assert (facts is None) == (scale is None), "facts are given always or never"
    return None if scale is None or facts is None else scale.applied(facts)
