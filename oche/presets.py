"""Sizes that fit a machine: what a run uses where nothing else is said."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from oche.errors import named
from oche.methods import Method
from oche.nn.network import Stack
from oche.nn.structure import multiple_of
from oche.spaces.space import Space


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of a search and of the training after it.

    Attributes:
        supernet: depth and width of the supernet; None: the space's own.
        epochs: epochs of the search; None: the method's own.
        batch: images or lanes per step of the search; None: the method's own.
        protocol: name of the training protocol.
    """

    supernet: Stack | None
    epochs: int | None
    protocol: str
    batch: int | None = None


PRESETS = {
    "tiny": Preset(supernet=Stack(cells=3, channels=8), epochs=8, protocol="tiny"),
    "small": Preset(supernet=None, epochs=25, protocol="small"),
    "paper": Preset(supernet=None, epochs=None, protocol="darts-cifar"),
}

TEXT_PRESETS = {
    "tiny": Preset(supernet=Stack(cells=1, channels=64), epochs=8, protocol="text-tiny", batch=32),
    "small": Preset(supernet=Stack(cells=1, channels=200), epochs=25, protocol="text-small", batch=128),
    "paper": Preset(supernet=None, epochs=None, protocol="ptb"),
}
"""The same for spaces of language models; a cell is as wide as its embedding."""


def preset(name: str, text: bool = False) -> Preset:
    """A preset by name.

    Args:
        name: `tiny`, `small` or `paper`.
        text: whether the space is one of language models.

    Raises:
        InputError: the name is unknown.
    """
    return named("preset", name, TEXT_PRESETS if text else PRESETS)


def default_preset(device: torch.device) -> str:
    """`tiny` on a CPU and `small` on an accelerator; `paper`, which takes days there, is for those who ask for it."""
    return "tiny" if device.type == "cpu" else "small"


def at_preset(space: Space, stack: Stack | None, method: Method | None = None) -> Space:
    """The space with a preset's size of its supernet, which makes it smaller and never larger.

    Args:
        space: of its own size.
        stack: the preset's size; None: the paper's.
        method: its paper may search at another size than the space's own, and its structure may need a multiple of some
            number of channels, to which a preset's are raised.
    """
    own = space.supernet_stack
    cells, channels, multiple = own.cells, own.channels, 1
    if method is not None:
        multiple = multiple_of(method.structure)
        if method.supernet is not None:
            cells, channels = method.supernet.cells, method.supernet.channels
    if stack is not None:
        cells, channels = min(cells, stack.cells), min(channels, stack.channels)
    return space.replace(supernet_stack=replace(own, cells=cells, channels=multiple * -(-channels // multiple)))
