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
    Tries,
    option_values,
    with_values,
)
from oche.errors import InputError
from oche.medium import IMAGES, TEXT, check_medium, medium_of
from oche.methods import Method, method
from oche.nn.network import Stack
from oche.nn.structure import check_channels
from oche.nosh.search import SEARCHES
from oche.optim import SGD, AdamW, OptimizerSettings
from oche.presets import Preset, at_preset, default_preset, preset
from oche.recipe import AXES
from oche.schedule import Cosine, starting_at
from oche.spaces.cell_space import CellSpace
from oche.spaces.recurrent import RecurrentSpace
from oche.spaces.registry import space, takes_nodes
from oche.spaces.space import Space
from oche.training.protocol import FOR_IMAGES, TrainingProtocol, protocol
from oche.tries import Try, short_epochs, tries

Command = TypeVar("Command", bound=CommonOptions)
Filled = dict[str, tuple[Any, str]]
"""By dotted name: a value, and where it comes from."""

OPTIMIZERS: dict[str, OptimizerSettings] = {"sgd": SGD(lr=Cosine(0.05)), "adamw": AdamW()}

SAME_NAME = (
    "epochs", "batch", "cutout", "auto_augment", "drop_path", "auxiliary", "label_smoothing", "balance_classes",
    "validation",
)  # fmt: skip
"""Options of the training that are called as in the protocol."""

