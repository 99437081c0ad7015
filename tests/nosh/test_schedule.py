"""NOSH against a second, naive formulation; every order of results; a kill at every point."""

import random
from collections.abc import Callable, Iterator
from itertools import count, islice, permutations

import pytest

from oche.architecture import Architecture
from oche.errors import InputError
from oche.nosh.schedule import Job, Levels, Nosh

SMALL = Levels(epochs=(1, 3, 8), width=4, promoted=(2, 1))


def architectures() -> Iterator[Architecture]:
    return (Architecture.of("toy", {"edge": i}) for i in count())


def curve(seed: int) -> Callable[[int, int], float]:
    """A made-up accuracy of every candidate at every level, with ties."""
    return lambda number, level: random.Random(f"{seed}/{number}/{level}").randrange(6) / 10


def finish(nosh: Nosh, label: Callable[[int, int], float | None], rng: random.Random) -> list[Job]:
    """Go on to the end, the jobs that are there in a random order."""
    done = []
    while not nosh.over:
        if nosh.wants:
            nosh.add(islice(architectures(), len(nosh.candidates), len(nosh.candidates) + nosh.wants))
            continue
        job = rng.choice(nosh.jobs)
        nosh.tell(job, label(job.number, job.level), 0.5)
        done.append(job)
    return done


