"""The NAS-Bench-201 supernet in the formulation of the public code. FROZEN: a yardstick.

Source of the formulation: X. Dong, Y. Yang, "NAS-Bench-201", ICLR 2020, and its public repository D-X-Y/AutoDL-Projects
(MIT licence): the cell-based search network for DARTS in its search space. Written anew from its description for this
benchmark, so that it does the same tensor work in the same order; the bilevel step around it is that of
`public_darts.py`, whose first-order step is the same.

Kept as published, because this is what a speed-up is measured against: every candidate module runs on every edge; an
edge is Python's `sum(w * op(x))`, a node Python's `sum` of its edges; `none` multiplies its input by zero; layout NCHW;
gradients for weights and logits are computed in both half-steps.

Do not improve this file. The package does not import it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PRIMITIVES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NODES = 4
STAGES = 3


class Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul(0.0)


def candidate(primitive: str, c: int) -> nn.Module:
    if primitive == "none":
        return Zero()
    if primitive == "skip_connect":
        return nn.Identity()
    if primitive == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    kernel = int(primitive[-1])
    return nn.Sequential(
        nn.ReLU(inplace=False),
        nn.Conv2d(c, c, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(c, affine=False),
    )


class MixedOp(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.ops = nn.ModuleList(candidate(primitive, c) for primitive in PRIMITIVES)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        mixed: Tensor = sum(w * op(x) for w, op in zip(weights, self.ops, strict=True))
        return mixed


class Cell(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(MixedOp(c) for node in range(1, NODES) for _ in range(node))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        states, first = [x], 0
        for node in range(1, NODES):
            state: Tensor = sum(self.edges[first + j](states[j], weights[first + j]) for j in range(node))
            first += node
            states.append(state)
        return states[-1]


class ResidualBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_a = nn.Sequential(
            nn.ReLU(), nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(c_out)
        )
        self.conv_b = nn.Sequential(nn.ReLU(), nn.Conv2d(c_out, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out))
        self.downsample = nn.Sequential(nn.AvgPool2d(2, stride=2), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.downsample(x) + self.conv_b(self.conv_a(x))
        return out


class Network(nn.Module):
    """The search model: stem, three stages of cells with residual blocks between, pooling, linear classifier."""

    def __init__(self, channels: int = 16, classes: int = 10, cells: int = 15) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.layers = nn.ModuleList()
        c = channels
        for stage in range(STAGES):
            if stage:
                self.layers.append(ResidualBlock(c, 2 * c))
                c *= 2
            self.layers.extend(Cell(c) for _ in range(cells // STAGES))
        self.last = nn.Sequential(nn.BatchNorm2d(c), nn.ReLU())
        self.classifier = nn.Linear(c, classes)
        edges = NODES * (NODES - 1) // 2
        self._alphas = [(1e-3 * torch.randn(edges, len(PRIMITIVES))).requires_grad_()]

    def arch_parameters(self) -> list[Tensor]:
        """The logits, `edges x ops`; in a list, so that `parameters()` does not see them."""
        return self._alphas

    def forward(self, x: Tensor) -> Tensor:
        weights = F.softmax(self._alphas[0], dim=-1)
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x, weights) if isinstance(layer, Cell) else layer(x)
        logits: Tensor = self.classifier(F.adaptive_avg_pool2d(self.last(x), 1).flatten(1))
        return logits
