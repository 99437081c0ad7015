"""Consistency of search and training: what the network will be trained with, its supernet is searched with.

Bi et al., "Stabilizing DARTS with Amended Gradient Estimation on Architectural Parameters", Sec. 2.4 and Appendix B.1,
on two levels:

- *training*: Cutout, drop-path and the auxiliary head, "with the same parameters as they are used in re-training" (Sec.
  3.1.1). `AsTrained` takes them from the training protocol of the run.
- *full*: also width and depth, and no edge is pruned at the end (Sec. 3.1.2). `full` makes such a space.

The paper does not say where in the search the auxiliary loss goes. It belongs to the loss that trains weights:
`L_train + weight L_auxiliary` wherever the training loss is evaluated, also inside the gradient of the logits (whose
derivation assumes weights at the optimum of *that* loss), and nowhere else. The validation loss is the network's own,
because the head is thrown away. Cutout is in both halves; a step's drop-path mask is in all its evaluations.

On text it is the weight decay and the dropout that are unified (Sec. 3.3: "unify the weight decay and variational
Dropout ratio between search and evaluation"), and the penalty on activations with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from torch import nn

from oche.errors import InputError
from oche.nn.recurrent.regularization import PENALTY, SEARCH_DROPOUT, ActivationPenalty, VariationalDropout
from oche.registry import Registry, part_of
from oche.spaces.cell_space import CellSpace
from oche.spaces.space import Space
from oche.training.language import Language
from oche.training.protocol import TrainingProtocol


class Consistency(Protocol):
    """What regularizes the weights in a search."""

    @property
    def numbers(self) -> Regularization:
        """As far as they are known without a training protocol."""
        ...

    def at(self, rules: TrainingProtocol) -> Consistency:
        """The same with all numbers, for a network that will be trained like this."""
        ...


@dataclass(frozen=True, kw_only=True)
class Regularization:
    """Numbers of its own, whatever follows the search; without any, the plain search of DARTS.

    Attributes:
        cutout: side of the Cutout square in pixels, on the images of both halves; 0: none.
        drop_path: probability in the end with which the mixed output of an edge is dropped, rising linearly from 0.
        auxiliary: weight of an auxiliary head's loss, or of a language model's penalty, in the training loss; 0: none.
        dropout: of a language model; None: its own.
        penalty: of a language model; None: its own.
        weight_decay: of the weights; None: that of their optimizer.
        width: of the supernet for which the dropout is meant; a narrower one has proportionally less, since it has less
            to learn by heart with. None: any.

    Raises:
        InputError: a number is out of its range.
    """

    cutout: int = 0
    drop_path: float = 0.0
    auxiliary: float = 0.0
    dropout: VariationalDropout | None = None
    penalty: ActivationPenalty | None = None
    weight_decay: float | None = None
    width: int | None = None

    def __post_init__(self) -> None:
        if self.weight_decay is not None and self.weight_decay < 0:
            raise InputError(f"weight_decay >= 0 must hold, but got weight_decay={self.weight_decay}")
        if self.cutout < 0 or self.auxiliary < 0 or not 0 <= self.drop_path < 1:
            raise InputError(
                "cutout >= 0, 0 <= drop_path < 1 and auxiliary >= 0 must hold, but got "
                f"{self.cutout}, {self.drop_path} and {self.auxiliary}"
            )

    @property
    def numbers(self) -> Regularization:
        """These."""
        return self

    def at(self, rules: TrainingProtocol) -> Regularization:
        """These."""
        return self

    def for_width(self, width: int) -> Regularization:
        """These, for a supernet of this width."""
        if self.dropout is None or self.width is None or width >= self.width:
            return self
        return replace(self, dropout=self.dropout.scaled(width / self.width), width=None)


@dataclass(frozen=True, kw_only=True)
class AsTrained:
    """Cutout, drop-path and auxiliary head of the training after the search; on text, its dropout and decay as well.

    Attributes:
        numbers: of that training; none before it is known, when there is nothing to be consistent with.
    """

    CITES: ClassVar[tuple[str, ...]] = ("amended",)

    numbers: Regularization = Regularization()

    def at(self, rules: TrainingProtocol) -> AsTrained:
        """With the numbers of the protocol."""
        found = Regularization(cutout=rules.cutout, drop_path=rules.drop_path, auxiliary=rules.auxiliary)
        if rules.language is not None:
            found = replace(
                found,
                dropout=rules.language.dropout,
                penalty=rules.language.penalty,
                weight_decay=rules.optimizer.weight_decay,
            )
        return AsTrained(numbers=found)


VARIATIONAL = Regularization(auxiliary=1.0, dropout=SEARCH_DROPOUT, penalty=PENALTY, width=300)
"""Of DARTS' search on Penn Treebank, whose supernet has the width 300."""


REGULARIZATIONS = Registry[Consistency](
    "regularization",
    "oche.regularizations",
    {"none": Regularization(), "as-trained": AsTrained()},
    made=part_of(Consistency),
)


def set_regularization(network: nn.Module, numbers: Regularization | Language) -> None:
    """Give a language model its dropout and its penalty, as far as they are known; other networks have none.

    Args:
        network: with `dropout` and `penalty` of the kinds of `oche.nn.recurrent.regularization`, or without.
        numbers: of its search or of its training.
    """
    for name, value in (("dropout", numbers.dropout), ("penalty", numbers.penalty)):
        if value is not None and isinstance(getattr(network, name, None), type(value)):
            setattr(network, name, value)


def full(space: Space, rules: TrainingProtocol) -> Space:
    """The space at the width and depth of its networks' training, in which nodes keep all their edges.

    Where nodes are to keep some of them and none is to be pruned at the end, the edges have to be decided before the
    operations: see `oche.stages.edge_search`.

    Where nodes kept some of them, its architectures are other ones, so it gets another name: give it to the training,
    too (`oche.train(result.architecture, space=result.space)`).
    """
    sized = space.replace(supernet_stack=space.fitting(rules.stack))
    if isinstance(sized, CellSpace) and sized.keep is not None:
        return sized.replace(name=f"{sized.name}-whole", keep=None)
    return sized
