"""Sizes that fit a machine: what a run uses where nothing else is said."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from oche.nn.network import Stack


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of a search and of the training after it.

    Attributes:
        supernet: depth and width of the supernet; None: the space's own.
        epochs: epochs of the search; None: the method's own.
        protocol: name of the training protocol.
    """

    supernet: Stack | None
    epochs: int | None
    protocol: str


PRESETS = {
    "small": Preset(supernet=Stack(cells=4, channels=8), epochs=20, protocol="small"),
    "paper": Preset(supernet=None, epochs=None, protocol="darts-cifar"),
}


def default_preset(device: torch.device) -> str:
    """`paper` on an accelerator; on a CPU a search of that size would take weeks, so `small`."""
    return "small" if device.type == "cpu" else "paper"
