"""The commands `run`, `search`, `train`, `resume` and `select`.

A command first checks everything and makes its directory; then it works through its pieces in order. A finished
piece is written down, and what is written down is not done again: with the checkpoints within a piece, that is all
that resuming needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from shlex import quote
from typing import Any

import torch

from oche.architecture import Architecture
from oche.config.options import OutputOptions, ResumeOptions, RunCommand, SearchCommand, TrainCommand
from oche.config.resolve import (
    fitted,
    resolve,
    resolve_method,
    resolve_protocol,
    resolve_space,
    resolve_tries,
)
from oche.errors import InputError, unknown
from oche.feed import search_feed, training_feed
from oche.files import write_whole
from oche.numbers import part_named
from oche.plain import finite
from oche.randomness import derive
from oche.runs import pieces, query
from oche.runs.kept import read_kept
from oche.runs.network import save_network
from oche.runs.pieces import ARCHITECTURE
from oche.runs.query import is_query
from oche.runs.record import RunRecord, read_space
from oche.runs.session import Session
from oche.runs.tries import search_tries, short_of, try_of
from oche.score import judged_by
from oche.select.recorded import select_recorded
from oche.select.registry import SELECTIONS
from oche.spaces.drawing import draw
from oche.spaces.registry import known_architectures
from oche.spaces.registry import space as named_space
from oche.spaces.space import Space
from oche.training.protocol import TrainingProtocol, protocol

SEARCH_SHARE = 0.5
"""Share of a time limit that the search may use; the networks share what it leaves."""

TRAINING_SHARE = 0.9
"""Share of a network's part that its training may use; validation, test and writing need the rest."""

AT_ONCE = torch.device("cpu")
"""Where batches are formed only to see whether they can be."""


def run(options: RunCommand, output: OutputOptions = OutputOptions()) -> None:
    """Search, select, train, test, and compare with random architectures.

    Raises:
        InputError: something in the options cannot be used; nothing has been trained then.
        Interrupted: it was stopped, and can go on.
    """
    session = Session("run", options, output)
    if is_query(options):
        return _work(session, _query_run, query.opening(session))
    chosen = resolve_method(session.options)
    space = resolve_space(session.options.space, session.sizes, chosen)
    rules = resolve_protocol(session.options.train, session.sizes)
    tries = resolve_tries(session.options, space)
    watched = short_of(session.options, rules) if tries else rules
    _pin_search_batch(session, space, watched.validation)
    _pin_training_batch(session, space, rules)
    # Refuses too few images for the short trainings, before there is a directory.
    training_feed(session.dataset, watched, session.options.seed, AT_ONCE, fit=True)
    space.check_kinds(rules.stack, session.dataset.task)
    rules = resolve_protocol(session.options.train, session.sizes)
    parts = {"space": space, "protocol": rules, "method": chosen}
    return _work(session, _run, lambda: session.create(chosen.name, parts, {"space.json": space.to_json()}))


def search(options: SearchCommand, output: OutputOptions = OutputOptions()) -> None:
    """Search and select.

    Raises:
        InputError: something in the options cannot be used; nothing has been trained then.
        Interrupted: it was stopped, and can go on.
    """
    session = Session("search", options, output)
    if is_query(options):
        return _work(session, _query_alone, query.opening(session))
    chosen = resolve_method(session.options)
    space = resolve_space(session.options.space, session.sizes, chosen)
    _pin_search_batch(session, space, protocol(session.sizes.protocol).validation)
    parts, files = {"space": space, "method": chosen}, {"space.json": space.to_json()}
    return _work(session, _search_alone, lambda: session.create(chosen.name, parts, files))


