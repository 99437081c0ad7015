"""What a selection may look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from oche.architecture import Candidate
from oche.data.batches import Batches
from oche.domain import Domain
from oche.evaluation import by_batch
from oche.metrics import Loss, Meter, Metric
from oche.mixture.base import Relaxation
from oche.mixture.groups import EdgeGroups
from oche.nn.mixture import Mixture, live_in
from oche.nn.network import CellNetwork
from oche.nn.recurrent.memory import Memory
from oche.nn.supernet import Supernet, logits
from oche.randomness import derive, frozen
from oche.remaining import Remaining


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A trained supernet and the images it was searched with.

    Attributes:
        whole: the decisions, exactly those of the supernet's logits.
        supernet: trained; looking at it leaves it as it is.
        relaxation: logits to mixing weights.
        images: the half of the images that moved the logits, without augmentation.
        loss: of a batch.
        metrics: further numbers by name; what is measured first is what counts.
        seed: fixes what an evaluation draws.
        device: where the supernet lives.
        remaining: what has not been decided yet.
        groups: the sets of edges, where they compete.
    """

    whole: Domain
    supernet: Supernet
    relaxation: Relaxation
    images: Batches
    loss: Loss
    metrics: Mapping[str, Metric]
    seed: int
    device: torch.device
    remaining: Remaining = field(default_factory=Remaining)
    groups: EdgeGroups | None = None

    @property
    def domain(self) -> Domain:
        """The decisions that remain."""
        return self.remaining.domain(self.whole)

    @property
    def logits(self) -> dict[str, Tensor]:
        """The logits that remain, by key, without gradient."""
        return self.remaining.narrow({key: value.detach() for key, value in logits(self.supernet).items()})

    @property
    def rows(self) -> dict[str, Tensor]:
        """The mean mixing weights of what remains."""
        return self.relaxation.mean(self.logits)

    @property
    def weights(self) -> dict[tuple[str, Candidate], float]:
        """The mean mixing weight of each candidate that remains, by its edge and its name."""
        edges = self.domain.edges
        return {
            (key, name): a
            for key, row in self.rows.items()
            for name, a in zip(edges[key].candidates, row.tolist(), strict=True)
        }

    @property
    def mixture(self) -> Mixture:
        """The mean mixture of the whole supernet."""
        return self.widened(self.rows)

    def widened(self, rows: Mixture) -> Mixture:
        """The mixture of the whole supernet with these weights of what remains."""
        weighted = rows if self.groups is None else self.groups.apply(rows)
        return self.remaining.widen(weighted, {key: len(value) for key, value in logits(self.supernet).items()})

    @property
    def concluded(self) -> Scene:
        """The same, with the edges decided if they compete."""
        if self.groups is None:
            return self
        strengths = self.relaxation.log_strength(self.logits)
        return replace(self, remaining=self.groups.decide(self.remaining, strengths), groups=None)

    def measure(self, mixture: Mixture) -> dict[str, float]:
        """Loss and metrics of the supernet on the images, under batch statistics; running statistics do not move."""
        return self.measure_each([mixture])[0]

    @torch.no_grad()
    def measure_each(self, mixtures: Sequence[Mixture]) -> list[dict[str, float]]:
        """The same under several mixtures. Each batch is read once, and all of them see the same random draws.

        In a batch, the cells before the first one in which the mixtures differ are evaluated once for all of them. That
        is exact, since under batch statistics nothing that an evaluation does is seen by the next one.

        Only what has a `Memory` sees it: each window of a text begins with the state in which the one before it ended.
        Then the whole text is read once for each mixture, with the same draws.

        A last batch of a single image is left out: batch normalization may not be able to normalize it.
        """
        if any(isinstance(module, Memory) for module in self.supernet.modules()):
            return [self._measured([mixture])[0] for mixture in mixtures]
        return self._measured(mixtures)

    def _measured(self, mixtures: Sequence[Mixture]) -> list[dict[str, float]]:
        """`measure_each` where every batch may be read for all mixtures before the next one."""
        meters, begin = [Meter(self.metrics) for _ in mixtures], self._sharing(mixtures)
        with by_batch(self.supernet):
            for number, (x, y) in enumerate(self.images.epoch(0)):
                if number and len(y) == 1:
                    continue
                with frozen(derive(self.seed, "measure", number), self.device):
                    finish = begin(x)
                for meter, mixture in zip(meters, mixtures, strict=True):
                    with frozen(derive(self.seed, "measure", number), self.device):
                        output = finish(mixture)
                        meter.add(self.loss(output, y), output, y)
        return [meter.means() for meter in meters]

    def _sharing(self, mixtures: Sequence[Mixture]) -> Callable[[Tensor], Callable[[Mixture], Tensor]]:
        """From inputs to what is left to do for each of some mixtures."""
        body, one = self.supernet.body, mixtures[0]
        if not isinstance(body, CellNetwork) or any(live_in(other) != live_in(one) for other in mixtures):
            return lambda x: partial(self.supernet, x)
        differ = {key for key, row in one.items() if not all(torch.equal(row, other[key]) for other in mixtures)}
        return lambda x: partial(body.after, body.before(x, one, differ))
