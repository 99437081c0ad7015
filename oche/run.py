"""The jobs behind the commands `run`, `search` and `train`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from random import Random
from statistics import mean, stdev
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from oche import api
from oche.architecture import Architecture
from oche.config import CommonOptions, NamedData, RunCommand, SearchCommand, TrainCommand, TrainOptions
from oche.data.dataset import Dataset
from oche.data.load import load
from oche.data.prepare import Normalize
from oche.errors import InputError, unknown
from oche.feed import search_feed, training_feed
from oche.listener import Listener
from oche.methods import Method, method
from oche.nn.network import CellNetwork, Stack
from oche.presets import Preset
from oche.randomness import derive
from oche.report.console import progress
from oche.report.drawing import draw
from oche.resolve import resolve_preset, resolve_protocol, resolve_space
from oche.run_directory import RunDirectory, described, read_space
from oche.spaces.registry import known_architectures
from oche.spaces.registry import space as named_space
from oche.spaces.space import Space
from oche.task import ImageTask
from oche.training.protocol import TrainingProtocol, protocol
from oche.training.trainer import Trained

SEARCH_SHARE = 0.5
"""Share of a time limit that the search may use; the networks share what it leaves."""

TRAINING_SHARE = 0.9
"""Share of a network's part that its training may use; validation, test and writing need the rest."""

SHORTEST = 0.001
"""Seconds that remain for a job when the time is already up: it makes one step, so that there is a network."""

NETWORK_FORMAT = 1


def run(options: RunCommand) -> Trained:
    """Search, select, train, test, and compare with random architectures.

    Raises:
        InputError: something in the options cannot be used; nothing has been trained then.
    """
    job, chosen = _Job(options), method(options.method)
    space = resolve_space(options.space, job.preset)
    rules = resolve_protocol(options.train, job.preset)
    count = options.baseline.count if options.baseline else 0
    job.load(options.data)
    job.check_search(space, options.search.batch, chosen, rules.validation)
    job.check_training(rules, options.train)
    _check_kinds(space, rules, job.dataset.task)
    job.open(chosen.name, "run", space=space, protocol=rules)
    found = _search(job, options, chosen, space, rules.validation, SEARCH_SHARE)

    rivals = [space.sample(Random(derive(options.seed, "baseline", i))) for i in range(count)]
    network = _train(job, "train", found.architecture, space, rules, job.share(TRAINING_SHARE / (count + 1)))
    _save_network(job, found.architecture, space, rules.stack, network)
    job.add_result("network", _scores(network))
    trained = []
    for i, rival in enumerate(rivals):
        trained.append(_train(job, f"random {i + 1}", rival, space, rules, job.share(TRAINING_SHARE / (count - i))))
        scores = [{"architecture": dict(a.items)} | _scores(t) for a, t in zip(rivals, trained, strict=False)]
        job.add_result("random", scores)
    if trained:
        job.say(_comparison(network, trained))
    return _finish(job, network)


def search(options: SearchCommand) -> api.SearchResult:
    """Search and select.

    Raises:
        InputError: something in the options cannot be used; nothing has been trained then.
    """
    job, chosen = _Job(options), method(options.method)
    space = resolve_space(options.space, job.preset)
    validation = protocol(job.preset.protocol).validation
    job.load(options.data)
    job.check_search(space, options.search.batch, chosen, validation)
    job.open(chosen.name, "search", space=space)
    found = _search(job, options, chosen, space, validation, 1.0)
    job.say(f"wrote {job.directory.path}")
    return found


def train(architecture: str, options: TrainCommand) -> Trained:
    """Train and test a given architecture: a file, a run directory, or a known name.

    Raises:
        InputError: something given cannot be used; nothing has been trained then.
    """
    chosen, space = find_architecture(architecture)
    job = _Job(options)
    rules = resolve_protocol(options.train, job.preset)
    job.load(options.data)
    job.check_training(rules, options.train)
    space.network(chosen, job.dataset.task, rules.stack)  # refuses what does not fit before a directory is made
    job.open(chosen.space, "train", space=space, protocol=rules)
    _write_architecture(job, space, chosen)
    network = _train(job, "train", chosen, space, rules, job.share(TRAINING_SHARE))
    _save_network(job, chosen, space, rules.stack, network)
    job.add_result("network", _scores(network))
    return _finish(job, network)


