"""Searches by query as cells of a comparison, such as `rank-nosh` or, with a budget of its own, `rank-nosh@5000`.

Where a table knows the truth, the search asks the table, without its test accuracies; elsewhere it trains, as many
epochs as the searches of the comparison last, one candidate after the other in the process of the cell.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oche.bench.curves import CurveTable
from oche.bench.encoding import SPACE as NASBENCH201
from oche.bench.table import Table
from oche.campaign.ledger import Ledger
from oche.campaign.task import Cell, Workplace, cell_slug
from oche.compare.tasks import SPLIT, Setting
from oche.errors import InputError
from oche.methods import method
from oche.nosh.backend import TASKS, Backend, CurveBackend, ScheduleBackend
from oche.nosh.campaign import KIND, Campaign, facts, work_through
from oche.nosh.search import FULL_TRAININGS, SEARCHES, Course, QuerySearch, query_search, run_here
from oche.nosh.training import TrainingBackend
from oche.training.protocol import TrainingProtocol

BUDGET = "@"
"""Between the name of a search and its epochs."""


def is_query(name: str) -> bool:
    """Whether a method of a comparison is a search by query."""
    return name.partition(BUDGET)[0] in SEARCHES


def parsed(name: str) -> tuple[QuerySearch, int | None]:
    """The search, and its budget in epochs; None: as many as 25 full trainings.

    Raises:
        InputError: the budget is no number.
    """
    search, at, budget = name.partition(BUDGET)
    if at and not (budget.isdecimal() and int(budget) > 0):
        raise InputError(f"behind {search}@ stand the epochs that it may spend, such as {search}@5000, got {name!r}")
    return query_search(search), int(budget) if at else None


@dataclass(frozen=True)
class QueryCell:
    """A search by query with one seed.

    Attributes:
        method: its name, perhaps with a budget.
        seed: of everything random.
        setting: what all cells have in common.
    """

    method: str
    seed: int
    setting: Setting

    @property
    def cell(self) -> Cell:
        """See `Task`."""
        return {"method": self.method, **self.setting.names, "seed": self.seed}

    def course(self) -> Course:
        """The search at its beginning.

        Raises:
            InputError: it cannot be made here, such as with a budget below one round.
        """
        search, budget = parsed(self.method)
        backend, setting = self._backend(), self.setting
        by_schedules = isinstance(backend, ScheduleBackend)
        task = TASKS[setting.truth] if by_schedules else setting.data.read().task
        untrained = search.level_zero(search.scorer(setting.space, task, None, self.seed))
        return Course(search, backend, budget or FULL_TRAININGS * backend.epochs[-1], self.seed, untrained=untrained)

    def run(self, workplace: Workplace) -> dict[str, Any]:
        """See `Task`."""
        began, course = time.monotonic(), self.course()
        if self.setting.protocol is None:
            run_here(course, workplace)
        else:
            path = self._directory / "measurements.jsonl"
            ledger = Ledger.take(path, KIND, facts(course, course.nosh.budget, self.seed))
            with ledger.lock():
                work_through(Campaign(course), ledger, workplace)
        nosh, found = course.nosh, course.found
        return {
            "architecture": dict(found.architecture.items),
            "found_valid_accuracy": found.labels[-1],
            "budget_epochs": nosh.budget,
            "epochs": nosh.spent.epochs,
            "candidates": len(nosh.candidates),
            "training_seconds": nosh.spent.seconds,
            "seconds": time.monotonic() - began,
            "backend": course.backend.label,
            **self.setting.facts(),
            **self.setting.test(found.architecture, self.seed),
        }

    @property
    def _directory(self) -> Path:
        return self.setting.work / cell_slug(self.cell)

    def _backend(self) -> Backend:
        setting = self.setting
        if setting.protocol is not None:
            return _training(setting, setting.protocol, self.seed, self._directory)
        if setting.space.name == NASBENCH201:
            known = Table.embedded() if setting.table is None else Table.read(setting.table)
            return ScheduleBackend(known, setting.truth)
        name = setting.space.name
        curves = CurveTable.embedded(name) if setting.table is None else CurveTable.read(setting.table)
        return CurveBackend(curves, self.seed % curves.seeds)


def _training(setting: Setting, rules: TrainingProtocol, seed: int, work: Path) -> TrainingBackend:
    """Candidates as in random search: of the supernet's size, with the numbers of DARTS for the weights."""
    numbers = method("darts")
    protocol = replace(
        rules,
        stack=setting.space.supernet_stack,
        epochs=setting.random_epochs,
        batch=setting.batch or numbers.batch,
        optimizer=numbers.weight_optimizer,
        clip=numbers.clip,
        auxiliary=0.0,
        keep_best=False,
    )
    return TrainingBackend(
        searched=setting.space,
        data=setting.data,
        protocol=protocol,
        validation=setting.validation,
        split=SPLIT,
        seed=seed,
        device=setting.device,
        fit=setting.batch is None,
        work=work,
    )
