"""What networks read, and by which loss and which number they are judged: images or text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch.nn import functional as F

from oche.data.kind import is_text
from oche.errors import InputError
from oche.metrics import ACCURACY, PERPLEXITY, Loss, Metric
from oche.text.loss import word_loss


@dataclass(frozen=True, kw_only=True)
class Medium:
    """What networks read.

    Attributes:
        name: in messages.
        loss: `(output, target)` to a scalar.
        metrics: numbers to report; the first one counts.
        cure: how to get it, in messages.
    """

    name: str
    loss: Loss
    metrics: Mapping[str, Metric]
    cure: str


IMAGES = Medium(
    name="images",
    loss=F.cross_entropy,
    metrics=ACCURACY,
    cure="give images such as --data digits, or what is for text, such as --space recurrent and --train text-tiny",
)

TEXT = Medium(
    name="text",
    loss=word_loss,
    metrics=PERPLEXITY,
    cure="give a text such as --data python-help, or what is for images, such as --space darts and --train tiny",
)


def medium_of(name: str) -> Medium:
    """What the data with this name, or at this path, are; a name that means nothing is refused when they are read."""
    return TEXT if is_text(name) else IMAGES


def check_medium(what: str, needed: Medium, given: Medium) -> None:
    """Refuse data that a space or a training is not for.

    Args:
        what: needs it, in words.
        needed: what it is for.
        given: what the data are.

    Raises:
        InputError: it is another one.
    """
    if needed is not given:
        raise wrong_medium(what, needed, given)


def wrong_medium(what: str, needed: Medium, given: Medium) -> InputError:
    """The refusal; see `check_medium`."""
    return InputError(f"{what} is for {needed.name}, but the data are {given.name}; {needed.cure}")