def find_architecture(text: str) -> tuple[Architecture, Space]:
    """An architecture by known name, from a run directory, or from a file; and its space.

    Raises:
        InputError: it is none of these.
    """
    known = known_architectures()
    if text in known:
        return known[text].architecture, named_space(known[text].architecture.space)
    path = Path(text)
    if not path.exists():
        raise unknown("architecture (no file or run directory is there either)", text, known)
    file = path / "architecture.json" if path.is_dir() else path
    architecture = Architecture.load(file)
    if (file.parent / "space.json").exists():  # of the same run: its number of nodes may be its own
        return architecture, read_space(file.parent)
    return architecture, named_space(architecture.space)


class PixelNetwork(nn.Module):
    """A trained network behind its normalization: raw pixels to class scores.

    Attributes:
        classes: names of the classes, in the order of the scores.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: CellNetwork, normalize: Normalize, classes: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.classes = tuple(classes)
        self.register_buffer("mean", torch.tensor(normalize.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(normalize.std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """`N x C x H x W`, in the units of the training images (0 to 255 for uint8), to `N x classes`."""
        return self.network((images.float() - self.mean) / self.std)  # type: ignore[no-any-return]


def load_network(run: str | Path, device: str | torch.device = "cpu") -> PixelNetwork:
    """The trained network of a run, in evaluation mode.

    Raises:
        InputError: the run has no readable network.
    """
    path = Path(run) / "network.pt"
    try:
        saved: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        if saved["format"] != NETWORK_FORMAT:
            raise InputError(f"it has format {saved['format']!r}, but this oche reads format {NETWORK_FORMAT}")
        network = Space.from_json(saved["space"]).network(
            Architecture.from_json(saved["architecture"]), ImageTask(**saved["task"]), Stack(**saved["stack"])
        )
        network.load_state_dict(saved["weights"])
        normalize = Normalize(tuple(saved["mean"]), tuple(saved["std"]))
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, UnpicklingError, InputError) as error:
        raise InputError(f"cannot read a network from {str(path)!r}: {error}") from None
    return PixelNetwork(network, normalize, saved["classes"]).to(device).eval()


class _Job:
    """What every command sets up first: device, threads, data, console, and (once all is checked) a directory."""

    dataset: Dataset
    directory: RunDirectory

    def __init__(self, options: CommonOptions) -> None:
        self.options = options
        self.fits_batch = True
        self._result: dict[str, Any] = {}
        self._start = time.monotonic()
        if options.threads is not None:
            if options.threads < 1:
                raise InputError(f"--threads must be at least 1, but got {options.threads}")
            torch.set_num_threads(options.threads)
        self.device = api.resolve_device(options.device)
        self.preset: Preset = resolve_preset(options, self.device)
        self.console = Console()

    def load(self, data: NamedData) -> None:
        """Read the data and repeat what it says about itself."""
        self.dataset = load(data.name, data, self.options.seed)
        for note in self.dataset.notes:
            self.say(note)

    def open(self, name: str, command: str, **resolved: object) -> None:
        """Make the run directory and write down what is about to be run, and with which parts."""
        self.directory = RunDirectory(self.options.run, name)
        self.directory.write_start(self.options, self.dataset, self.device, command)
        self.directory.write_json("resolved.json", described({"augment": self.dataset.augment, **resolved}))

    def add_result(self, name: str, value: Any) -> None:
        """Write a finished piece down at once, so that what comes after it cannot lose it."""
        self._result[name] = value
        self.directory.write_json("result.json", self._result)

    def check_search(self, space: Space, batch: int | None, chosen: Method, validation: float) -> None:
        """Refuse a search that could not start, before a directory is made."""
        space.supernet_stack.kinds(self.dataset.task)
        seed, cpu = self.options.seed, torch.device("cpu")
        search_feed(self.dataset, batch or chosen.batch, seed, cpu, validation, fit=batch is None)

    def check_training(self, rules: TrainingProtocol, options: TrainOptions) -> None:
        """Refuse a training that could not start, before a search spends time."""
        rules.stack.kinds(self.dataset.task)
        self.fits_batch = options.batch is None
        training_feed(self.dataset, rules, self.options.seed, torch.device("cpu"), fit=self.fits_batch)

    @property
    def listeners(self) -> Sequence[Listener]:
        """The progress display and the run directory."""
        return (progress(self.console), self.directory)

    def share(self, part: float) -> float | None:
        """A part of the time that is left, in seconds; None without a time limit."""
        if self.options.time_limit is None:
            return None
        left = self.options.time_limit.seconds - (time.monotonic() - self._start)
        return max(part * left, SHORTEST)

    def say(self, text: str) -> None:
        """A line for the user."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _check_kinds(space: Space, rules: TrainingProtocol, task: ImageTask) -> None:
    """Refuse a network with a kind of cell that its supernet lacks, before the search spends time."""
    for kind in rules.stack.kinds(task):
        if kind not in space.supernet_stack.kinds(task):
            raise InputError(
                f"the network has {kind} cells, but the supernet of {space.supernet_stack.cells} cells has none, so "
                "none would be searched; give --train.reductions 0, or more --space.cells or --space.reductions"
            )


