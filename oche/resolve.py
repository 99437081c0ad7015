"""From options (plain values, torch-free) to the parts that they name."""

from __future__ import annotations

from dataclasses import replace

import torch

from oche.config import CommonOptions, SpaceOptions, TrainOptions
from oche.nn.network import Stack
from oche.optim import SGD, AdamW, OptimizerSettings
from oche.presets import Preset, default_preset, preset
from oche.schedule import Cosine
from oche.spaces.registry import space
from oche.spaces.space import Space
from oche.training.protocol import TrainingProtocol, protocol

OPTIMIZERS: dict[str, OptimizerSettings] = {"sgd": SGD(lr=Cosine(0.05)), "adamw": AdamW()}


def resolve_preset(options: CommonOptions, device: torch.device) -> Preset:
    """The preset asked for, or the one that suits the device."""
    return preset(options.preset or default_preset(device))


def resolve_space(options: SpaceOptions, sizes: Preset) -> Space:
    """The named space with the size of its supernet.

    Raises:
        InputError: an unknown name, or a size that cannot be.
    """
    named = space(options.name, nodes=options.nodes)
    return named.replace(supernet_stack=_resize(sizes.supernet or named.supernet_stack, options))


def resolve_protocol(options: TrainOptions, sizes: Preset) -> TrainingProtocol:
    """The named training protocol with the options' changes.

    Raises:
        InputError: an unknown name, or a number out of its range.
    """
    rules = protocol(options.name or sizes.protocol)
    optimizer = rules.optimizer
    if options.optimizer is not None and type(optimizer) is not type(OPTIMIZERS[options.optimizer]):
        optimizer = OPTIMIZERS[options.optimizer]
    if options.lr is not None:
        optimizer = optimizer.at_rate(Cosine(options.lr))
    same_name = (
        "epochs", "batch", "cutout", "drop_path", "auxiliary", "label_smoothing", "balance_classes", "validation",
    )  # fmt: skip
    given = {name: getattr(options, name) for name in same_name if getattr(options, name) is not None}
    return replace(rules, stack=_resize(rules.stack, options), optimizer=optimizer, **given)


def _resize(stack: Stack, options: SpaceOptions | TrainOptions) -> Stack:
    """The stack with the cells, channels and reductions that the options give."""
    given = {name: getattr(options, name) for name in ("cells", "channels", "reductions")}
    return replace(stack, **{name: value for name, value in given.items() if value is not None})
