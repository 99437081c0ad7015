"""The Python interface: `search` and `train`, from names or from a user's own modules, losses and loaders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from oche.architecture import Architecture
from oche.checkpoint import Checkpoints, Forgetful, Keeper
from oche.clock import Deadline
from oche.consistency import Regularization
from oche.data.batches import IterableBatches
from oche.data.dataset import Dataset
from oche.data.halves import SearchData
from oche.data.read import load
from oche.errors import InputError, named
from oche.feed import USUAL_BPTT, search_feed, training_feed
from oche.listeners.base import Listener
from oche.loop import Found, run_search
from oche.medium import IMAGES, TEXT, Medium, check_medium, medium_of
from oche.methods import Method
from oche.methods import method as named_method
from oche.metrics import Loss, Metric
from oche.nn.choice import decisions
from oche.nn.engine import FAST, set_engine, unknown_candidates
from oche.nn.network import ImageNetwork, Stack
from oche.nn.recurrent.language_model import LanguageModel
from oche.nn.structure import Structure
from oche.nn.supernet import Supernet, logits
from oche.plain import described
from oche.presets import at_preset, default_preset
from oche.presets import preset as named_preset
from oche.probe.probes import PROBES
from oche.probe.verdict import Verdict
from oche.randomness import derive, frozen
from oche.schedule import Constant, Scaled
from oche.spaces.module_space import ModuleSpace
from oche.spaces.registry import space as named_space
from oche.spaces.space import Space
from oche.task import Task
from oche.text.corpus import Corpus
from oche.training.protocol import TrainingProtocol
from oche.training.protocol import protocol as named_protocol
from oche.training.trainer import Trained, TrainingData, run_training

LOG = logging.getLogger(__name__)

Loader: TypeAlias = Iterable[tuple[Any, Any]]
Metrics: TypeAlias = Mapping[str, Metric | Callable[[Any, Any], Tensor]]
"""Metrics by name; for a plain function, higher is better."""

LARGEST_RATE = 0.03
"""To which the rate of the logits may be raised in a short search, in units of the relaxation's `scale`. With Adam a
logit moves by about its rate per step, which must stay small beside the distances that decide."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What `search` returns.

    Attributes:
        architecture: the selected architecture.
        verdict: healthy, at risk or collapsed; `print(verdict)` for a line, `print(verdict.report)` for the evidence.
        found: logits and metrics over the epochs, steps, seconds, why it stopped.
        space: what was searched.
        supernet: the trained supernet.
        method: the method as it was run, with the rate of the logits that was used.
    """

    architecture: Architecture
    verdict: Verdict
    found: Found
    space: Space | ModuleSpace
    supernet: Supernet
    method: Method


def search(
    space: str | Space | nn.Module,
    *,
    data: str | Dataset | Corpus | None = None,
    method: str | Method = "darts",
    train: Loader | None = None,
    valid: Loader | None = None,
    loss: Loss | None = None,
    metrics: Metrics | None = None,
    task: Task | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    bptt: int | None = None,
    logit_lr: float | None = None,
    preset: str | None = None,
    validation: float | None = None,
    split: int | None = None,
    protocol: str | TrainingProtocol | None = None,
    time_limit: float | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    engine: str = FAST,
    probes: str = "all",
    listeners: Iterable[Listener] = (),
    checkpoints: Keeper | str | Path | None = None,
    job: str = "search",
) -> SearchResult:
    """Search an architecture.

    Args:
        space: a space's name (the supernet then has the preset's size, or that of the method's paper if it is smaller),
            a `Space` (its own size), or any module with choices inside.
        data: a data set's name or path, or a `Dataset`, of which only the training images are used; or a `Corpus`,
            whose training text trains the weights and whose validation text the logits.
        method: a method's name, or one with other parts such as `"sp-darts/selection=decorrelation"`, or a `Method`.
        train: instead of `data`: batches (inputs, targets) for the weights.
        valid: instead of `data`: batches for the logits; share no sample with `train`.
        loss: `(output, target)` to a scalar; None: cross-entropy, per image or per word.
        metrics: numbers to report by name; None: accuracy, or of text perplexity, where the loss is the default one.
        task: with own loaders and a cell space: the shapes of input and output.
        epochs: of the search; None: the preset's.
        batch: images, or lanes of a text, per step, with `data`; None: the preset's or the method's own, or a whole
            half if that is smaller.
        bptt: words of a lane per step, with a text as `data`; None: the method's own.
        logit_lr: constant rate of the logits; None: the method's own times the ratio of the paper's number of steps
            to this search's, so that the logits can travel as far; no single step may decide anything, however.
        preset: `tiny`, `small` or `paper`; None: `tiny` on a CPU, `small` elsewhere.
        validation: with `data`, the share of the training images that a later training holds out to choose its best
            epoch, and that the search therefore leaves alone; None: that of the preset's training protocol.
        split: with `data`, decides which images that share is; None: `seed`.
        protocol: what the selection will be trained with, for methods that are consistent with it; None: the preset's.
        time_limit: seconds after which the search ends with its current selection.
        seed: fixes everything random.
        device: where to compute; None: CUDA where there is one.
        engine: `fast`, or `reference` for the same numbers up to rounding by readable code, slower.
        probes: what looks at the search for the verdict: `all`, `cheap` (what costs nothing) or `none`. What is found
            does not depend on it.
        listeners: who watches.
        checkpoints: a directory to save checkpoints in; a search that was cut off goes on from there, bit for bit.
        job: what listeners call it.

    Raises:
        InputError: something given cannot be used, before anything is trained; or the first epoch diverges.
    """
    deadline, device, looking = Deadline(time_limit), resolve_device(device), named("probes", probes, PROBES)
    medium = _medium(space, data)
    chosen = named_method(method) if isinstance(method, str) else method
    if not isinstance(space, nn.Module):
        chosen = chosen.fitted(
            space if isinstance(space, str) else space.name,
            "" if data is None else data if isinstance(data, str) else data.name,
            text=medium is TEXT,
        )
    chosen = replace(chosen, tries=())  # this is one search
    if medium is TEXT and data is None:
        raise InputError("a space for text needs to know its windows; give data=oche.Corpus(...), not loaders")
    if medium is TEXT and validation:
        raise InputError(f"a text has a validation part of its own, but got validation={validation}; leave it out")
    sizes = named_preset(preset or default_preset(device), text=medium is TEXT)
    searched = _searched(space, sizes.supernet, chosen)
    chosen.check(searched)
    epochs = _positive("epochs", epochs, sizes.epochs or chosen.epochs)
    samples = _positive("batch", batch, sizes.batch or chosen.batch)
    rules = protocol if isinstance(protocol, TrainingProtocol) else named_protocol(protocol or sizes.protocol)
    check_medium(f"training protocol {rules.name!r}", rules.medium, medium)
    chosen = regularized(chosen, rules, searched, images=data is not None)
    regularization = chosen.regularization.numbers
    length = _positive("bptt", bptt, chosen.bptt or USUAL_BPTT) if medium is TEXT else bptt
    dataset: Dataset | Corpus | None = None
    if data is not None:
        _either(train, valid)
        dataset = load(data, seed=seed) if isinstance(data, str) else data
        held_out = rules.validation if validation is None else validation
        source = search_feed(
            dataset,
            samples,
            seed,
            device,
            held_out,
            bptt=length,
            cutout=regularization.cutout,
            fit=batch is None,
            split=split,
        )
        task = dataset.task
    elif train is not None and valid is not None:
        if train is valid:
            raise InputError(
                "the logits need other samples than the weights, but train and valid are one loader; split the data"
            )
        own = IterableBatches(valid, device, derive(seed, "valid"))
        source = SearchData(train=IterableBatches(train, device, derive(seed, "train")), valid=own, evaluation=own)
    else:
        raise InputError('a search needs data="digits" or another data set, or both train=... and valid=... loaders')
    measured = _metrics(metrics, loss, medium)
    loss = medium.loss if loss is None else _loss(loss)
    with frozen(derive(seed, "supernet"), device):
        supernet = _supernet(searched, task, chosen.structure, auxiliary=regularization.auxiliary > 0)
    supernet = supernet.to(device)
    set_engine(supernet, engine)
    if engine == FAST and (unknown := unknown_candidates(supernet)):
        LOG.warning("the fast engine has no short cut for %s and calls them one by one", ", ".join(unknown))
    chosen = _with_logit_rate(chosen, logit_lr, epochs * len(source.train))
    found = run_search(
        supernet,
        searched.domain.restrict(logits(supernet).keys()),
        chosen,
        source,
        loss=loss,
        metrics=measured,
        epochs=epochs,
        seed=seed,
        device=device,
        deadline=deadline,
        listeners=listeners,
        keeper=_keeper(checkpoints, job),
        about=_about(
            checkpoints,
            dataset,
            batch=samples,
            bptt=length,
            validation=validation,
            split=split,
            space=described(searched),
            engine=engine,
        ),
        probes=looking,
        job=job,
    )
    return SearchResult(
        architecture=found.architecture,
        verdict=found.verdict,
        found=found,
        space=searched,
        supernet=supernet,
        method=chosen,
    )


def train(
    model: Architecture | nn.Module,
    *,
    data: str | Dataset | Corpus | None = None,
    protocol: str | TrainingProtocol | None = None,
    space: Space | None = None,
    stack: Stack | None = None,
    train: Loader | None = None,
    valid: Loader | None = None,
    test: Loader | None = None,
    loss: Loss | None = None,
    metrics: Metrics | None = None,
    epochs: int | None = None,
    fit_batch: bool | None = None,
    tested: bool = True,
    split: int | None = None,
    time_limit: float | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    listeners: Iterable[Listener] = (),
    checkpoints: Keeper | str | Path | None = None,
    job: str = "train",
) -> Trained:
    """Train a discrete network and evaluate it once on the test part.

    Args:
        model: an architecture of a cell space, or any module (it is trained in place).
        data: a data set's name or path, a `Dataset`, or a `Corpus`.
        protocol: a protocol's name, or a `TrainingProtocol`; None: `tiny` on a CPU, `small` elsewhere.
        space: the space of the architecture; None: looked up by its name.
        stack: depth and width of the network; None: the protocol's, with the cells of a space whose cells do not share.
        train: instead of `data`: batches (inputs, targets).
        valid: instead of `data`: batches that choose the best epoch; None: the last epoch counts.
        test: instead of `data`: batches of the final evaluation.
        loss: instead of the protocol's cross-entropy, for training and for reports.
        metrics: numbers to report; the first chooses the best epoch. None: accuracy, or of text perplexity, where the
            loss is the default.
        epochs: of the training; None: the protocol's.
        fit_batch: whether a batch larger than the training part shrinks to it, or is refused; None: it shrinks if the
            protocol was given by name.
        tested: with `data`, whether the network is evaluated on the test part; False: that part is left alone.
        split: with `data`, decides which images the validation part is; None: `seed`.
        time_limit: seconds after which training ends; the rate has come down by then.
        seed: fixes everything random.
        device: where to compute; None: CUDA where there is one.
        listeners: who watches.
        checkpoints: a directory to save checkpoints in; a training that was cut off goes on from there, bit for bit.
        job: what listeners call it.

    Raises:
        InputError: something given cannot be used, before anything is trained; or the first epoch diverges.
    """
    deadline, device = Deadline(time_limit), resolve_device(device)
    architecture = model if isinstance(model, Architecture) else None
    if architecture is not None:
        space = space or named_space(architecture.space)
    medium = _medium(space, data)
    if protocol is None:
        protocol = named_preset(default_preset(device), text=medium is TEXT).protocol
    rules = named_protocol(protocol) if isinstance(protocol, str) else protocol
    if space is None and data is None:  # a module and loaders, which are for what the protocol is for
        medium = rules.medium
    rules = rules if epochs is None else replace(rules, epochs=epochs)
    if not isinstance(model, Architecture | nn.Module):
        raise InputError(
            f"training needs an Architecture or a module, but got {type(model).__name__}; "
            'for a known one: oche.known_architectures()["darts-v2"].architecture'
        )
    if loss is not None:
        _loss(loss)
    dataset: Dataset | Corpus | None = None
    if data is not None:
        _either(train, valid, test)
        dataset = load(data, seed=seed) if isinstance(data, str) else data
        if isinstance(model, Architecture):
            assert space is not None  # looked up above
            with frozen(derive(seed, "network"), device):
                model = space.network(
                    model, dataset.task, stack or space.fitting(rules.stack), auxiliary=rules.auxiliary > 0
                )
        fit = isinstance(protocol, str) if fit_batch is None else fit_batch
        source = training_feed(dataset, rules, seed, device, fit=fit, split=split, tested=tested)
        train_loss = loss or rules.loss(None if isinstance(dataset, Corpus) else dataset.train.labels, device)
    elif train is not None:
        if isinstance(model, Architecture):
            raise InputError(
                "an architecture needs data=... to know its input and output; or build a network from it and give that"
            )
        source = TrainingData(
            train=IterableBatches(train, device, derive(seed, "train")),
            valid=None if valid is None else IterableBatches(valid, device, derive(seed, "valid")),
            test=None if test is None else IterableBatches(test, device, derive(seed, "test")),
        )
        train_loss = loss or rules.loss(None, device)
    else:
        raise InputError('training needs data="digits" or another data set, or a train=... loader')
    if any(len(choice.options) > 1 for _, _, choice in decisions(model)):
        raise InputError(
            "this module still has undecided choices; train result.space.network(result.architecture) of its search"
        )
    network = model.to(device)
    set_engine(network, FAST)
    return run_training(
        network,
        network.with_auxiliary if isinstance(network, ImageNetwork | LanguageModel) else lambda x: (network(x), None),
        rules,
        data=source,
        train_loss=train_loss,
        loss=loss or medium.loss,
        metrics=_metrics(metrics, loss, medium),
        seed=derive(seed, "training"),
        device=device,
        deadline=deadline,
        listeners=listeners,
        keeper=_keeper(checkpoints, job),
        about=_about(checkpoints, dataset, split=split, architecture=described(architecture)),
        job=job,
    )


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The device to compute on.

    Raises:
        InputError: the name is no device, or there is none of this kind here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {str(device)!r} cannot be used: {reason}; --device cpu works everywhere") from None
    return resolved


def _searched(space: str | Space | nn.Module, stack: Stack | None, method: Method) -> Space | ModuleSpace:
    if isinstance(space, nn.Module):
        return ModuleSpace(space)
    return at_preset(named_space(space), stack, method) if isinstance(space, str) else space


def _medium(space: str | Space | nn.Module | None, data: str | Dataset | Corpus | None) -> Medium:
    """What is read: what the data are, which need not have been loaded, or without any what the space is for.

    Raises:
        InputError: the space is for something else than the data.
    """
    named = named_space(space) if isinstance(space, str) else space
    given = medium_of(data) if isinstance(data, str) else None if data is None else data.medium
    if not isinstance(named, Space):  # a module reads whatever it is given
        return given or IMAGES
    if given is not None:
        check_medium(f"space {named.name!r}", named.medium, given)
    return named.medium


def _supernet(space: Space | ModuleSpace, task: Task | None, structure: Structure, *, auxiliary: bool) -> Supernet:
    if isinstance(space, ModuleSpace):
        return space.supernet()
    if task is None:
        raise InputError(
            "a cell space needs to know the images or the text it is for; give data=..., "
            "or task=oche.ImageTask(channels=3, height=32, width=32, classes=10) beside your loaders"
        )
    return space.supernet(task, structure, auxiliary=auxiliary)


def regularized(method: Method, rules: TrainingProtocol, space: Space | ModuleSpace, *, images: bool) -> Method:
    """The method with the numbers of its regularization; what a training has and a search cannot have is left out.

    Args:
        method: perhaps consistent with the training.
        rules: of the training.
        space: what is searched.
        images: whether the images come from here, not from loaders of the user's own.

    Raises:
        InputError: the method asks for what there is no place for.
    """
    module = isinstance(space, ModuleSpace)
    possible = replace(
        rules,
        cutout=rules.cutout if images else 0,
        drop_path=0.0 if module else rules.drop_path,
        auxiliary=rules.auxiliary if isinstance(space, Space) and space.has_auxiliary else 0.0,
    )
    regularization = method.regularization.at(possible)
    numbers = regularization.numbers
    if module and (numbers.drop_path or numbers.auxiliary):
        raise InputError(
            "drop-path and the auxiliary head of a method belong to cells, but a module of your own has none; give "
            "regularization=Regularization(), and put them into the module"
        )
    if numbers.cutout and not images:
        raise InputError(
            f"Cutout of {numbers.cutout} pixels is for images of data=..., but there are only loaders; put it into "
            "their transforms and give cutout=0"
        )
    if isinstance(space, Space) and isinstance(regularization, Regularization):
        regularization = regularization.for_width(space.supernet_stack.channels)
    return replace(method, regularization=regularization)


def _keeper(checkpoints: Keeper | str | Path | None, job: str) -> Keeper:
    if checkpoints is None:
        return Forgetful()
    return Checkpoints(Path(checkpoints), job) if isinstance(checkpoints, str | Path) else checkpoints


def _about(checkpoints: Keeper | str | Path | None, dataset: Dataset | Corpus | None, **facts: Any) -> dict[str, Any]:
    """What must be the same when checkpoints are taken up; a fingerprint takes time, so only where there are any."""
    if checkpoints is None or dataset is None:
        return facts
    augment = None if isinstance(dataset, Corpus) else described(dataset.augment)
    return facts | {"data": dataset.fingerprint, "augment": augment}


def _metrics(metrics: Metrics | None, loss: Loss | None, medium: Medium) -> dict[str, Metric]:
    """Metrics as given, or those of the medium beside its loss."""
    if metrics is None:
        return dict(medium.metrics) if loss is None else {}
    if not isinstance(metrics, Mapping):
        raise InputError(f'metrics are given by name, such as {{"mae": my_function}}, but got {type(metrics).__name__}')
    return {name: m if isinstance(m, Metric) else Metric(m) for name, m in metrics.items()}


def _loss(loss: Loss) -> Loss:
    if isinstance(loss, type) or not callable(loss):
        raise InputError(
            f"a loss is a function of (output, target), such as nn.BCEWithLogitsLoss() or nn.functional.mse_loss, "
            f"but got {loss!r}"
        )
    return loss


def _positive(name: str, value: int | None, default: int) -> int:
    if value is not None and (not isinstance(value, int) or value < 1):
        raise InputError(f"a search needs a whole number of {name} >= 1, but got {name}={value!r}")
    return default if value is None else value


def _either(*loaders: Loader | None) -> None:
    if any(loader is not None for loader in loaders):
        raise InputError("give either data=... or your own loaders, but not both")


def _with_logit_rate(method: Method, rate: float | None, steps: int) -> Method:
    """The method with a given rate of its logits, or with its own raised as a shorter search needs it."""
    if rate is not None and not rate >= 0:
        raise InputError(f"the rate of the logits must be 0 or more, but got logit_lr={rate}")
    own = method.logit_optimizer
    if rate is not None:
        return replace(method, logit_optimizer=own.at_rate(Constant(rate)))
    first = own.lr.at(0)
    largest = max(LARGEST_RATE * method.relaxation.scale / first, 1.0) if first else 1.0
    scale = min(max(method.steps / steps, 1.0), largest)
    return replace(method, logit_optimizer=own.at_rate(Scaled(own.lr, scale)))