LATER = {
    **dict.fromkeys(AXES, "the method"),
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
    sizes = sizes_of(options, device)
    _check_medium(options)
    known: Filled = {
        "preset": (name, f"the device {device}"),
        "device": (str(device), "the machine"),
        "threads": (torch.get_num_threads(), "the machine"),
    }
    if isinstance(options, SearchCommand):
        known |= _filled_space(options, sizes, name) | _filled_search(options, sizes, name)
    if isinstance(options, RunCommand | TrainCommand):
        known |= _filled_training(options.train, sizes, name)
    if isinstance(options, RunCommand):
        chosen = resolve_space(options.space, sizes, _with_supernet(options))
        known |= _filled_fit(options.train, chosen, sizes)
        if not space(options.space.name).has_auxiliary:
            known["train.auxiliary"] = (0.0, f"space {options.space.name}")
        known |= _filled_tries(options, sizes, name)
    values = option_values(options)
    filled = {key: entry for key, entry in known.items() if values[key] is None}
    origins = {key: source for key, (_, source) in filled.items()}
    later = {key: s for key, s in LATER.items() if key in values and values[key] is None and key not in filled}
    return with_values(options, {key: value for key, (value, _) in filled.items()}), origins | later


def sizes_of(options: CommonOptions, device: torch.device) -> Preset:
    """Those of the preset, for images or for text.

    Raises:
        InputError: the preset is unknown.
    """
    text = medium_of(option_values(options)["data.name"]) is TEXT
    return preset(options.preset or default_preset(device), text=text)


def _check_medium(options: CommonOptions) -> None:
    """Refuse a space, a training and data that are not for each other, and what the data have no use for."""
    values = option_values(options)
    reads = medium_of(values["data.name"])
    if isinstance(options, SearchCommand):
        named = space(options.space.name)
        check_medium(f"space {named.name!r}", named.medium, reads)
    if values.get("train.name") is not None:
        rules = protocol(values["train.name"])
        check_medium(f"training protocol {rules.name!r}", rules.medium, reads)
    if reads is TEXT and values.get("train.validation"):
        raise InputError(
            f"--train.validation {values['train.validation']} is a share of the training images, but a text has a "
            "validation part of its own; leave it out"
        )
    given = [name for name in FOR_IMAGES if reads is TEXT and values.get(f"train.{name}")]
    if given:
        raise InputError(f"--train.{given[0]} is for images, but the data are text; leave it out")
    for group in ("search", "train"):
        if reads is IMAGES and values.get(f"{group}.bptt") is not None:
            raise InputError(
                f"--{group}.bptt is the length of sequences of text, but the data are images; leave it out"
            )


def resolve_space(options: SpaceOptions, sizes: Preset, method: Method | None = None) -> Space:
    """The named space with the size of its supernet.

    Args:
        options: the name, and what was said about the size.
        sizes: what fits the machine.
        method: for which the size is; None: for any.

    Raises:
        InputError: an unknown name, or a size that cannot be.
    """
    named = space(options.name, nodes=options.nodes)
    fitted = at_preset(named, sizes.supernet, method)
    stack = _resize(fitted.supernet_stack, options)
    if method is not None:
        check_channels(method.structure, stack.channels)
    return fitted.replace(supernet_stack=stack)


def resolve_method(options: SearchCommand) -> Method:
    """The method that the options come to, with the numbers for the space and the data.

    Raises:
        InputError: a name or a number cannot be used, or a part does not find what it needs.
    """
    named = space(options.space.name, nodes=options.space.nodes)
    chosen = method(options.recipe).fitted(named.name, options.data.name)
    chosen.check(named)
    return chosen


def _with_supernet(options: SearchCommand) -> Method | None:
    """The method; None for a search by query, which has no supernet."""
    return None if options.method in SEARCHES else resolve_method(options)


def resolve_tries(options: RunCommand, space: Space) -> tuple[Try, ...]:
    """The searches of which one is chosen; empty for a plain search.

    Raises:
        InputError: those of the method's paper are asked for, and it says nothing of the kind.
    """
    if options.tries is None or options.tries.count == 1:
        return ()
    return tries(resolve_method(options), options.seed, options.tries.count)


def fitted(options: TrainOptions, space: Space, sizes: Preset) -> TrainOptions:
    """The options with the cells that a network of the space must have, where nobody asked for others."""
    stack = resolve_protocol(options, sizes).stack
    forced = space.fitting(stack)
    if forced == stack:
        return options
    cells = forced.cells if options.cells is None else options.cells
    return replace(
        options, cells=cells, reductions=forced.reductions if options.reductions is None else options.reductions
    )


def resolve_protocol(options: TrainOptions, sizes: Preset) -> TrainingProtocol:
    """The named training protocol with the options' changes.

    Raises:
        InputError: an unknown name, or a number out of its range.
    """
    rules = protocol(options.name or sizes.protocol)
    optimizer = rules.optimizer
    if options.optimizer is not None and type(optimizer) is not type(OPTIMIZERS[options.optimizer]):
        optimizer = OPTIMIZERS[options.optimizer]
    if options.lr is not None and options.lr != optimizer.lr.at(0):
        optimizer = optimizer.at_rate(starting_at(optimizer.lr, options.lr))
    given = {name: getattr(options, name) for name in SAME_NAME if getattr(options, name) is not None}
    if options.bptt is not None and rules.language is not None:
        given["language"] = replace(rules.language, bptt=options.bptt)
    return replace(rules, stack=_resize(rules.stack, options), optimizer=optimizer, **given)


def _resize(stack: Stack, options: SpaceOptions | TrainOptions) -> Stack:
    """The stack with the cells, channels and reductions that the options give."""
    given = {name: getattr(options, name) for name in ("cells", "channels", "reductions")}
    return replace(stack, **{name: value for name, value in given.items() if value is not None})


def _filled_space(command: SearchCommand, sizes: Preset, preset_name: str) -> Filled:
    options, searched = command.space, _with_supernet(command)
    chosen = resolve_space(options, sizes, searched)
    own, named = f"space {options.name}", space(options.name)
    fitted, source = at_preset(named, sizes.supernet, searched), f"preset {preset_name}"
    if fitted == at_preset(named, None, searched):
        source = own if fitted == named or searched is None else f"method {searched.name}"
    filled: Filled = {
        "space.cells": (chosen.supernet_stack.cells, source),
        "space.channels": (chosen.supernet_stack.channels, source),
    }
    if chosen.supernet_stack.reductions is not None:
        filled["space.reductions"] = (chosen.supernet_stack.reductions, own)
    if takes_nodes(options.name) and isinstance(chosen, CellSpace | RecurrentSpace):
        filled["space.nodes"] = (chosen.nodes, own)
    return filled


def _filled_fit(options: TrainOptions, space: Space, sizes: Preset) -> Filled:
    forced, source = fitted(options, space, sizes), f"the supernet of space {space.name}"
    values = {name: getattr(forced, name) for name in ("cells", "reductions")}
    return {f"train.{name}": (v, source) for name, v in values.items() if v != getattr(options, name)}


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
    chosen = resolve_method(options)
    filled: Filled = {}
    if chosen.bptt is not None:
        filled["search.bptt"] = (chosen.bptt, f"method {chosen.name}")
    if sizes.epochs is not None:
        return filled | {"search.epochs": (sizes.epochs, f"preset {preset_name}")}
    return filled | {"search.epochs": (chosen.epochs, f"method {chosen.name}")}


def _filled_tries(options: RunCommand, sizes: Preset, preset_name: str) -> Filled:
    if options.method in SEARCHES:
        if options.tries is not None:
            raise InputError(f"{options.method} is one search that trains many networks; leave out --tries")
        return {}
    space = resolve_space(options.space, sizes)
    filled: Filled = {}
    asked = options
    if options.tries is None and preset_name == "paper" and resolve_method(options).tries:
        asked = replace(options, tries=Tries(None))
        filled["tries"] = (asked.tries, f"method {options.recipe} at preset {preset_name}")
    if resolve_tries(asked, space):
        epochs = resolve_protocol(options.train, sizes).epochs
        return filled | {"tries_epochs": (short_epochs(epochs), f"a share of the {epochs} epochs of the training")}
    if options.tries_epochs is not None:
        raise InputError(
            f"--tries-epochs {options.tries_epochs} is for several searches, but there is one; give --tries 4, or "
            "leave it out"
        )
    return filled


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
    if rules.language is not None:
        filled["train.bptt"] = (rules.language.bptt, source)
    same = {f"train.{name}": (getattr(rules, name), source) for name in SAME_NAME if name != "batch"}
    return filled | same
