"""The supernet of a run, from a checkpoint of its search, with what a selection or a probe needs to look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oche.api import regularized
from oche.checkpoint import Checkpoints, DamagedError, read_checkpoint
from oche.config.options import OutputOptions, RunCommand, SearchCommand, TrainCommand
from oche.config.resolve import resolve_protocol
from oche.consistency import set_regularization
from oche.data.halves import SearchData
from oche.errors import InputError
from oche.feed import search_feed
from oche.loop import planned
from oche.methods import Method
from oche.mixture.groups import EdgeGroups
from oche.nn.engine import set_engine
from oche.nn.supernet import logits
from oche.remaining import Remaining
from oche.runs.record import RunRecord, read_space
from oche.runs.session import Session
from oche.runs.tries import short_of, try_of
from oche.schedule import Constant
from oche.select.scene import Scene
from oche.training.protocol import protocol


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A supernet as a search had left it.

    Attributes:
        scene: the supernet and the half of the images that moved its logits.
        data: both halves.
        method: as it was run.
        record: of the run.
        session: says things, and knows the options.
    """

    scene: Scene
    data: SearchData
    method: Method
    record: RunRecord
    session: Session[Any]


def read_kept(
    path: Path, options: RunCommand | SearchCommand | TrainCommand, output: OutputOptions, epoch: int | None = None
) -> Kept:
    """Read the checkpoint of a run's search; the run stays as it is.

    Args:
        path: the run directory.
        options: as they were resolved when it was made.
        output: what to print.
        epoch: after which the supernet is wanted (from 1); None: the newest.

    Raises:
        InputError: the run has no search, or no such checkpoint of it that can be read.
    """
    if isinstance(options, TrainCommand):
        raise InputError(f"{str(path)!r} is an oche train, which has no supernet to look into")
    record = RunRecord.read(path)
    kept = _checkpoint(path, record.search_phase, epoch)
    space = read_space(path)
    session: Session[Any] = Session(record.command, options, output)
    sizes = session.sizes
    rules = resolve_protocol(options.train, sizes) if isinstance(options, RunCommand) else protocol(sizes.protocol)
    one = try_of(record, space.name)
    searched = regularized(_as_it_was_run(record, one.method), rules, space, images=True)
    numbers = searched.regularization.numbers
    supernet = space.supernet(session.dataset.task, searched.structure, auxiliary=numbers.auxiliary > 0)
    whole = space.domain.restrict(logits(supernet).keys())
    for stage in searched.stages:
        supernet.add_logits(stage.logits(whole))
    try:
        supernet.load_state_dict(kept["state"]["supernet"])
    except RuntimeError as error:
        raise InputError(f"the supernet kept in {str(path)!r} is not that of its space.json: {error}") from None
    set_regularization(supernet.body, numbers)
    supernet = supernet.to(session.device)
    set_engine(supernet, options.engine)
    assert options.search.batch is not None  # the run has written down what it took
    held_out = rules.validation
    if isinstance(options, RunCommand) and options.tries_epochs is not None:
        held_out = short_of(options, rules).validation
    data = search_feed(
        session.dataset,
        options.search.batch,
        one.seed,
        session.device,
        held_out,
        bptt=options.search.bptt,
        cutout=numbers.cutout,
        split=options.seed,
    )
    epochs = options.search.epochs or searched.epochs
    plan = planned(searched, min(kept["position"]["epoch"], epochs - 1), epochs)
    scene = Scene(
        whole=whole,
        supernet=supernet,
        relaxation=plan.relaxation,
        images=data.evaluation,
        loss=space.medium.loss,
        metrics=space.medium.metrics,
        seed=one.seed,
        device=session.device,
        remaining=Remaining.from_plain(kept["state"]["remaining"]),
        groups=EdgeGroups.of(whole) if plan.search_edges else None,
    )
    tuned = replace(searched, epochs=epochs)
    return Kept(scene=scene, data=data, method=tuned, record=record, session=session)


def _checkpoint(path: Path, job: str, epoch: int | None) -> Mapping[str, Any]:
    """What a checkpoint of the search holds.

    Raises:
        InputError: there is none that can be read.
    """
    checkpoints = Checkpoints(path / "checkpoints", job)
    file = checkpoints.newest if epoch is None else checkpoints.after(epoch)
    if file is None:
        there = ", ".join(map(str, checkpoints.epochs)) or "none"
        what = "the search" if epoch is None else f"epoch {epoch} of the search"
        raise InputError(
            f"there is no checkpoint of {what} in {str(path / 'checkpoints')!r}, so no supernet (there are those after "
            f"the epochs: {there}); --keep decides how many a run keeps"
        )
    try:
        return read_checkpoint(file)
    except DamagedError as error:
        raise InputError(f"{error}; oche resume makes another one from the checkpoint before it") from None


def _as_it_was_run(record: RunRecord, searched: Method) -> Method:
    """The method with the rate of the logits that the search used, if it says so."""
    rate = (record.scores(record.search_phase) or {}).get("logit_rate")
    if rate is None:
        return searched
    return replace(searched, logit_optimizer=searched.logit_optimizer.at_rate(Constant(rate)))
