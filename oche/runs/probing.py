"""The command `probe`: do the mixing weights of a searched supernet say how strong its candidates are?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from random import Random

from oche.config.options import OutputOptions, ProbeOptions, RunCommand, SearchCommand, TrainCommand
from oche.medium import TEXT
from oche.methods import TEXT_TUNING
from oche.probe.strength import FINE_TUNING, advantages, shuffled, strengths
from oche.randomness import derive
from oche.report.strength import Diagnosis, draw_diagnosis, print_diagnosis
from oche.report.words import print_json
from oche.runs.kept import read_kept


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
    kept = read_kept(path, options, output)
    scene, session = kept.scene, kept.session
    text, shuffles = session.dataset.medium is TEXT, what.shuffles
    open_ = [key for key in scene.domain.edges if not scene.remaining.decided(key)]
    chosen = Random(derive(options.seed, "probe")).sample(open_, min(what.edges, len(open_)))
    keys = [key for key in open_ if key in chosen]
    if what.edges and not keys:
        session.say("every edge of this supernet has been decided, so no candidates are compared")
    if text and shuffles:
        session.say("the edges of a recurrent cell have no weights of their own, so none are exchanged")
        shuffles = 0
    display, searched = session.display, kept.record.records.get(kept.record.search_phase, ())
    found = Diagnosis(
        strengths=tuple(
            strengths(
                scene,
                kept.method,
                kept.data,
                keys,
                epochs=what.epochs,
                optimizer=TEXT_TUNING if text else FINE_TUNING,
                listeners=display if keys else (),
            )
        ),
        advantages=tuple(advantages(searched, scene.whole, scene.relaxation)),
        shuffle=shuffled(scene, shuffles, display) if shuffles else None,
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
