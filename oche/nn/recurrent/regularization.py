"""What keeps a language model from learning its text by heart: variational dropout and activation penalties."""

from __future__ import annotations

from dataclasses import dataclass, fields

from oche.errors import InputError


@dataclass(frozen=True, kw_only=True)
class VariationalDropout:
    """Dropout with one mask for all words of a window (Gal and Ghahramani 2016; Merity et al. 2018).

    Attributes:
        embedding: probability with which a word of the vocabulary is dropped wherever it occurs in the window
            (`dropoute` in the public code).
        inputs: of an embedded word's numbers (`dropouti`).
        cell_inputs: the same, once more, inside the cell before its first linear map (`dropoutx`).
        hidden: of the numbers of the states inside the cell before their linear maps (`dropouth`).
        outputs: of the numbers of the cell's output, before the decoder (`dropout`).

    Raises:
        InputError: a number is no probability below 1.
    """

    embedding: float = 0.0
    inputs: float = 0.0
    cell_inputs: float = 0.0
    hidden: float = 0.0
    outputs: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < 1:
                raise InputError(f"dropout: 0 <= {field.name} < 1 must hold, but got {field.name}={value}")

    def scaled(self, factor: float) -> VariationalDropout:
        """Every probability times a factor from 0 to 1."""
        return VariationalDropout(**{name: factor * value for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class ActivationPenalty:
    """What large and quickly changing outputs of the cell cost, added to the training loss (Merity et al. 2018).

    `alpha * mean(dropped^2) + beta * mean((h_t - h_{t-1})^2)`, with the outputs after and before their dropout.

    Attributes:
        alpha: activation regularization (AR).
        beta: temporal activation regularization (TAR).

    Raises:
        InputError: a number is negative.
    """

    alpha: float = 0.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        if self.alpha < 0 or self.beta < 0:
            raise InputError(f"alpha >= 0 and beta >= 0 must hold, but got alpha={self.alpha}, beta={self.beta}")


SEARCH_DROPOUT = VariationalDropout(inputs=0.2, cell_inputs=0.75, hidden=0.25, outputs=0.75)
"""Of DARTS' search on Penn Treebank (its public code)."""

EVALUATION_DROPOUT = VariationalDropout(embedding=0.1, inputs=0.2, cell_inputs=0.75, hidden=0.25, outputs=0.75)
"""Of its evaluation."""

PENALTY = ActivationPenalty(beta=1e-3)
"""Of both."""
