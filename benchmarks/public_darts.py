"""The first-order search step in the formulation of the public DARTS code. FROZEN: a yardstick.

Source of the formulation: H. Liu, K. Simonyan, Y. Yang, "DARTS: Differentiable Architecture Search",
ICLR 2019, and its public repository quark0/darts (Apache-2.0), directory cnn: the search model, the
architect's first-order step and the training step. Written anew for this benchmark so that it does the
same tensor work in the same order; what no longer runs is left out (`.cuda()`, `Variable`, `volatile`).

Kept as published, because this is what a speed-up is measured against:

- every candidate module runs on every edge, and an edge is Python's `sum(w * op(x))`, which starts at 0;
- each node is Python's `sum` over its edges; `none` is a candidate and multiplies its input by zero;
- logits are two leaf tensors `edges x ops` (14 x 8) outside the module's parameters; the softmax is
  computed again in every cell; layout NCHW throughout;
- `loss.backward()` in the logit step: gradients are computed for all weights too, and thrown away;
- `loss.backward()` in the weight step: gradients are computed for the logits too, and thrown away;
- both steps run in training mode, so both move the running statistics of batch normalization.

Do not improve this file. The package does not import it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


class ReLUConvBN(nn.Sequential):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(
            nn.ReLU(inplace=False),
            nn.Conv2d(c_in, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out, affine=False),
        )


class Zero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return x.mul(0.0)
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


class FactorizedReduce(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=False)
        self.conv_even = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_odd = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        halves = [self.conv_even(x), self.conv_odd(x[:, :, 1:, 1:])]
        normalized: Tensor = self.bn(torch.cat(halves, dim=1))
        return normalized


def depthwise_round(c: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    """ReLU, depthwise convolution, pointwise convolution, batch normalization."""
    padding = dilation * (kernel - 1) // 2
    return [
        nn.ReLU(inplace=False),
        nn.Conv2d(c, c, kernel, stride, padding, dilation=dilation, groups=c, bias=False),
        nn.Conv2d(c, c, 1, bias=False),
        nn.BatchNorm2d(c, affine=False),
    ]


def candidate(primitive: str, c: int, stride: int) -> nn.Module:
    match primitive:
        case "none":
            return Zero(stride)
        case "max_pool_3x3":
            return nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.BatchNorm2d(c, affine=False))
        case "avg_pool_3x3":
            pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
            return nn.Sequential(pool, nn.BatchNorm2d(c, affine=False))
        case "skip_connect":
            return nn.Identity() if stride == 1 else FactorizedReduce(c, c)
        case "sep_conv_3x3":
            return nn.Sequential(*depthwise_round(c, 3, stride), *depthwise_round(c, 3, 1))
        case "sep_conv_5x5":
            return nn.Sequential(*depthwise_round(c, 5, stride), *depthwise_round(c, 5, 1))
        case "dil_conv_3x3":
            return nn.Sequential(*depthwise_round(c, 3, stride, dilation=2))
        case "dil_conv_5x5":
            return nn.Sequential(*depthwise_round(c, 5, stride, dilation=2))
    raise ValueError(f"primitive must be one of {PRIMITIVES}, but got {primitive!r}")


class MixedOp(nn.Module):
    def __init__(self, c: int, stride: int) -> None:
        super().__init__()
        self.ops = nn.ModuleList(candidate(primitive, c, stride) for primitive in PRIMITIVES)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        # One row of the mixing matrix, read as zero-dimensional tensors.
        mixed: Tensor = sum(w * op(x) for w, op in zip(weights, self.ops, strict=True))
        return mixed


class Cell(nn.Module):
    def __init__(
        self, nodes: int, c_prev_prev: int, c_prev: int, c: int, reduction: bool, reduction_prev: bool
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.nodes = nodes
        self.preprocess0 = FactorizedReduce(c_prev_prev, c) if reduction_prev else ReLUConvBN(c_prev_prev, c)
        self.preprocess1 = ReLUConvBN(c_prev, c)
        self.edges = nn.ModuleList(
            MixedOp(c, 2 if reduction and source < 2 else 1) for node in range(nodes) for source in range(2 + node)
        )

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor) -> Tensor:
        states: list[Tensor] = [self.preprocess0(s0), self.preprocess1(s1)]
        first = 0
        for _ in range(self.nodes):
            state: Tensor = sum(self.edges[first + j](h, weights[first + j]) for j, h in enumerate(states))
            first += len(states)
            states.append(state)
        return torch.cat(states[-self.nodes :], dim=1)


class Network(nn.Module):
    """The search model: stem, `cells` cells of which two reduce, pooling, linear classifier."""

    def __init__(self, channels: int = 16, classes: int = 10, cells: int = 8, nodes: int = 4) -> None:
        super().__init__()
        c_stem, c = 3 * channels, channels
        self.stem = nn.Sequential(nn.Conv2d(3, c_stem, 3, padding=1, bias=False), nn.BatchNorm2d(c_stem))
        self.cells = nn.ModuleList()
        c_prev_prev, c_prev, reduction_prev = c_stem, c_stem, False
        for i in range(cells):
            reduction = i in (cells // 3, 2 * cells // 3)
            if reduction:
                c *= 2
            self.cells.append(Cell(nodes, c_prev_prev, c_prev, c, reduction, reduction_prev))
            c_prev_prev, c_prev, reduction_prev = c_prev, nodes * c, reduction
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(c_prev, classes)

        edges = sum(2 + node for node in range(nodes))
        self._alphas = [
            (1e-3 * torch.randn(edges, len(PRIMITIVES))).requires_grad_(),  # normal cells
            (1e-3 * torch.randn(edges, len(PRIMITIVES))).requires_grad_(),  # reduction cells
        ]

    def arch_parameters(self) -> list[Tensor]:
        """The two logit matrices, `edges x ops`; in a list, so that `parameters()` does not see them."""
        return self._alphas

    def forward(self, x: Tensor) -> Tensor:
        s0 = s1 = self.stem(x)
        for cell in self.cells:
            weights = F.softmax(self._alphas[1 if cell.reduction else 0], dim=-1)
            s0, s1 = s1, cell(s0, s1, weights)
        logits: Tensor = self.classifier(self.pool(s1).flatten(1))
        return logits


class Architect:
    """Moves the logits along the gradient of the validation loss (first-order)."""

    def __init__(self, model: Network) -> None:
        self.model = model
        self.optimizer = torch.optim.Adam(model.arch_parameters(), lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)

    def step(self, valid_x: Tensor, valid_y: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(valid_x), valid_y)
        loss.backward()  # type: ignore[no-untyped-call]  # for the weights too, as published
        self.optimizer.step()
        return loss.detach()


def search_step(
    model: Network, learning_rate: float = 0.025
) -> Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The bilevel step of the search: `step(train_x, train_y, valid_x, valid_y)` gives both losses."""
    architect = Architect(model)
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum=0.9, weight_decay=3e-4)

    def step(train_x: Tensor, train_y: Tensor, valid_x: Tensor, valid_y: Tensor) -> tuple[Tensor, Tensor]:
        model.train()
        valid_loss = architect.step(valid_x, valid_y)
        optimizer.zero_grad()
        train_loss = F.cross_entropy(model(train_x), train_y)
        train_loss.backward()  # type: ignore[no-untyped-call]  # for the logits too, as published
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        return train_loss.detach(), valid_loss

    return step
