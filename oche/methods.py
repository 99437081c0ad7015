"""The named methods: short chains of parts, with the papers' numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from oche.errors import named
from oche.mixture.base import Relaxation
from oche.mixture.softmax import Softmax
from oche.objective.base import Objective
from oche.objective.first_order import FirstOrder
from oche.objective.unrolled import Unrolled
from oche.optim import SGD, Adam, OptimizerSettings
from oche.select.base import Selection
from oche.select.magnitude import Magnitude
from oche.stages.base import Stage

CIFAR_HALF = 25_000
"""Images in the training half of a search on CIFAR-10."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A search method: a part on each axis, and the numbers of its paper.

    Attributes:
        name: the registry name.
        summary: when to use it, in one sentence.
        reference: the paper.
        relaxation: logits to mixing weights.
        objective: which gradient moves the logits.
        stages: what happens when, applied in order.
        selection: supernet to architecture.
        weight_optimizer: for the network weights.
        logit_optimizer: for the logits.
        logit_std: standard deviation of the initial logits.
        clip: largest norm of the gradient of the weights.
        logits_first: whether a step moves the logits before the weights, as the public DARTS code does.
        epochs: of the paper's search.
        batch: of the paper's search.
    """

    name: str
    summary: str
    reference: str
    relaxation: Relaxation = Softmax()
    objective: Objective = FirstOrder()
    stages: tuple[Stage, ...] = ()
    selection: Selection = Magnitude()
    weight_optimizer: OptimizerSettings = SGD()
    logit_optimizer: OptimizerSettings = Adam()
    logit_std: float = 1e-3
    clip: float = 5.0
    logits_first: bool = True
    epochs: int = 50
    batch: int = 64

    @property
    def steps(self) -> int:
        """Steps of the paper's search, its epochs on half of CIFAR-10: how far its logits can travel."""
        return self.epochs * (CIFAR_HALF // self.batch)


DARTS = Method(
    name="darts",
    summary="The baseline: first-order DARTS. Cheap, and known to collapse to skip connections in long searches.",
    reference="Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search. ICLR 2019.",
)

DARTS_2ND = replace(
    DARTS,
    name="darts-2nd",
    summary="DARTS with one unrolled step of the weights (second order): four passes per logit step instead of one.",
    objective=Unrolled(),
)

METHODS: dict[str, Method] = {m.name: m for m in (DARTS, DARTS_2ND)}


def method(name: str) -> Method:
    """A method by name.

    Raises:
        InputError: the name is unknown.
    """
    return named("method", name, METHODS)
