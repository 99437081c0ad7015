"""The pieces that runs are made of: one search, one training, and what is told and kept of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from oche import api
from oche.architecture import Architecture
from oche.config.options import RunCommand, SearchCommand, TrainCommand
from oche.methods import Method
from oche.nn.supernet import logits
from oche.plain import described
from oche.runs.directory import as_json
from oche.runs.record import read_space
from oche.runs.session import Session
from oche.spaces.drawing import draw
from oche.spaces.space import Space
from oche.training.protocol import TrainingProtocol
from oche.training.trainer import Trained

ARCHITECTURE = "architecture.json"


def search(
    session: Session[SearchCommand] | Session[RunCommand],
    name: str,
    method: str | Method,
    rules: TrainingProtocol,
    validation: float,
    seed: int,
    share: float,
    kept: int,
) -> api.SearchResult:
    """One search.

    Args:
        session: of the run.
        name: of the job.
        method: what searches.
        rules: of the training after it.
        validation: the share of the training images that is left alone; the seed of the run decides which.
        seed: of everything else.
        share: of the time that is left.
        kept: bytes for the checkpoints of earlier epochs.
    """
    options = session.options
    checkpoints = session.checkpoints(name, kept)
    found = api.search(
        read_space(session.directory.path),
        data=session.dataset,
        method=method,
        epochs=options.search.epochs,
        batch=options.search.batch,
        bptt=options.search.bptt,
        logit_lr=options.search.logit_lr,
        validation=validation,
        split=options.seed if seed != options.seed else None,
        protocol=rules,
        time_limit=session.share(share),
        seed=seed,
        device=session.device,
        engine=options.engine,
        probes=options.probes,
        listeners=session.listeners,
        checkpoints=checkpoints,
        job=name,
    )
    if found.found.stopped:
        place = f"the state after epoch {len(found.found.records)} is in {checkpoints.newest}"
        session.warn(f"{name} stopped: {found.found.stopped}; {place}")
    return found


def files(found: api.SearchResult) -> dict[str, str]:
    """What a directory keeps of a search, by name."""
    assert isinstance(found.space, Space)  # a run searches a named one
    return {**architecture_files(found.space, found.architecture), "method.json": as_json(described(found.method))}


def architecture_files(space: Space, architecture: Architecture) -> dict[str, str]:
    """An architecture, and drawn."""
    return {ARCHITECTURE: architecture.to_json() + "\n", "architecture.txt": draw(space, architecture) + "\n"}


def facts(found: api.SearchResult) -> dict[str, Any]:
    """What the result says of a search."""
    known: dict[str, Any] = {
        "steps": found.found.steps,
        "seconds": found.found.seconds,
        "stopped": found.found.stopped,
    }
    tuning = found.method.selection.tuning
    if tuning is not None and not found.found.stopped:
        known["evaluations"] = tuning.evaluations(found.space.domain.restrict(logits(found.supernet).keys()))
    known |= {"logit_rate": found.method.logit_optimizer.lr.at(0)}
    known |= {"verdict": str(found.verdict), "status": found.verdict.status}
    looked = asdict(found.found.looked)
    return known | asdict(found.verdict) | {"probe_seconds": looked.pop("seconds"), "probes": looked}


def tell(session: Session[SearchCommand] | Session[RunCommand], found: api.SearchResult) -> None:
    """Say what a search came to."""
    assert isinstance(found.space, Space)
    known = facts(found)
    if "evaluations" in known:
        session.say(f"selection: {known['evaluations']} evaluations of the validation half")
    session.say(draw(found.space, found.architecture))
    rate = known["logit_rate"]
    session.say(f"search: {found.found.steps} steps in {found.found.seconds:.0f} s, rate of the logits {rate:.2g}")
    session.say(f"verdict: {found.verdict}")
    for remedy in found.verdict.remedies:
        session.say(f"         {remedy}")


def train(
    session: Session[TrainCommand] | Session[RunCommand],
    name: str,
    architecture: Architecture,
    space: Space,
    rules: TrainingProtocol,
    share: float,
    *,
    tested: bool = True,
) -> Trained:
    """One training, for a share of the time that is left; `tested` as in `oche.train`."""
    trained = api.train(
        architecture,
        data=session.dataset,
        protocol=rules,
        space=space,
        time_limit=session.share(share),
        seed=session.options.seed,
        device=session.device,
        listeners=session.listeners,
        checkpoints=session.checkpoints(name),
        job=name,
        fit_batch=None if tested else True,
        tested=tested,
    )
    if trained.stopped:
        session.warn(f"{name} stopped: {trained.stopped}; the network is that of epoch {trained.best_epoch}")
    return trained


def scores(trained: Trained) -> dict[str, Any]:
    """What the result says of a training."""
    return {
        "test": dict(trained.test),
        "validation": dict(trained.validation),
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.records),
        "parameters": trained.parameters,
        "seconds": trained.seconds,
        "stopped": trained.stopped,
    }
