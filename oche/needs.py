"""What parts need of a space and of each other, declared where the part is, and checked before anything long starts.

A part lists what it needs in two class variables, `NEEDS` (of another part of the method) and `NEEDS_OF_SPACE`, and
what it has for others in `OFFERS`; a part that says nothing needs nothing. A new requirement is a new `Feature`, which
a third party can define as well: the part that has it offers it, the part that cannot do without needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from oche.citations import parts_of
from oche.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Feature:
    """Something that some parts or spaces have and others have not.

    Attributes:
        words: what it is, behind "needs".
        cure: what to do where it is missing.
        once: exactly one must offer it: none is too few, and two get into each other's way.
    """

    words: str
    cure: str
    once: bool = False


# -- of spaces ---------------------------------------------------------------------------------------------------------

CELLS = Feature(
    words="cells with channels",
    cure="choose another part, such as --structure plain or --selection magnitude, or a method such as sp-darts",
)
SHARED_LOGITS = Feature(
    words="cells of a kind that share their logits",
    cure="choose another part, or a space such as --space darts",
)
KEPT_INPUTS = Feature(
    words="nodes that keep some of their inputs",
    cure="choose another part, or a space such as --space darts",
)
TWO_INPUTS = Feature(
    words="nodes that each keep two of their inputs",
    cure="choose another part, or a space such as --space darts",
)
WIDENABLE = Feature(
    words="candidates that can all be widened (pooling, skips, and convolutions of equal widths without groups can)",
    cure="choose a part that does not widen, such as --structure partial-channels, or a space such as --space darts",
)

# -- of parts ----------------------------------------------------------------------------------------------------------

CONCENTRATIONS = Feature(
    words="the concentrations of a Dirichlet mixture",
    cure="give --mixture dirichlet, or leave it out with --terms none",
)
ONE_REGULARIZER = Feature(
    words="exactly one regularizer of its logits, a term or their weight decay",
    cure="give --terms concentration-anchor, or --terms none where the logits' weight decay is on",
    once=True,
)
TWICE_DIFFERENTIABLE = Feature(
    words="a mixture that can be differentiated twice",
    cure="give --mixture softmax, or another part",
)
ALL_CHANNELS_MIXED = Feature(
    words="a structure in which every channel of an edge is mixed, so that its mixing weights weigh all of it",
    cure="give --structure plain or node-norm, or leave the stage out with --stages none",
)
NEXT_SHARE = Feature(
    words="a structure that lets more channels through later",
    cure="give --structure progressive-channels, or leave the stage out with --stages none",
)
WIDENING = Feature(
    words="a stage that lets more channels through",
    cure="give --stages progressive, or --structure partial-channels, which does without",
)


@dataclass(frozen=True)
class Needing:
    """A part, and the axis on which it stands."""

    axis: str
    part: object

    def __str__(self) -> str:
        return f"{type(self.part).__name__} ({self.axis})"


def check_parts(where: str, parts: Iterable[Needing], offered: Iterable[Feature] = ()) -> None:
    """Refuse parts that do not find in each other what they need.

    Args:
        where: what they are the parts of, in words.
        parts: all of them.
        offered: what else there is.

    Raises:
        InputError: something is missing, or is there twice.
    """
    parts = list(parts)
    there = [*offered, *(feature for of in parts for feature in declared(of.part, "OFFERS"))]
    for of in parts:
        for feature in declared(of.part, "NEEDS"):
            count = there.count(feature)
            if count == 0 or (feature.once and count > 1):
                lack = f"there are {count}" if feature.once else "no part of the method has that"
                raise InputError(f"{where}: {of} needs {feature.words}, but {lack}; {feature.cure}")


def check_space(where: str, parts: Iterable[Needing], space: str, offered: Iterable[Feature]) -> None:
    """Refuse parts that do not find in a space what they need.

    Args:
        where: what they are the parts of, in words.
        parts: all of them.
        space: in words.
        offered: what the space has.

    Raises:
        InputError: something is missing.
    """
    there = frozenset(offered)
    for of in parts:
        for feature in declared(of.part, "NEEDS_OF_SPACE"):
            if feature not in there:
                raise InputError(f"{where}: {of} needs {feature.words}, which {space} does not have; {feature.cure}")


def declared(part: object, name: str) -> Iterator[Feature]:
    """What a part and the parts in it declare under a name."""
    for inner in parts_of(part):
        yield from getattr(inner, name, ())