def naive(levels: Levels, budget: int, label: Callable[[int, int], float]) -> tuple[list[list[float]], int]:
    """The three rules of the module, with lists and nothing else; returns labels per candidate, and epochs."""
    labels: list[list[float]] = []
    spent = 0

    def price(level: int) -> int:
        return levels.epochs[level] - (levels.epochs[level - 1] if level and levels.resumed else 0)

    def go_up(n: int) -> None:
        nonlocal spent
        spent += price(len(labels[n]))
        labels[n].append(label(n, len(labels[n]) + 1))

    def best_first(level: int) -> list[int]:
        return sorted((n for n in range(len(labels)) if len(labels[n]) == level), key=lambda n: -labels[n][-1])

    def bill(width: int) -> int:
        return width * price(0) + sum(min(up, width) * price(k) for k, up in enumerate(levels.promoted, 1))

    rounds = 0
    while rounds != levels.rounds:
        width = max((w for w in range(1, levels.width + 1) if spent + bill(w) <= budget), default=0)
        if not width:
            break
        rounds += 1
        for _ in range(width):
            labels.append([])
            go_up(len(labels) - 1)
        for level, up in enumerate(levels.promoted, 1):
            for n in best_first(level)[: min(up, width)]:
                go_up(n)
    while True:
        affordable = [
            (level, n)
            for level in range(len(levels.epochs) - 1, 0, -1)
            for n in best_first(level)[: (budget - spent) // price(level)]
        ]
        if not affordable:
            return labels, spent
        top = affordable[0][0]
        for n in [n for level, n in affordable if level == top]:
            go_up(n)


@pytest.mark.parametrize("resumed", [True, False])
@pytest.mark.parametrize(
    ("epochs", "width", "promoted", "rounds"),
    [
        ((1, 3, 8), 4, (2, 1), None),
        ((2, 3), 3, (3,), None),
        ((5,), 2, (), None),
        ((1, 2, 4, 8), 6, (3, 2, 1), 1),
        ((3, 4), 1, (1,), 2),
    ],
)
def test_it_does_what_the_naive_formulation_does(
    epochs: tuple[int, ...], width: int, promoted: tuple[int, ...], rounds: int | None, resumed: bool
) -> None:
    levels = Levels(epochs=epochs, width=width, promoted=promoted, rounds=rounds, resumed=resumed)
    least = levels.round_cost()
    for budget in range(least, 4 * least):
        label = curve(budget)
        nosh = Nosh(levels, budget)
        finish(nosh, label, random.Random(budget))
        wanted, spent = naive(levels, budget, label)
        assert [c.labels for c in nosh.candidates] == wanted
        assert nosh.spent.epochs == spent <= budget


def test_the_order_of_results_changes_nothing() -> None:
    """All 24 orders of the first level, and two of every later one."""
    label, ends = curve(1), set()
    for order in permutations(range(4)):
        nosh = Nosh(SMALL, 40)
        nosh.add(islice(architectures(), 4))
        for number in order:
            nosh.tell(Job(number, 1), label(number, 1), 0.5)
        while not nosh.over:
            if nosh.wants:
                nosh.add(islice(architectures(), len(nosh.candidates), len(nosh.candidates) + nosh.wants))
            else:
                job = nosh.jobs[-1 if order[0] else 0]
                nosh.tell(job, label(job.number, job.level), 0.5)
        ends.add(tuple(tuple(c.labels) for c in nosh.candidates))
    assert len(ends) == 1


def test_epochs_and_seconds_are_those_of_the_trainings() -> None:
    """Counted candidate by candidate: resumed trainings cost their last level, separate ones the sum of all."""
    for resumed in (True, False):
        nosh = Nosh(Levels(epochs=(2, 5, 11), width=5, promoted=(3, 2), resumed=resumed), 200)
        jobs = finish(nosh, curve(3), random.Random(0))
        reached = [(2, 5, 11)[: c.level] for c in nosh.candidates]
        assert nosh.spent.epochs == sum(max(levels) if resumed else sum(levels) for levels in reached)
        assert nosh.spent.seconds == 0.5 * len(jobs)
        assert len(set(jobs)) == len(jobs), "nothing is trained twice"


def test_nobody_is_discarded() -> None:
    """Who is passed over in the first round goes up in the second, when nobody better has come."""
    nosh = Nosh(Levels(epochs=(1, 2), width=2, promoted=(1,)), 6)
    accuracy = {0: 0.9, 1: 0.8, 2: 0.1, 3: 0.2}
    finish(nosh, lambda number, level: accuracy[number], random.Random(0))
    assert [c.level for c in nosh.candidates] == [2, 2, 1, 1]


def test_ties_go_to_the_earlier_one() -> None:
    nosh = Nosh(Levels(epochs=(1, 2), width=3, promoted=(1,), rounds=1), 4)
    finish(nosh, lambda number, level: 0.5, random.Random(0))
    assert [c.level for c in nosh.candidates] == [2, 1, 1]
    assert nosh.best == 0


def test_a_kill_at_any_point_loses_nothing() -> None:
    """The state is written after every event, read back, and taken to the end: always the same end."""
    label, states = curve(7), []
    nosh = Nosh(SMALL, 45)
    states.append(nosh.to_json())
    rng = random.Random(3)
    while not nosh.over:
        if nosh.wants:
            nosh.add(islice(architectures(), len(nosh.candidates), len(nosh.candidates) + nosh.wants))
        else:
            job = rng.choice(nosh.jobs)
            nosh.tell(job, label(job.number, job.level), 0.5)
        states.append(nosh.to_json())
    for text in states:
        again = Nosh.from_json(text)
        before = again.spent.epochs
        later = finish(again, label, random.Random(4))
        assert again.candidates == nosh.candidates
        assert again.spent == nosh.spent
        assert before + sum(SMALL.cost(job.level) for job in later) == nosh.spent.epochs


def test_a_failed_training_costs_and_stays_where_it_is() -> None:
    """The best of the first level fails at the second; the next one does not take its place in that round."""
    nosh = Nosh(Levels(epochs=(1, 4), width=3, promoted=(1,), rounds=1), 6)
    accuracy = {0: 0.9, 1: 0.8, 2: 0.7}
    finish(nosh, lambda number, level: None if (number, level) == (0, 2) else accuracy[number], random.Random(0))
    assert [(c.level, c.failed) for c in nosh.candidates] == [(1, True), (1, False), (1, False)]
    assert nosh.spent.epochs == 6
    assert nosh.best == 0, "what it reached before still counts"
    nosh = Nosh(Levels(epochs=(1, 4), width=3, promoted=(1,), rounds=1), 9)
    finish(nosh, lambda number, level: float("nan") if (number, level) == (0, 2) else accuracy[number], random.Random())
    assert [c.level for c in nosh.candidates] == [1, 2, 1], "there was budget left for one more promotion"


def test_seconds_end_the_search_between_levels() -> None:
    nosh = Nosh(SMALL, 1000, seconds=2.0)
    finish(nosh, curve(0), random.Random(0))
    assert [c.level for c in nosh.candidates] == [1, 1, 1, 1]
    assert nosh.spent.seconds == 2.0


def test_a_space_without_further_candidates_ends_in_promotions() -> None:
    nosh = Nosh(Levels(epochs=(1, 2), width=4, promoted=(1,)), 1000)
    nosh.add(islice(architectures(), 3))
    finish(nosh, curve(0), random.Random(0))
    assert [c.level for c in nosh.candidates] == [2, 2, 2]
    assert nosh.spent.epochs == 6


def test_pyramid() -> None:
    levels = Levels.pyramid((1, 2, 4, 8), width=10, ratio=3)
    assert levels.promoted == (3, 1, 1)
    assert levels.round_cost() == 10 * 1 + 3 * 1 + 1 * 2 + 1 * 4
    assert Levels.pyramid((12, 200), width=8, ratio=2, resumed=False).round_cost() == 8 * 12 + 4 * 200
    assert Levels.pyramid((12, 200), width=34, resumed=False).promoted == (2,), "12 / 200 of 34"
    assert Levels.pyramid((5, 10, 20, 40), width=16).promoted == (8, 4, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Levels(epochs=(5, 5), width=1, promoted=(1,)), r"must increase.*got 5, 5; such as"),
        (lambda: Levels(epochs=(), width=1), r"must increase.*got none"),
        (lambda: Levels(epochs=(0, 2), width=1, promoted=(1,)), r"must increase from at least 1, but got 0, 2"),
        (lambda: Levels(epochs=(1, 2), width=1), r"2 levels have 1 promotions.*got 0: none"),
        (lambda: Levels(epochs=(1, 2), width=1, promoted=(2,)), r"adds 1 and promotes 2"),
        (lambda: Levels(epochs=(1,), width=0), r"it adds 0"),
        (lambda: Levels(epochs=(1,), width=1, rounds=0), r"rounds=0"),
        (lambda: Levels.pyramid((1, 2), width=4, ratio=0.5), r"ratio >= 1 must hold, but got 0.5"),
        (lambda: Nosh(SMALL, 12), r"costs 13 epochs, but the budget is 12; give at least 13.*1 candidate costs 8"),
        (lambda: Nosh.from_json("[]"), r"no state of NOSH"),
    ],
)
def test_bad_input(make: Callable[[], object], message: str) -> None:
    assert SMALL.round_cost() == 4 * 1 + 2 * 2 + 1 * 5
    with pytest.raises(InputError, match=message):
        make()
