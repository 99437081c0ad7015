"""A run with several searches of which one is chosen (`oche.tries`)."""

from __future__ import annotations

from dataclasses import replace

from oche.architecture import Architecture
from oche.config.options import RunCommand, Tries
from oche.methods import method
from oche.runs import pieces
from oche.runs.record import RunRecord, read_space
from oche.runs.session import Session
from oche.score import judged_by
from oche.training.protocol import TrainingProtocol
from oche.tries import Try, best, share, short, tries


def short_of(options: RunCommand, rules: TrainingProtocol) -> TrainingProtocol:
    """The short training of a run with several searches."""
    assert options.tries_epochs is not None  # resolved together with the tries
    return short(rules, options.tries_epochs)


def search_tries(
    session: Session[RunCommand], planned: tuple[Try, ...], rules: TrainingProtocol, whole: float
) -> Architecture:
    """Search several times, train each architecture for a short while, and take the best by validation.

    Every search and every short training is written down when it is done. All short trainings have the seed of the
    run, so that they see the same images in the same order.

    Args:
        session: of the run.
        planned: the searches.
        rules: of the training of the one that is chosen.
        whole: the part of a time limit for all of this.
    """
    directory, count = session.directory, len(planned)
    space, brief = read_space(directory.path), short_of(session.options, rules)
    done = [dict(entry) for entry in directory.result.get("tries", ())]
    for number, one in enumerate(planned, 1):
        searching, training = (share(2 * (number - 1) + i, count, whole) for i in (0, 1))
        if len(done) < number:
            session.say(f"try {number} of {count}: {one.label}")
            kept = session.options.keep.bytes // count
            found = pieces.search(
                session, f"search {number}", one.method, rules, brief.validation, one.seed, searching, kept
            )
            for name, text in pieces.files(found).items():
                directory.write_text(_own(name, number), text)
            done.append({"label": one.label, "seed": one.seed, "search": pieces.facts(found)})
            session.add_result("tries", done)
            pieces.tell(session, found)
        if "training" not in done[number - 1]:
            architecture = Architecture.load(directory.path / _own(pieces.ARCHITECTURE, number))
            trained = pieces.train(session, f"try {number}", architecture, space, brief, training, tested=False)
            scores = {name: value for name, value in pieces.scores(trained).items() if name != "test"}
            done[number - 1]["training"] = scores
            session.add_result("tries", done)
            judged, known = judged_by(scores["validation"]), scores["validation"]
            session.say(f"try {number} of {count}: validation {judged.name} {judged.text(known[judged.name])}")
    if "search" not in directory.result:
        chosen = best([entry["training"]["validation"] for entry in done], space.medium.metrics)
        for name in (pieces.ARCHITECTURE, "architecture.txt", "method.json"):
            directory.write_text(name, (directory.path / _own(name, chosen + 1)).read_text(encoding="utf-8"))
        session.add_result("search", done[chosen]["search"] | {"try": chosen + 1})
        session.say(f"chosen: try {chosen + 1} of {count}, {done[chosen]['label']}")
        if any(entry["training"]["stopped"] for entry in done):
            epochs = ", ".join(str(entry["training"]["epochs"]) for entry in done)
            session.warn(f"the short trainings did not all come to one end, so the choice is uncertain: {epochs}")
    for number in range(1, count + 1):
        session.checkpoints(f"try {number}").discard()
    return Architecture.load(directory.path / pieces.ARCHITECTURE)


def try_of(record: RunRecord, space: str) -> Try:
    """The search of a run that counts: the only one, the chosen one, or the last that has begun."""
    assert record.method is not None  # it has a search
    seed = int(record.options["seed"])
    searched = method(record.method).fitted(space, record.data["name"])
    if record.search_phase == "search":
        return Try(method=replace(searched, tries=()), seed=seed, label="")
    number = int(record.search_phase.removeprefix("search "))
    return tries(searched, seed, Tries.parse(str(record.options["tries"])).count)[number - 1]


def _own(name: str, number: int) -> str:
    """`architecture.json` of the second try is `architecture-2.json`."""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}-{number}.{suffix}"
