"""From options (plain values, torch-free) to the parts that they name, and to options that leave nothing open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch

from oche.config.options import (
    CommonOptions,
    QueryOptions,
    RunCommand,
    SearchCommand,
    SpaceOptions,
    TrainCommand,
    TrainOptions,
    option_values,
    with_values,
)
from oche.errors import InputError
from oche.methods import method
from oche.nn.network import Stack
from oche.nosh.search import SEARCHES
from oche.optim import SGD, AdamW, OptimizerSettings
from oche.presets import Preset, at_preset, default_preset, preset
from oche.schedule import Cosine
from oche.spaces.cell_space import CellSpace
from oche.spaces.registry import space, takes_nodes
from oche.spaces.space import Space
from oche.training.protocol import TrainingProtocol, protocol

Command = TypeVar("Command", bound=CommonOptions)
Filled = dict[str, tuple[Any, str]]
"""By dotted name: a value, and where it comes from."""

OPTIMIZERS: dict[str, OptimizerSettings] = {"sgd": SGD(lr=Cosine(0.05)), "adamw": AdamW()}

SAME_NAME = (
    "epochs", "batch", "cutout", "drop_path", "auxiliary", "label_smoothing", "balance_classes", "validation",
)  # fmt: skip
"""Options of the training that are called as in the protocol."""

LATER = {
    "data.flip": "the data",
    "data.crop_padding": "the data",
    "data.stream": "the size of the data",
    "data.workers": "the machine, where data are streamed",
    "space.reductions": "the size of the images",
    "query.budget": "the table or the training",
    "query.levels": "the table or the training",
    "query.width": "the epochs of the levels",
    "query.ratio": "the epochs of the levels",
    "query.proxy": "the method, which needs none",
    "query.untrained": "the method",
    "query.train": "whether there is a table",
    "query.workers": "the machine",
    "query.executor": "the machine",
    "search.batch": "the method, or less for few images",
    "search.logit_lr": "the method and the number of steps",
    "train.batch": "the protocol, or less for few images",
    "train.reductions": "the size of the images",
}
"""What decides the values that nobody gave and that are only known when the data are."""


def resolve(options: Command, device: torch.device) -> tuple[Command, dict[str, str]]:
    """The options with everything filled in that is known before the data are.

    What was given stays as it is, so that resolving twice changes nothing. A batch is left open: one that nobody
    asked for shrinks to few images, and one that was asked for is refused.

    Args:
        options: of `oche run`, `search` or `train`.
        device: where the job will run.

    Returns:
        The options, and by dotted name where each value comes from that was not given.

    Raises:
        InputError: an unknown name, or a number out of its range.
    """
    name = options.preset or default_preset(device)
    sizes = preset(name)
    known: Filled = {
        "preset": (name, f"the device {device}"),
        "device": (str(device), "the machine"),
        "threads": (torch.get_num_threads(), "the machine"),
    }
    if isinstance(options, SearchCommand):
        known |= _filled_space(options.space, sizes, name) | _filled_search(options, sizes, name)
    if isinstance(options, RunCommand | TrainCommand):
        known |= _filled_training(options.train, sizes, name)
    if isinstance(options, RunCommand) and not space(options.space.name).has_auxiliary:
        known["train.auxiliary"] = (0.0, f"space {options.space.name}")
    values = option_values(options)
    filled = {key: entry for key, entry in known.items() if values[key] is None}
    origins = {key: source for key, (_, source) in filled.items()}
    later = {key: source for key, source in LATER.items() if key in values and values[key] is None}
    return with_values(options, {key: value for key, (value, _) in filled.items()}), origins | later


def resolve_space(options: SpaceOptions, sizes: Preset) -> Space:
    """The named space with the size of its supernet.

    Raises:
        InputError: an unknown name, or a size that cannot be.
    """
    named = space(options.name, nodes=options.nodes)
    fitted = at_preset(named, sizes.supernet)
    return fitted.replace(supernet_stack=_resize(fitted.supernet_stack, options))


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
    given = {name: getattr(options, name) for name in SAME_NAME if getattr(options, name) is not None}
    return replace(rules, stack=_resize(rules.stack, options), optimizer=optimizer, **given)


def _resize(stack: Stack, options: SpaceOptions | TrainOptions) -> Stack:
    """The stack with the cells, channels and reductions that the options give."""
    given = {name: getattr(options, name) for name in ("cells", "channels", "reductions")}
    return replace(stack, **{name: value for name, value in given.items() if value is not None})


def _filled_space(options: SpaceOptions, sizes: Preset, preset_name: str) -> Filled:
    chosen = resolve_space(options, sizes)
    own, named = f"space {options.name}", space(options.name)
    source = own if at_preset(named, sizes.supernet) == named else f"preset {preset_name}"
    filled: Filled = {
        "space.cells": (chosen.supernet_stack.cells, source),
        "space.channels": (chosen.supernet_stack.channels, source),
    }
    if takes_nodes(options.name):
        assert isinstance(chosen, CellSpace)
        filled["space.nodes"] = (chosen.nodes, own)
    return filled


def _filled_search(options: SearchCommand, sizes: Preset, preset_name: str) -> Filled:
    if options.method in SEARCHES:
        if options.search.logit_lr is not None:
            raise InputError(f"--search.logit_lr is of no use to {options.method}, which has no logits; leave it out")
        epochs = sizes.epochs or protocol(sizes.protocol).epochs
        return {"search.epochs": (epochs, f"preset {preset_name}")}
    if options.query != QueryOptions():
        raise InputError(
            f"--query options are for searches by query ({', '.join(SEARCHES)}), and of no use to --method "
            f"{options.method}; leave them out"
        )
    chosen = method(options.method).fitted(options.space.name, options.data.name)
    if sizes.epochs is not None:
        return {"search.epochs": (sizes.epochs, f"preset {preset_name}")}
    return {"search.epochs": (chosen.epochs, f"method {chosen.name}")}


def _filled_training(options: TrainOptions, sizes: Preset, preset_name: str) -> Filled:
    rules = resolve_protocol(options, sizes)
    source = f"protocol {rules.name}"
    optimizer = next(name for name, settings in OPTIMIZERS.items() if type(settings) is type(rules.optimizer))
    changed = options.optimizer is not None and type(protocol(rules.name).optimizer) is not type(rules.optimizer)
    filled: Filled = {
        "train.name": (rules.name, f"preset {preset_name}"),
        "train.cells": (rules.stack.cells, source),
        "train.channels": (rules.stack.channels, source),
        "train.optimizer": (optimizer, source),
        "train.lr": (rules.optimizer.lr.at(0), f"optimizer {options.optimizer}" if changed else source),
    }
    same = {f"train.{name}": (getattr(rules, name), source) for name in SAME_NAME if name != "batch"}
    return filled | same