def _search(
    job: _Job, options: SearchCommand, chosen: Method, space: Space, validation: float, share: float
) -> api.SearchResult:
    """Search, tell what came out, and write it down."""
    found = api.search(
        space,
        data=job.dataset,
        method=chosen,
        preset=options.preset,
        epochs=options.search.epochs,
        batch=options.search.batch,
        logit_lr=options.search.logit_lr,
        validation=validation,
        time_limit=job.share(share),
        seed=options.seed,
        device=job.device,
        listeners=job.listeners,
    )
    _write_architecture(job, space, found.architecture)
    facts = {"steps": found.found.steps, "seconds": found.found.seconds, "stopped": found.found.stopped}
    job.add_result("search", facts | {"verdict": str(found.verdict), **asdict(found.verdict)})
    job.directory.write_json("method.json", described(found.method))
    if found.found.stopped:
        job.say(f"search stopped: {found.found.stopped}")
    rate = found.method.logit_optimizer.lr.at(0)
    job.say(draw(space, found.architecture))
    job.say(f"search: {found.found.steps} steps in {found.found.seconds:.0f} s, rate of the logits {rate:.2g}")
    job.say(f"verdict: {found.verdict}")
    return found


def _train(
    job: _Job,
    name: str,
    architecture: Architecture,
    space: Space,
    rules: TrainingProtocol,
    time_limit: float | None,
) -> Trained:
    trained = api.train(
        architecture,
        data=job.dataset,
        protocol=rules,
        space=space,
        fit_batch=job.fits_batch,
        time_limit=time_limit,
        seed=job.options.seed,
        device=job.device,
        listeners=job.listeners,
        job=name,
    )
    if trained.stopped:
        job.say(f"{name} stopped: {trained.stopped}")
    return trained


def _finish(job: _Job, network: Trained) -> Trained:
    job.say(f"wrote {job.directory.path}")
    job.say(f"test accuracy {100 * network.test['accuracy']:.2f} %")
    return network


def _write_architecture(job: _Job, space: Space, architecture: Architecture) -> None:
    job.directory.write_text("space.json", space.to_json())
    job.directory.write_text("architecture.json", architecture.to_json() + "\n")
    job.directory.write_text("architecture.txt", draw(space, architecture) + "\n")


def _save_network(job: _Job, architecture: Architecture, space: Space, stack: Stack, trained: Trained) -> None:
    """All that is needed to build the network again and to feed it; the auxiliary head has served its purpose."""
    assert trained.normalize is not None
    weights = {k: v.cpu() for k, v in trained.model.state_dict().items() if not k.startswith("auxiliary.")}
    job.directory.write_tensors(
        "network.pt",
        {
            "format": NETWORK_FORMAT,
            "space": space.to_json(),
            "architecture": architecture.to_json(),
            "task": asdict(job.dataset.task),
            "stack": asdict(stack),
            "classes": list(job.dataset.classes),
            "mean": list(trained.normalize.mean),
            "std": list(trained.normalize.std),
            "weights": weights,
        },
    )


def _scores(trained: Trained) -> dict[str, Any]:
    return {
        "test": dict(trained.test),
        "validation": dict(trained.validation),
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.records),
        "parameters": trained.parameters,
        "seconds": trained.seconds,
        "stopped": trained.stopped,
    }


def _comparison(network: Trained, rivals: Sequence[Trained]) -> str:
    """The found architecture beside the random ones, with their mean and spread."""
    accuracies = [100 * t.test["accuracy"] for t in rivals]
    spread = f" +- {stdev(accuracies):.2f} (standard deviation)" if len(rivals) > 1 else ""
    each = ", ".join(f"{a:.2f}" for a in accuracies)
    lines = [
        f"random architectures, same training: mean {mean(accuracies):.2f} %{spread}, n={len(rivals)}: {each}",
        f"found architecture: {100 * network.test['accuracy']:.2f} %",
    ]
    if any(t.stopped for t in (network, *rivals)):
        epochs = ", ".join(str(len(t.records)) for t in (network, *rivals))
        lines.append(f"the time limit cut the trainings short, not all at one epoch: {epochs}")
    return "\n".join(lines)
