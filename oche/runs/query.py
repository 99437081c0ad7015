"""Searches by query in a run directory: what the options come to, the search itself, and what a table says of it.

Where a table knows the space on these data, the search asks the table: no image is read, and what was found is scored
by the table, when the search is over. Elsewhere, or with `--query.train`, every candidate is a training of its own,
and what was found is trained and tested like the result of any other search.

`measurements.jsonl` holds every measurement; a run that was cut off goes on from it. Checkpoints of candidates are in
`candidates/` until the search is over.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.console import Console

from oche.architecture import Architecture
from oche.campaign.data import CampaignData
from oche.campaign.executors import make_executor
from oche.campaign.ledger import Ledger
from oche.campaign.run import Executor, run_campaign
from oche.clock import Deadline
from oche.config.file import as_yaml
from oche.config.options import CampaignOptions, QueryOptions, RunCommand, SearchCommand
from oche.config.resolve import resolve_protocol, resolve_space
from oche.errors import InputError
from oche.feed import search_feed
from oche.files import writing
from oche.interrupt import Interrupted
from oche.medium import TEXT
from oche.nosh.backend import Backend
from oche.nosh.campaign import ALONE, KIND, Campaign, Here, explained, facts
from oche.nosh.progress import CourseProgress
from oche.nosh.search import FULL_TRAININGS, SEARCHES, Course, QuerySearch, query_search
from oche.nosh.training import TrainingBackend
from oche.plain import described
from oche.predict.proxies import Scorer, proxy
from oche.randomness import derive
from oche.report.queries import MEASUREMENTS
from oche.runs.directory import RunDirectory, as_json
from oche.runs.provenance import this_process
from oche.runs.record import read_space
from oche.runs.session import Session
from oche.runs.tables import KnownSchedules, KnownSpace, SearchSession, table_of
from oche.spaces.space import Space
from oche.task import image_task
from oche.training.protocol import protocol

CANDIDATES = "candidates"

PROXY_BATCH = 32
"""Images that a zero-cost proxy sees."""


def is_query(options: object) -> bool:
    """Whether the options ask for a search by query."""
    return isinstance(options, SearchCommand) and options.method in SEARCHES


# -- what is planned -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Planned:
    """A search by query that can begin.

    Attributes:
        search: what is done.
        backend: what measures.
        budget: epochs.
        table: what knows the truth; None: nothing does.
        scorer: of untrained architectures; None: they are not scored.
    """

    search: QuerySearch
    backend: Backend
    budget: int
    table: KnownSpace | None
    scorer: Scorer | None

    @classmethod
    def of(cls, session: SearchSession, work: Path) -> Planned:
        """Refuse what cannot be done.

        Args:
            session: with its options.
            work: where candidates keep their checkpoints.

        Raises:
            InputError: something in the options cannot be used.
        """
        options = session.options
        space = resolve_space(options.space, session.sizes)
        search = _with_options(query_search(options.method), options.query)
        if space.medium is TEXT:
            raise InputError(
                f"{search.name} trains and ranks networks for images; for text give a method with a supernet, such as "
                "--method drnas"
            )
        table = table_of(session)
        backend = table.backend if table is not None else _training(session, space, work)
        budget = options.query.budget or FULL_TRAININGS * backend.epochs[-1]
        return cls(search, backend, budget, table, _scorer(session, space, search, table))

    def course(self, seed: int) -> Course:
        """The search at its beginning; untrained architectures are scored now, if they are at all."""
        untrained = self.search.level_zero(self.scorer)
        return Course(self.search, self.backend, self.budget, seed, untrained=untrained)


def opening(session: SearchSession) -> Callable[[], None]:
    """Check everything, and return what makes the run directory."""
    planned = Planned.of(session, Path(CANDIDATES))
    course = Course(planned.search, planned.backend, planned.budget, session.options.seed)
    options, space = session.options, resolve_space(session.options.space, session.sizes)
    parts = {"space": space, "method": planned.search, "levels": course.nosh.levels}
    if planned.table is None:
        parts |= {"protocol": resolve_protocol(options.train, session.sizes)} if isinstance(options, RunCommand) else {}
        return lambda: session.create(options.method, parts, {"space.json": space.to_json()})
    texts = {
        "config.yaml": as_yaml(session.command, options),
        "resolved.json": as_json(described(parts)),
        "space.json": space.to_json(),
    }
    data = {
        "name": options.data.name,
        "fingerprint": planned.table.fingerprint,
        "notes": [planned.backend.label],
    }

    def open_without_images() -> None:
        process = this_process(session.device)
        session.directory = RunDirectory.create(options.run, options.method, process, data, texts)

    return open_without_images


def reopening(session: SearchSession, path: Path) -> Callable[[], None]:
    """What takes a run directory up again."""
    table = table_of(session)
    if table is None:
        return lambda: session.reopen(path)

    def reopen_without_images() -> None:
        process = this_process(session.device)
        session.directory, changes = RunDirectory.reopen(path, process, lambda: table.fingerprint)
        for change in changes:
            session.warn(f"warning: {change}; the numbers may differ from those of an uninterrupted run")

    return reopen_without_images


def _with_options(search: QuerySearch, options: QueryOptions) -> QuerySearch:
    """The search with what the options say of its shape."""
    given: dict[str, Any] = {"width": options.width, "ratio": options.ratio}
    given["epochs"] = options.levels and options.levels.all
    given = {name: value for name, value in given.items() if value is not None}
    mine = {f.name for f in fields(search.shape)}  # type: ignore[arg-type]  # every shape is a dataclass
    for name in given.keys() - mine:
        option = "levels" if name == "epochs" else name
        raise InputError(f"--query.{option} is of no use to {search.name}; leave it out, or give --method rank-nosh")
    changes: dict[str, Any] = {"shape": replace(search.shape, **given)}  # type: ignore[type-var]
    if options.proxy is not None:
        changes["proxy"] = proxy(options.proxy)
    if options.untrained is not None:
        changes["untrained"] = options.untrained
    return replace(search, **changes)


def _training(session: SearchSession, space: Space, work: Path) -> TrainingBackend:
    """Candidates of the size of the supernet that other searches would have, trained by the rules of the result."""
    options, dataset = session.options, session.dataset
    rules = protocol(session.sizes.protocol)
    if isinstance(options, RunCommand):
        rules = resolve_protocol(options.train, session.sizes)
        space.check_kinds(rules.stack, dataset.task)
    validation, fit = rules.validation, options.search.batch is None
    epochs, batch = options.search.epochs or rules.epochs, options.search.batch or rules.batch
    rules = replace(rules, epochs=epochs, batch=batch, stack=space.supernet_stack, auxiliary=0.0, keep_best=False)
    space.kinds(rules.stack, dataset.task)
    search_feed(dataset, batch, options.seed, torch.device("cpu"), validation, fit=fit)  # refuses what is too few
    return TrainingBackend(
        searched=space,
        data=CampaignData(options.data, dataset.fingerprint, options.seed),
        protocol=rules,
        validation=validation,
        split=options.seed,
        seed=options.seed,
        device=str(session.device),
        fit=fit,
        work=work,
    )


def _scorer(session: SearchSession, space: Space, search: QuerySearch, table: KnownSpace | None) -> Scorer | None:
    seed, batch = session.options.seed, None
    if isinstance(table, KnownSchedules):
        task = table.task
    else:
        task = image_task(space.name, session.dataset.task)
        if search.proxy is not None and search.proxy.sees_images:
            feed = search_feed(session.dataset, PROXY_BATCH, seed, session.device, 0.0, fit=True)
            batch = next(feed.train.epoch(0))
    return search.scorer(space, task, batch, seed)


# -- the pieces of the run -------------------------------------------------------------------------------------------


def find(session: SearchSession, share: float) -> tuple[Architecture, bool]:
    """Search, and tell what came out.

    Args:
        session: at work on its directory.
        share: of a time limit.

    Returns:
        The architecture, and whether a table knows how good it is.

    Raises:
        Interrupted: it was stopped, and can go on.
        InputError: all trainings have failed.
    """
    directory, options = session.directory, session.options
    if "search" in directory.result:
        found_before = directory.result["search"]["architecture"]
        return Architecture.of(read_space(directory.path).name, found_before), table_of(session) is not None
    work = directory.path / CANDIDATES
    planned = Planned.of(session, work)
    course = planned.course(options.seed)
    ledger = Ledger.take(directory.path / MEASUREMENTS, KIND, facts(course, planned.budget, options.seed))
    deadline = Deadline(session.share(share))
    session.say(f"{planned.search.name}: {planned.budget:,} epochs; {planned.backend.label}")
    shown = CourseProgress(Console(), course, quiet=session.output.quiet or session.output.json)
    campaign = Campaign(course, deadline)
    with ledger.lock(), shown.shown():
        try:
            run_campaign(ledger, campaign.ready, _executor(session, planned, shown), shown)
        except Interrupted as stop:
            kept = f"search stopped; {len(ledger.entries)} lines are kept in {MEASUREMENTS}"
            raise Interrupted(stop.signal, kept) from None
    try:
        found = course.found
    except InputError as error:
        raise explained(ledger, error) from None
    nosh, words = course.nosh, _words(course, planned)
    stopped = None if nosh.over else f"the time limit came after {nosh.spent.epochs:,} epochs of training"
    facts_of_search = {
        "verdict": words,
        "stopped": stopped,
        "architecture": dict(found.architecture.items),
        "seconds": deadline.elapsed,
        "budget": planned.budget,
        "epochs": nosh.spent.epochs,
        "training_seconds": nosh.spent.seconds,
        "candidates": len(nosh.candidates),
        "valid_accuracy": found.labels[-1],
        "level": found.level,
    }
    session.add_result("search", facts_of_search)
    if stopped is not None:
        session.warn(f"search stopped: {stopped}")
    session.say(words)
    with writing(work):
        shutil.rmtree(work, ignore_errors=True)
    return found.architecture, planned.table is not None


def score_by_table(session: Session[RunCommand], architecture: Architecture) -> None:
    """What the table says of the architecture, and of random ones if they are asked for."""
    options, directory, table = session.options, session.directory, table_of(session)
    assert table is not None
    space, ranking = table.backend.space, table.ranking
    if "network" not in directory.result:
        session.add_result("network", _scores(table, architecture))
    quartiles = ", ".join(f"{q:.2f}" for q in ranking.quartiles)
    session.say(
        f"by the table: rank {ranking.rank(table.accuracy(architecture)):,} of {len(ranking.accuracies):,} by test "
        f"accuracy; quartiles of all: {quartiles} %"
    )
    count = options.baseline.count if options.baseline else 0
    rivals = [space.sample(Random(derive(options.seed, "baseline", i))) for i in range(count)]
    if rivals:
        session.add_result("random", [{"architecture": dict(r.items)} | _scores(table, r) for r in rivals])


def _scores(table: KnownSpace, architecture: Architecture) -> dict[str, Any]:
    """Like the scores of a training."""
    backend = table.backend
    epochs = backend.epochs[-1]
    measured = backend.measure(architecture, 0, 0, epochs, ALONE)
    with torch.device("meta"):
        network = backend.space.network(architecture, table.task)
    return {
        "test": {"accuracy": table.accuracy(architecture) / 100},
        "validation": {"accuracy": measured.accuracy / 100},
        "best_epoch": epochs,
        "epochs": epochs,
        "parameters": sum(p.numel() for p in network.parameters()),
        "seconds": measured.seconds,
        "stopped": None,
        "source": backend.label,
    }


def _executor(session: SearchSession, planned: Planned, shown: CourseProgress) -> Executor:
    if planned.table is not None:
        return Here()
    query = session.options.query
    workers = query.workers or 1
    threads = max((session.options.threads or 1) // workers, 1)
    where = CampaignOptions(workers=workers, threads=threads, executor=query.executor or "local")
    return make_executor(where, shown.report)


def _words(course: Course, planned: Planned) -> str:
    """What was found, and what it cost."""
    nosh, found = course.nosh, course.found
    reached = ", ".join(
        f"{sum(c.level >= level for c in nosh.candidates):,} for {epochs}"
        for level, epochs in enumerate(nosh.levels.epochs, 1)
    )
    return (
        f"{planned.search.name}: validation accuracy {found.labels[-1]:.2f} % after {course.epochs(found.level)} "
        f"epochs, the best of {len(nosh.candidates):,} architectures (trained {reached} epochs); "
        f"{nosh.spent.epochs:,} of {planned.budget:,} epochs spent"
    )
