"""How a supernet is wired, beyond its space: what changes the search and is not in the discrete network."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

SKIP = "skip_connect"


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What is added to a supernet.

    Attributes:
        node_norm: batch normalization without affine on the sum of each node, before it feeds later edges and the
            output of the cell (iDARTS, Sec. III-C, "pre-normalization"): nodes then have the same norm, so that the
            logits of edges from different nodes can be compared.
        skip_norm: batch normalization without affine behind each skip connection instead (iDARTS,
            "post-normalization", their ablation).
    """

    node_norm: bool = False
    skip_norm: bool = False

    @property
    def CITES(self) -> tuple[str, ...]:
        """The paper of what is added."""
        return () if self.plain else ("idarts",)

    @property
    def plain(self) -> bool:
        """Whether nothing is added."""
        return self == PLAIN

    def norms(self, nodes: int, channels: int) -> list[nn.Module]:
        """The normalization of each node; empty: there is none."""
        return [nn.BatchNorm2d(channels, affine=False) for _ in range(nodes)] if self.node_norm else []

    def candidate(self, name: str, channels: int, operation: nn.Module) -> nn.Module:
        """The candidate with this name, as it stands in the supernet."""
        if self.skip_norm and name == SKIP:
            return nn.Sequential(operation, nn.BatchNorm2d(channels, affine=False))
        return operation


PLAIN = Structure()
"""The supernet of DARTS."""