def train(options: TrainCommand, output: OutputOptions = OutputOptions()) -> None:
    """Train and test a given architecture: a file, a run directory, or a known name.

    Raises:
        InputError: something given cannot be used; nothing has been trained then.
        Interrupted: it was stopped, and can go on.
    """
    architecture, space = find_architecture(options.architecture)
    session = Session("train", options, output)
    forced = fitted(options.train, space, session.sizes)
    session.options = resolve(replace(options, train=forced), session.device)[0]
    rules = resolve_protocol(session.options.train, session.sizes)
    _pin_training_batch(session, space, rules)
    # Refuses what does not fit, before there is a directory.
    space.network(architecture, session.dataset.task, rules.stack)
    rules = resolve_protocol(session.options.train, session.sizes)
    # The directory holds the architecture itself: the file or the run that it came from may change.
    session.options = replace(session.options, architecture=ARCHITECTURE)
    files = {"space.json": space.to_json(), **pieces.architecture_files(space, architecture)}
    parts = {"space": space, "protocol": rules}
    _work(session, _train_alone, lambda: session.create(architecture.space, parts, files))


def resume(
    path: Path,
    command: str,
    options: RunCommand | SearchCommand | TrainCommand,
    changes: ResumeOptions,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Go on with a run that was cut off, bit for bit as if it had not been.

    Args:
        path: the run directory.
        command: that made it.
        options: as they were resolved then.
        changes: where to compute, and where the data lie now.
        output: what to print.

    Raises:
        InputError: more epochs are asked for than were planned, the data have changed, another process works on the
            run, or what it kept cannot be used.
        Interrupted: it was stopped again, and can go on.
    """
    _refuse_other_epochs(path, command, options, changes)
    moved = replace(options.data, name=changes.data or options.data.name, root=changes.root or options.data.root)
    where = {name: getattr(changes, name) for name in ("device", "threads") if getattr(changes, name) is not None}
    session: Session[Any] = Session(command, replace(options, data=moved, **where), output)
    done = RunRecord.read(path)
    if done.status == "complete":
        session.say(f"{path} is complete already; oche show {quote(str(path))} shows it")
        return _tell(session, path, done.result)
    if is_query(session.options):
        return _work(session, QUERY_WORK[command], query.reopening(session, path))
    return _work(session, WORK[command], lambda: session.reopen(path))


def select(
    path: Path,
    options: Callable[[], RunCommand | SearchCommand | TrainCommand],
    *,
    epoch: int | None = None,
    selection: str | None = None,
    save: Path | None = None,
    output: OutputOptions = OutputOptions(),
) -> Architecture:
    """Select an architecture again from what a search has recorded, or from a supernet that it has kept.

    Args:
        path: the run directory.
        options: gives those of the run, as they were resolved, for a rule that looks at the supernet.
        epoch: after which the selection is made (from 1); None: the last one.
        selection: name of the rule; None: the method's own.
        save: a file for the architecture; None: it is only shown.
        output: what to print.

    Raises:
        InputError: the run has recorded no such epoch or kept no supernet of it, the rule is unknown or cannot be used
            here, or the file cannot be written.
    """
    record = RunRecord.read(path)
    recorded = record.records.get(record.search_phase, ())
    if not recorded:
        raise InputError(f"there is nothing to select from: {str(path)!r} has recorded no epoch of a search")
    chosen = recorded[-1]["epoch"] if epoch is None else epoch
    by_epoch = {r["epoch"]: r for r in recorded}
    if chosen not in by_epoch:
        raise InputError(
            f"the search of {str(path)!r} has recorded the epochs 1 to {len(recorded)}, but got --epoch {chosen}"
        )
    space = read_space(path)
    of_run = try_of(record, space.name).method
    rule = of_run.selection if selection is None else part_named(SELECTIONS, selection)
    entry = by_epoch[chosen]
    if rule.tuning is not None:
        raise InputError(
            f"the selection of {selection or of_run.name!r} goes on training between its decisions, so it is part of a "
            f"search: oche search --method {of_run.name} --selection perturbation; here give --selection magnitude"
        )
    if rule.needs_supernet:
        replace(of_run, selection=rule).check(space)
        architecture = rule.select(read_kept(path, options(), output, chosen).scene.concluded)
    else:
        architecture = select_recorded(space.domain, entry["logits"], rule, of_run.relaxation, entry.get("remaining"))
    if save is not None:
        write_whole(save, (architecture.to_json() + "\n").encode())
    if output.json:
        print(json.dumps({"epoch": chosen, "architecture": dict(architecture.items)}))
    elif not output.quiet:
        print(f"{path}, search epoch {chosen}:\n{draw(space, architecture)}")
        if save is not None:
            print(f"wrote {save}; train it with: oche train {quote(str(save))}")
    return architecture


def find_architecture(text: str) -> tuple[Architecture, Space]:
    """An architecture by known name, from a run directory, or from a file; and its space.

    Raises:
        InputError: it is none of these.
    """
    known = known_architectures()
    if text in known:
        return known[text].architecture, named_space(known[text].architecture.space)
    path = Path(text)
    if not path.exists() and (path.suffix or len(path.parts) > 1):
        raise InputError(f"there is no file or run directory {text!r} (looked in {path.parent.resolve()})")
    if not path.exists():
        raise unknown("architecture (no file or run directory is there either)", text, known)
    file = path / ARCHITECTURE if path.is_dir() else path
    if path.is_dir() and not file.exists() and (path / "manifest.json").exists():
        raise InputError(f"the run {text!r} has no architecture yet; go on with: oche resume {quote(text)}")
    architecture = Architecture.load(file)
    if (file.parent / "space.json").exists():  # of the same run: its number of nodes may be its own
        return architecture, read_space(file.parent)
    return architecture, named_space(architecture.space)


# -- before there is a directory -------------------------------------------------------------------------------------


def _pin_search_batch(session: Session[SearchCommand] | Session[RunCommand], space: Space, validation: float) -> None:
    """Refuse a search that could not start; a batch that nobody asked for is no larger than a half of the images."""
    space.kinds(space.supernet_stack, session.dataset.task)
    options, seed = session.options.search, session.options.seed
    asked = options.batch or session.sizes.batch or resolve_method(session.options).batch
    feed = search_feed(session.dataset, asked, seed, AT_ONCE, validation, bptt=options.bptt, fit=options.batch is None)
    session.options = replace(session.options, search=replace(options, batch=feed.batch))


def _pin_training_batch(
    session: Session[TrainCommand] | Session[RunCommand], space: Space, rules: TrainingProtocol
) -> None:
    """The same for a training."""
    space.kinds(rules.stack, session.dataset.task)
    options, seed = session.options.train, session.options.seed
    feed = training_feed(session.dataset, rules, seed, AT_ONCE, fit=options.batch is None)
    session.options = replace(session.options, train=replace(options, batch=feed.batch))


def _refuse_other_epochs(
    path: Path, command: str, options: RunCommand | SearchCommand | TrainCommand, changes: ResumeOptions
) -> None:
    for group in ("search", "train"):
        asked = getattr(changes, group).epochs
        planned = getattr(options, group).epochs if group in vars(options) else None
        if asked is not None and planned is None:
            raise InputError(f"--{group}.epochs {asked}: {str(path)!r} is an oche {command}, which has no such part")
        if asked is not None and asked != planned:
            raise InputError(
                f"the run was planned with {planned} epochs ({group}), and rates and stages follow the plan, so its "
                f"epochs are not those of a run with {asked}; start a new one with: "
                f"oche {command} --config {quote(str(path / 'config.yaml'))} --{group}.epochs {asked}"
            )


# -- the pieces ------------------------------------------------------------------------------------------------------


def _work(session: Session[Any], pieces: Callable[[Session[Any]], None], opening: Callable[[], None]) -> None:
    with session.working(opening):
        pieces(session)
        session.add_result("complete", True)
        session.say(f"wrote {session.directory.path}")
    _tell(session, session.directory.path, session.directory.result)


def _tell(session: Session[Any], path: Path, result: Mapping[str, Any]) -> None:
    if "network" in result:
        scores = result["network"]["test"]
        score = judged_by(scores)
        session.say(f"test {score.name} {score.text(scores[score.name])}")
    if session.output.json:
        print(json.dumps({"run": str(path), **finite(result)}))


def _search_alone(session: Session[SearchCommand]) -> None:
    _search(session, protocol(session.sizes.protocol), 1.0)


def _train_alone(session: Session[TrainCommand]) -> None:
    rules = resolve_protocol(session.options.train, session.sizes)
    _train_found(session, Architecture.load(session.directory.path / ARCHITECTURE), rules, TRAINING_SHARE)


def _run(session: Session[RunCommand]) -> None:
    rules = resolve_protocol(session.options.train, session.sizes)
    tries = resolve_tries(session.options, read_space(session.directory.path))
    if tries:
        architecture = search_tries(session, tries, rules, SEARCH_SHARE)
    else:
        architecture = _search(session, rules, SEARCH_SHARE)
    _train_and_compare(session, architecture)


def _train_and_compare(session: Session[RunCommand], architecture: Architecture) -> None:
    """Train what was found, and random architectures beside it."""
    rules = resolve_protocol(session.options.train, session.sizes)
    count = session.options.baseline.count if session.options.baseline else 0
    _train_found(session, architecture, rules, TRAINING_SHARE / (count + 1))

    space = read_space(session.directory.path)
    scores = list(session.directory.result.get("random", ()))
    for i in range(len(scores), count):
        rival = space.sample(Random(derive(session.options.seed, "baseline", i)))
        trained = pieces.train(session, _rival(i), rival, space, rules, TRAINING_SHARE / (count - i))
        scores.append({"architecture": dict(rival.items)} | pieces.scores(trained))
        session.add_result("random", scores)
    for i in range(count):
        session.checkpoints(_rival(i)).discard()
    if scores:
        session.say(_comparison(session.directory.result["network"], scores))


def _query_alone(session: Session[SearchCommand]) -> None:
    _query(session, 1.0)


def _query_run(session: Session[RunCommand]) -> None:
    architecture, by_table = _query(session, SEARCH_SHARE)
    if by_table:
        query.score_by_table(session, architecture)
    else:
        _train_and_compare(session, architecture)


def _query(session: Session[SearchCommand] | Session[RunCommand], share: float) -> tuple[Architecture, bool]:
    """Search by query; what is found is drawn and written down, and it is said whether a table knows it."""
    architecture, by_table = query.find(session, share)
    if not (session.directory.path / ARCHITECTURE).exists():
        space = read_space(session.directory.path)
        for name, text in pieces.architecture_files(space, architecture).items():
            session.directory.write_text(name, text)
        session.say(draw(space, architecture))
    return architecture, by_table


def _rival(number: int) -> str:
    return f"random {number + 1}"


def _search(
    session: Session[SearchCommand] | Session[RunCommand], rules: TrainingProtocol, share: float
) -> Architecture:
    """Search, tell what came out, and write it down."""
    directory, options = session.directory, session.options
    if "search" not in directory.result:
        found = pieces.search(
            session, "search", options.recipe, rules, rules.validation, options.seed, share, options.keep.bytes
        )
        for name, text in pieces.files(found).items():
            directory.write_text(name, text)
        session.add_result("search", pieces.facts(found))
        pieces.tell(session, found)
    return Architecture.load(directory.path / ARCHITECTURE)


def _train_found(
    session: Session[TrainCommand] | Session[RunCommand],
    architecture: Architecture,
    rules: TrainingProtocol,
    share: float,
) -> None:
    """Train the network that is delivered."""
    if "network" not in session.directory.result:
        space = read_space(session.directory.path)
        trained = pieces.train(session, "train", architecture, space, rules, share)
        save_network(session.directory.path, trained, architecture, space, rules.stack, session.dataset)
        session.add_result("network", pieces.scores(trained))
    session.checkpoints("train").discard()


WORK: dict[str, Callable[[Session[Any]], None]] = {"run": _run, "search": _search_alone, "train": _train_alone}
QUERY_WORK: dict[str, Callable[[Session[Any]], None]] = {"run": _query_run, "search": _query_alone}


def _comparison(network: Mapping[str, Any], rivals: Sequence[Mapping[str, Any]]) -> str:
    """The found architecture beside the random ones, with their mean and spread."""
    score = judged_by(network["test"])
    values = [rival["test"][score.name] for rival in rivals]
    lines = [
        f"random architectures, same training: {', '.join(map(score.text, values))}",
        f"found architecture: {score.text(network['test'][score.name])}",
        score.compared(network["test"][score.name], values, "random"),
    ]
    if any(r["stopped"] for r in (network, *rivals)):
        epochs = ", ".join(str(r["epochs"]) for r in (network, *rivals))
        lines.append(f"the time limit cut the trainings short, not all at one epoch: {epochs}")
    return "\n".join(lines)
