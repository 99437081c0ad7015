"""How a supernet is wired, beyond its space: what changes the search and is not in the discrete network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import nn

from oche.needs import CELLS, Feature

SKIP = "skip_connect"


class Structure(Protocol):
    """What is added to a supernet."""

    def norms(self, nodes: int, channels: int) -> list[nn.Module]:
        """What the sum of each node goes through; empty: nothing."""
        ...

    def candidate(self, name: str, channels: int, operation: nn.Module) -> nn.Module:
        """The candidate with this name, as it stands in the supernet."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Nothing: the supernet of DARTS."""

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

    def norms(self, nodes: int, channels: int) -> list[nn.Module]:
        """None."""
        return []

    def candidate(self, name: str, channels: int, operation: nn.Module) -> nn.Module:
        """Skip connections with a normalization behind them."""
        if name != SKIP:
            return operation
        return nn.Sequential(operation, nn.BatchNorm2d(channels, affine=False))


PLAIN = Plain()
