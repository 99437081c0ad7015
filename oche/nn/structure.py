"""How a supernet is wired, beyond its space: what changes the search and is not in the discrete network."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import ClassVar, Protocol

from torch import nn

from oche.errors import InputError
from oche.needs import ALL_CHANNELS_MIXED, CELLS, NEXT_SHARE, WIDENABLE, WIDENING, Feature
from oche.nn.bypass import Bypass
from oche.nn.widening import check_widening

SKIP = "skip_connect"

ALL_CHANNELS = (1,)
"""Every channel goes through the candidates, throughout a search."""


class Structure(Protocol):
    """What is added to a supernet."""

    @property
    def shares(self) -> tuple[int, ...]:
        """One channel in so many goes through the candidates of an edge: at first, and after each widening."""
        ...

    def norms(self, nodes: int, channels: int) -> list[nn.Module]:
        """What the sum of each node goes through; empty: nothing."""
        ...

    def candidate(self, name: str, channels: int, operation: nn.Module) -> nn.Module:
        """The candidate with this name, as it stands in the supernet."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Nothing: the supernet of DARTS."""

    OFFERS: ClassVar[tuple[Feature, ...]] = (ALL_CHANNELS_MIXED,)
    shares: ClassVar[tuple[int, ...]] = ALL_CHANNELS

    def norms(self, nodes: int, channels: int) -> list[nn.Module]:
        """None."""
        return []

    def candidate(self, name: str, channels: int, operation: nn.Module) -> nn.Module:
        """As it is."""
        return operation


@dataclass(frozen=True, kw_only=True)
class NodeNorm:
    """Batch normalization without affine on the sum of each node (iDARTS, Sec. III-C, "pre-normalization").

    It stands before later edges and before the output of the cell. Nodes then have the same norm, so that edges from
    different nodes can be compared. The paper is silent on the discrete network; there it is left out.
    """

    CITES: ClassVar[tuple[str, ...]] = ("idarts",)

    NEEDS_OF_SPACE: ClassVar[tuple[Feature, ...]] = (CELLS,)
    OFFERS: ClassVar[tuple[Feature, ...]] = (ALL_CHANNELS_MIXED,)
    shares: ClassVar[tuple[int, ...]] = ALL_CHANNELS

    def norms(self, nodes: int, channels: int) -> list[nn.Module]:
        """One for each node."""
        return [nn.BatchNorm2d(channels, affine=False) for _ in range(nodes)]

    def candidate(self, name: str, channels: int, operation: nn.Module) -> nn.Module:
        """As it is."""
        return operation


@dataclass(frozen=True, kw_only=True)
class SkipNorm:
    """Batch normalization without affine behind each skip connection (iDARTS, "post-normalization", their ablation)."""

    CITES: ClassVar[tuple[str, ...]] = ("idarts",)

    NEEDS_OF_SPACE: ClassVar[tuple[Feature, ...]] = (CELLS,)
    OFFERS: ClassVar[tuple[Feature, ...]] = (ALL_CHANNELS_MIXED,)
    shares: ClassVar[tuple[int, ...]] = ALL_CHANNELS

    def norms(self, nodes: int, channels: int) -> list[nn.Module]:
        """None."""
        return []

    def candidate(self, name: str, channels: int, operation: nn.Module) -> nn.Module:
        """Skip connections with a normalization behind them."""
        if name != SKIP:
            return operation
        return nn.Sequential(operation, nn.BatchNorm2d(channels, affine=False))


@dataclass(frozen=True, kw_only=True)
class PartialChannels:
    """Only the first channels of a state go through the candidates of an edge (PC-DARTS, Sec. 3.2; `oche.nn.bypass`).

    The candidates of a supernet with `C` channels have `C / k` channels. Discrete networks use all of theirs.

    Attributes:
        shares: `k`, at first and after each widening of the search; they decrease, and 1 is every channel.

    Raises:
        InputError: there is none, they do not decrease, or the first one leaves nothing out.
    """

    CITES: ClassVar[tuple[str, ...]] = ("pc-darts",)

    shares: tuple[int, ...]

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in zip(self.shares, self.shares[1:], strict=False))
        if not self.shares or not falling or self.shares[0] < 2 or self.shares[-1] < 1:
            raise InputError(
                "of partial channels one in so many takes part, 2 or more at first and fewer after each widening, such "
                f"as shares=(6, 4), but got shares={self.shares}"
            )

    @property
    def widened(self) -> bool:
        """Whether a stage is to let more channels through."""
        return len(self.shares) > 1

    @property
    def OFFERS(self) -> tuple[Feature, ...]:
        """See `oche.needs`."""
        return (NEXT_SHARE,) if self.widened else ()

    @property
    def NEEDS(self) -> tuple[Feature, ...]:
        """See `oche.needs`."""
        return (WIDENING,) if self.widened else ()

    @property
    def NEEDS_OF_SPACE(self) -> tuple[Feature, ...]:
        """See `oche.needs`."""
        return (CELLS, WIDENABLE) if self.widened else (CELLS,)

    def norms(self, nodes: int, channels: int) -> list[nn.Module]:
        """None."""
        return []

    def candidate(self, name: str, channels: int, operation: nn.Module) -> nn.Module:
        """As it is.

        Raises:
            InputError: it is to be widened and cannot be.
        """
        if self.widened:
            check_widening(name, operation)
        return operation


PLAIN = Plain()


def multiple_of(structure: Structure) -> int:
    """What the channels of a supernet are a multiple of."""
    return lcm(*structure.shares)


def check_channels(structure: Structure, channels: int) -> None:
    """Refuse a supernet of which not every share is a whole number of channels.

    Args:
        structure: what is added to the supernet.
        channels: of the states of a cell.

    Raises:
        InputError: one of them is not.
    """
    for share in structure.shares:
        if channels % share:
            least = multiple_of(structure)
            raise InputError(
                f"this method sends 1 channel in {share} through the candidates, but the cells of this supernet have "
                f"{channels}, which is no multiple of {share}; give --space.channels {least * -(-channels // least)} "
                f"or another multiple of {least}"
            )


def bypass_of(structure: Structure, channels: int, stride: int) -> Bypass | None:
    """What goes around the candidates of an edge at first; None: nothing.

    Args:
        structure: what is added to the supernet.
        channels: of the state that the edge reads.
        stride: of the candidates.

    Raises:
        InputError: the channels cannot be divided so.
    """
    check_channels(structure, channels)
    return None if structure.shares[0] == 1 else Bypass(share=structure.shares[0], stride=stride)
