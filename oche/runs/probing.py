"""The command `probe`: do the mixing weights of a searched supernet say how strong its candidates are?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

from torch.nn import functional as F

from oche.api import regularized
from oche.checkpoint import Checkpoints, DamagedError, read_checkpoint
from oche.config.options import OutputOptions, ProbeOptions, RunCommand, SearchCommand, TrainCommand
from oche.config.resolve import resolve_protocol
from oche.errors import InputError
from oche.feed import search_feed
from oche.loop import planned
from oche.methods import Method
from oche.metrics import ACCURACY
from oche.mixture.groups import EdgeGroups
from oche.nn.engine import set_engine
from oche.nn.supernet import logits
from oche.probe.strength import advantages, shuffled, strengths
from oche.randomness import derive
from oche.remaining import Remaining
from oche.report.strength import Diagnosis, draw_diagnosis, print_diagnosis
from oche.report.words import print_json
from oche.runs.record import RunRecord, read_space
from oche.runs.session import Session
from oche.runs.tries import short_of, try_of
from oche.schedule import Constant
from oche.select.scene import Scene
from oche.training.protocol import protocol


def probe(
    path: Path,
    options: RunCommand | SearchCommand | TrainCommand,
    what: ProbeOptions,
    output: OutputOptions = OutputOptions(),
) -> Diagnosis:
    """Look into the supernet of a run's newest search checkpoint; the run stays as it is.

    Args:
        path: the run directory.
        options: as they were resolved when it was made.
        what: to look at.
        output: what to print.

    Raises:
        InputError: the run has no search, or no checkpoint of it that can be read.
    """
    if isinstance(options, TrainCommand):
        raise InputError(f"{str(path)!r} is an oche train, which has no supernet to look into")
    record = RunRecord.read(path)
    kept = _newest(path, record.search_phase)
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
        loss=F.cross_entropy,
        metrics=ACCURACY,
        seed=one.seed,
        device=session.device,
        remaining=Remaining.from_plain(kept["state"]["remaining"]),
        groups=EdgeGroups.of(whole) if plan.search_edges else None,
    )
    open_ = [key for key in scene.domain.edges if not scene.remaining.decided(key)]
    chosen = Random(derive(options.seed, "probe")).sample(open_, min(what.edges, len(open_)))
    keys = [key for key in open_ if key in chosen]
    if what.edges and not keys:
        session.say("every edge of this supernet has been decided, so no candidates are compared")
    display, tuned = session.display, replace(searched, epochs=epochs)
    found = Diagnosis(
        strengths=tuple(strengths(scene, tuned, data, keys, epochs=what.epochs, listeners=display if keys else ())),
        advantages=tuple(advantages(record.records.get(record.search_phase, ()), scene.whole, scene.relaxation)),
        shuffle=shuffled(scene, what.shuffles, display) if what.shuffles else None,
    )
    if what.figure is not None:
        draw_diagnosis(what.figure, found)
    if output.json:
        print_json(asdict(found))
    elif not output.quiet:
        print_diagnosis(found)
        if what.figure is not None:
            session.say(f"wrote {what.figure}")
    return found


def _newest(path: Path, job: str) -> Mapping[str, Any]:
    """What the newest checkpoint of the search holds.

    Raises:
        InputError: there is none that can be read.
    """
    file = Checkpoints(path / "checkpoints", job).newest
    if file is None:
        raise InputError(f"there is no checkpoint of a search in {str(path / 'checkpoints')!r}, so no supernet")
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
