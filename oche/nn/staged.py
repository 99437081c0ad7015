"""The network of NAS-Bench-201: stages of cells that keep the resolution, with residual blocks between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.nn.cell import Graph
from oche.nn.mixture import Mixture
from oche.nn.network import ImageNetwork, Stack
from oche.nn.structure import PLAIN, Structure
from oche.task import ImageTask


class AddingCell(Graph):
    """Nodes that add the outputs of their edges; the last one is the cell's output."""

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        """`N x C x H x W` to the same shape."""
        return self.states([x], mixture)[-1]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first with stride 2, beside 2x2 average pooling and a 1x1 convolution.

    At odd sizes the last window of the pooling is smaller, so that both paths have `ceil(size / 2)`.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), nn.Conv2d(channels_in, channels_out, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`N x C_in x H x W` to `N x C_out x ceil(H/2) x ceil(W/2)`."""
        return self.shortcut(x) + self.convolutions(x)  # type: ignore[no-any-return]


class StagedNetwork(ImageNetwork):
    """Stem, stages of cells, batch normalization, and a linear classifier on globally averaged features.

    Args:
        task: shapes of input and output.
        stack: number of cells in all stages, channels of the first stage, and number of residual blocks between.
        edges: from the channels of a cell to the edges of each of its nodes, by the node they read.
        structure: what is added to a supernet.
    """

    def __init__(
        self,
        task: ImageTask,
        stack: Stack,
        edges: Callable[[int], Sequence[Mapping[int, nn.Module]]],
        structure: Structure = PLAIN,
    ) -> None:
        super().__init__()
        self.auxiliary = None
        channels = stack.channels
        self.stem = nn.Sequential(
            nn.Conv2d(task.channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.layers = nn.ModuleList()
        for kind in stack.kinds(task):
            if kind == "reduction":  # a new stage begins
                self.layers.append(ResidualBlock(channels, 2 * channels))
                channels *= 2
            nodes = edges(channels)
            self.layers.append(AddingCell(nodes, structure.norms(len(nodes), channels)))
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, task.classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, mixture: Mixture | None = None) -> Tensor:
        """Class scores, `N x classes`, of images `N x channels x H x W`."""
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        for layer in self.layers:
            x = layer(x, mixture or {}) if isinstance(layer, AddingCell) else layer(x)
        return self.classifier(F.relu(self.norm(x)).mean(dim=(2, 3)))  # type: ignore[no-any-return]

    def with_auxiliary(self, x: Tensor, mixture: Mixture | None = None) -> tuple[Tensor, Tensor | None]:
        """See `ImageNetwork`; there is no auxiliary head."""
        return self(x, mixture), None
