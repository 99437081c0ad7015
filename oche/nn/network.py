"""Stem, stacked cells, head: one network class for supernets and discrete networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.errors import InputError, unknown
from oche.metrics import Loss
from oche.nn.cell import Cell, MixedEdge
from oche.nn.mixture import Mixture
from oche.nn.operations import NormForm
from oche.nn.structure import PLAIN, Structure
from oche.task import ImageTask

SMALLEST_SIDE = 4
"""Pixels that the automatic number of reductions leaves, so that 3x3 and 5x5 kernels still see something."""

USUAL_REDUCTIONS = 2
"""DARTS puts two reduction cells, at a third and two thirds of the depth."""


class CifarStem(nn.Module):
    """3x3 convolution to `3 C` channels and BN; both inputs of the first cell."""

    halvings = 0
    first_is_larger = False

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.channels_out = (3 * channels, 3 * channels)
        self.stem = nn.Sequential(
            nn.Conv2d(channels_in, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`N x in x H x W` to `N x 3C x H x W`, twice."""
        x = self.stem(x)
        return x, x


class ImageNetStem(nn.Module):
    """Three stride-2 convolutions; the first cell sees the outputs after the second and the third."""

    halvings = 3
    first_is_larger = True

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.channels_out = (channels, channels)
        self.stem0 = nn.Sequential(
            nn.Conv2d(channels_in, channels // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.stem1 = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`N x in x H x W` to `N x C x H/4 x W/4` and `N x C x H/8 x W/8`."""
        first = self.stem0(x)
        return first, self.stem1(first)


STEMS: dict[str, type[CifarStem | ImageNetStem]] = {"cifar": CifarStem, "imagenet": ImageNetStem}


class AuxiliaryHead(nn.Module):
    """A second classifier on an inner feature map, for training only.

    The public code averages 5x5 windows at stride 3 over an 8x8 map (stride 2 over 7x7), which gives 2x2. Here a
    window is 5/8 of the side, which is the same at 8 and at 7 and works at every other size.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        """`N x C x H x W` to `N x classes`."""
        x = F.relu(x)
        if min(x.shape[-2:]) == 1:
            x = F.adaptive_avg_pool2d(x, 2)
        else:
            strides = [max(side - -(-5 * side // 8), 1) for side in x.shape[-2:]]
            x = F.avg_pool2d(x, [side - s for side, s in zip(x.shape[-2:], strides, strict=True)], strides)
        return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """How cells are stacked into a network.

    Attributes:
        cells: number of cells.
        channels: channels of a node before the first reduction; they double at each.
        reductions: number of reduction cells, evenly spaced; None: as many as the resolution allows, at most 2.
        stem: name of the stem, `cifar` or `imagenet`.
    """

    cells: int
    channels: int
    reductions: int | None = None
    stem: str = "cifar"

    def __post_init__(self) -> None:
        for name in ("cells", "channels"):
            if getattr(self, name) < 1:
                raise InputError(f"a network needs {name} >= 1, but got {name}={getattr(self, name)}")
        if self.reductions is not None and not 0 <= self.reductions <= self.cells:
            raise InputError(
                f"0 <= reductions <= cells must hold, but got reductions={self.reductions}, cells={self.cells}"
            )
        if self.stem not in STEMS:
            raise unknown("stem", self.stem, STEMS)
        if self.stem == "imagenet" and self.channels < 2:
            raise InputError(
                f"the imagenet stem begins with channels / 2, so channels >= 2 must hold, but got {self.channels}"
            )

    def reduction_count(self, task: ImageTask) -> int:
        """How many reduction cells this stack has for images of the task's size.

        Raises:
            InputError: the image is too small for the stem or for the reductions explicitly asked for.
        """
        side = task.side
        for _ in range(STEMS[self.stem].halvings):
            side = -(-side // 2)
        if self.reductions is None:
            room = 0
            while side >= 2 * SMALLEST_SIDE and room < USUAL_REDUCTIONS:
                side, room = -(-side // 2), room + 1
            return min(room, self.cells - 1)  # at least one normal cell
        # Halving needs two pixels: FactorizedReduce shifts its input by one.
        for done in range(self.reductions):
            if side < 2:
                raise InputError(
                    f"{self.reductions} reductions halve the resolution {self.reductions} times, but images of "
                    f"{task.height}x{task.width} pixels allow {done} with the stem {self.stem!r}; "
                    f"ask for {done} or leave the number out"
                )
            side = -(-side // 2)
        return self.reductions

    def kinds(self, task: ImageTask) -> list[str]:
        """`normal` or `reduction` for each cell of a network for images of the task's size."""
        return self.spread(self.reduction_count(task))

    def spread(self, count: int) -> list[str]:
        """The same for so many reductions: they are at `i * cells // (reductions + 1)`, as L//3 and 2L//3."""
        places = {i * self.cells // (count + 1) for i in range(1, count + 1)}
        return ["reduction" if i in places else "normal" for i in range(self.cells)]


EdgeBuilder = Callable[[int, str, int], list[dict[int, nn.Module]]]
"""`(cell index, kind, channels)` to the edges of each node, by the state they read."""


class ImageNetwork(nn.Module, ABC):
    """What the networks of all spaces share.

    Attributes:
        auxiliary: a second head behind an inner cell, for training only; None: there is none.
    """

    auxiliary: AuxiliaryHead | None

    @abstractmethod
    def with_auxiliary(self, x: Tensor, mixture: Mixture | None = None) -> tuple[Tensor, Tensor | None]:
        """Class scores, and those of the auxiliary head where there is one."""

    def auxiliary_loss(self, inner: Tensor, target: Tensor, loss: Loss) -> Tensor:
        """The loss of the auxiliary head."""
        return loss(inner, target)


@dataclass(frozen=True)
class Begun:
    """A network that has been evaluated up to some cell.

    Attributes:
        cells: how many are done.
        first: input of the next cell, from the cell before the last one.
        second: the same from the last one.
    """

    cells: int
    first: Tensor
    second: Tensor


class CellNetwork(ImageNetwork):
    """A stem, cells and a linear classifier on globally averaged features.

    Args:
        task: shapes of input and output.
        stack: depth, width, reductions, stem.
        edges: what stands on the edges of each cell.
        form: batch normalization inside cells.
        auxiliary: whether to build the auxiliary head behind cell `2 * cells // 3`.
        structure: what is added to a supernet.
    """

    def __init__(
        self,
        task: ImageTask,
        stack: Stack,
        edges: EdgeBuilder,
        form: NormForm,
        *,
        auxiliary: bool = False,
        structure: Structure = PLAIN,
    ) -> None:
        super().__init__()
        self.stem = STEMS[stack.stem](task.channels, stack.channels)
        self.cells = nn.ModuleList()
        self.auxiliary_at = 2 * stack.cells // 3
        self.auxiliary = None
        seen = self.stem.channels_out
        channels, halve_first = stack.channels, self.stem.first_is_larger
        for index, kind in enumerate(stack.kinds(task)):
            if kind == "reduction":
                channels *= 2
            nodes = edges(index, kind, channels)
            norms = structure.norms(len(nodes), channels)
            cell = Cell(seen, channels, halve_first=halve_first, nodes=nodes, form=form, norms=norms)
            self.cells.append(cell)
            seen, halve_first = (seen[1], cell.channels_out), kind == "reduction"
            if auxiliary and index == self.auxiliary_at:
                self.auxiliary = AuxiliaryHead(cell.channels_out, task.classes)
        self.classifier = nn.Linear(seen[1], task.classes)
        # Channels last is the layout in which depthwise convolutions and pooling are fastest; values do not change.
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, mixture: Mixture | None = None) -> Tensor:
        """Class scores, `N x classes`, of images `N x channels x H x W`."""
        return self._run(x, mixture or {})[0]

    def with_auxiliary(self, x: Tensor, mixture: Mixture | None = None) -> tuple[Tensor, Tensor | None]:
        """See `ImageNetwork`."""
        scores, inner = self._run(x, mixture or {})
        return scores, None if self.auxiliary is None else self.auxiliary(inner)

    def before(self, x: Tensor, mixture: Mixture, keys: Collection[str]) -> Begun:
        """What does not depend on some rows of the mixture: all that comes before the first cell that sees one."""
        first, second = self._begin(x)
        for index, cell in enumerate(self.cells):
            if any(isinstance(module, MixedEdge) and module.key in keys for module in cell.modules()):
                return Begun(index, first, second)
            first, second = second, cell(first, second, mixture)
        return Begun(len(self.cells), first, second)

    def after(self, begun: Begun, mixture: Mixture) -> Tensor:
        """The class scores from what `before` gave."""
        first, second = begun.first, begun.second
        for cell in self.cells[begun.cells :]:
            first, second = second, cell(first, second, mixture)
        return self._classify(second)

    def _run(self, x: Tensor, mixture: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        first, second = self._begin(x)
        inner = second
        for index, cell in enumerate(self.cells):
            first, second = second, cell(first, second, mixture)
            if index == self.auxiliary_at:
                inner = second
        return self._classify(second), inner

    def _begin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.stem(x.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    def _classify(self, last: Tensor) -> Tensor:
        return self.classifier(last.mean(dim=(2, 3)))  # type: ignore[no-any-return]
