"""Partial channels: only the first channels of a state go through the candidates of an edge (PC-DARTS, Sec. 3.2).

With one channel in `k` of the `C` channels of a state:

1. channels `0 ... C/k - 1` go through every candidate, which has `C/k` channels itself;
2. channels `C/k ... C - 1` go around them; where the edge halves the resolution, through 2x2 max-pooling of stride 2;
3. the mixed output and what went around it stand side by side, in this order;
4. a channel shuffle in `k` groups: channel `i C/k + j` goes to place `j k + i` (`0 <= i < k`, `0 <= j < C/k`).

So the mixed channels lie at the places `0, k, 2k, ...` of an edge's output, and a later edge mixes one in `k` of those
again. This is the public code of PC-DARTS and DrNAS; at odd sizes, which those do not have, the last window of the
pooling is smaller, so that both ways have `ceil(size / 2)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Bypass:
    """What goes around the candidates of an edge.

    Attributes:
        share: `k`: one channel in so many goes through the candidates; it divides the channels of every state.
        stride: of the candidates, 1 or 2.
    """

    share: int
    stride: int

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What goes through the candidates, and what goes around them as it arrives.

        Args:
            x: a state, `N x C x H x W`.

        Returns:
            `N x C/k x H x W` and `N x (C - C/k) x ceil(H / stride) x ceil(W / stride)`.
        """
        inside = x.shape[1] // self.share
        through, around = torch.split(x, [inside, x.shape[1] - inside], dim=1)
        return through, around if self.stride == 1 else F.max_pool2d(around, 2, stride=2, ceil_mode=True)

    def join(self, mixed: Tensor, around: Tensor) -> Tensor:
        """The output of the edge, `N x C x H' x W'`.

        Args:
            mixed: the mixed output of the candidates, `N x C/k x H' x W'`.
            around: what `split` has sent around them.
        """
        return shuffled(torch.cat([mixed, around], dim=1), self.share)


def shuffled(x: Tensor, groups: int) -> Tensor:
    """The channels of `N x C x H x W` dealt out: the first of each group, then the second of each, and so on."""
    # With the channels last, as they lie in memory, which one copy keeps.
    n, channels, height, width = x.shape
    dealt = x.permute(0, 2, 3, 1).reshape(n, height, width, groups, channels // groups).transpose(3, 4)
    return dealt.flatten(3).permute(0, 3, 1, 2)
