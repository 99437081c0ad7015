"""Whole searches by the tables: budgets are kept, and the predictor and NOSH are worth their names."""

import time
from dataclasses import replace
from statistics import mean

import pytest

from oche.bench.table import Table
from oche.campaign.task import Workplace
from oche.errors import InputError
from oche.nosh.backend import CurveBackend, ScheduleBackend
from oche.nosh.proposals import Ranked
from oche.nosh.schedule import Levels
from oche.nosh.search import NOSH, RANDOM, RANK_FULL, RANK_NOSH, SEARCHES, Course, Rounds, query_search, run_here
from oche.predict.proxies import Parameters
from oche.predict.ranking import RankingSettings
from oche.task import ImageTask


@pytest.mark.parametrize("name", list(SEARCHES))
def test_a_budget_is_kept_and_used(name: str, curves: CurveBackend, place: Workplace) -> None:
    search = SEARCHES[name]
    if isinstance(search.proposals, Ranked):
        search = replace(search, proposals=Ranked(ranking=RankingSettings(members=2, steps=20)))
    task = ImageTask(channels=1, height=8, width=8, classes=10)
    untrained = search.level_zero(search.scorer(curves.space, task, None, 0))
    assert bool(untrained) == (search.proxy is not None)
    course = Course(search, curves, 400, 0, untrained=untrained)
    found = run_here(course, place)
    nosh = course.nosh
    assert nosh.spent.epochs == sum(course.epochs(c.level) for c in nosh.candidates) <= 400
    dearest = max(nosh.levels.cost(level) for level in range(1, nosh.levels.top + 1))
    assert nosh.spent.epochs > 400 - dearest
    seconds = sum(curves.table.seconds(c.architecture, epoch=course.epochs(c.level), seed=0) for c in nosh.candidates)
    assert nosh.spent.seconds == pytest.approx(seconds)
    assert found.level == nosh.levels.top
    assert found.labels[-1] == max(c.labels[-1] for c in nosh.candidates if c.level == found.level)
    again = Course(search, curves, 400, 0, untrained=untrained)
    assert run_here(again, place) == found
    other = Course(search, curves, 400, 1, untrained=search.level_zero(search.scorer(curves.space, task, None, 1)))
    run_here(other, place)
    assert [c.architecture for c in other.nosh.candidates] != [c.architecture for c in nosh.candidates]


def test_separate_schedules_cost_their_sum(schedules: ScheduleBackend, place: Workplace) -> None:
    course = Course(NOSH, schedules, 3000, 0)
    run_here(course, place)
    levels = [c.level for c in course.nosh.candidates]
    assert course.nosh.spent.epochs == 12 * levels.count(1) + 212 * levels.count(2) <= 3000


def test_successive_halving_is_one_round_as_wide_as_the_budget(curves: CurveBackend, place: Workplace) -> None:
    course = Course(query_search("successive-halving"), curves, 400, 0)
    levels = course.nosh.levels
    assert levels.rounds == 1
    wider = Levels.pyramid(levels.epochs, width=levels.width + 1)
    assert levels.round_cost() <= 400 < wider.round_cost()


def test_it_is_better_than_random_search_and_quick(schedules: ScheduleBackend, place: Workplace) -> None:
    """Some 40 queries on NAS-Bench-201, two seeds; no number of the table's test accuracies is looked at."""
    table = Table.embedded()
    assert table.accuracies("cifar10").mean() < 90

    def accuracies(search: object, budget: int) -> list[float]:
        found = []
        for seed in range(2):
            course = Course(search, schedules, budget, seed)  # type: ignore[arg-type]
            began = time.monotonic()
            found.append(run_here(course, place).labels[-1])
            assert time.monotonic() - began < 60
        return found

    budget = 5000
    assert mean(accuracies(RANK_NOSH, budget)) > mean(accuracies(RANDOM, budget)) + 0.3


def test_a_proxy_search_goes_by_its_proxy_alone(curves: CurveBackend, place: Workplace) -> None:
    search = replace(SEARCHES["proxy-search"], proxy=Parameters(), untrained=50)
    task = ImageTask(channels=1, height=8, width=8, classes=10)
    untrained = search.level_zero(search.scorer(curves.space, task, None, 0))
    assert untrained == {a: float(curves.table.parameters(a)) for a in untrained}
    course = Course(search, curves, 200, 0, untrained=untrained)
    run_here(course, place)
    trained = [untrained[c.architecture] for c in course.nosh.candidates]
    assert trained == sorted(untrained.values(), reverse=True)[:5]


def test_bad_input(curves: CurveBackend, schedules: ScheduleBackend) -> None:
    with pytest.raises(InputError, match=r"costs \d+ epochs, but the budget is 100; give at least"):
        Course(RANK_NOSH, schedules, 100, 0)
    search = replace(RANK_NOSH, shape=Rounds(epochs=(20, 10)))
    with pytest.raises(InputError, match=r"must increase from at least 1, but got 20, 10"):
        Course(search, curves, 400, 0)
    search = replace(RANK_NOSH, shape=Rounds(epochs=(10, 90)))
    with pytest.raises(InputError, match=r"need what is known after 90"):
        Course(search, curves, 1000, 0)
    with pytest.raises(InputError, match="adds 200 architectures, but space 'bench125' has 125"):
        Course(replace(RANK_FULL, shape=Rounds(width=200)), curves, 20_000, 0)
    with pytest.raises(InputError, match="a zero-cost proxy is of no use to random-search"):
        replace(RANDOM, proxy=Parameters())
    with pytest.raises(InputError, match="proxy-search goes by a zero-cost proxy, but there is none"):
        replace(SEARCHES["proxy-search"], proxy=None)
    with pytest.raises(InputError, match="unknown search 'rank-nash'; did you mean 'rank-nosh'"):
        query_search("rank-nash")
