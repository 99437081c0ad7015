"""What is proposed: never what is known, always the same, and by each method's own rule."""

from dataclasses import replace
from random import Random

import pytest

from oche.architecture import Architecture
from oche.bench.encoding import from_index
from oche.errors import InputError
from oche.nosh.backend import ScheduleBackend
from oche.nosh.proposals import Evolution, Known, LocalSearch, Proposals, Ranked, Uniform, drawn
from oche.nosh.schedule import Candidate, Levels
from oche.predict.ranking import RankingSettings
from oche.spaces.registry import space
from oche.spaces.space import Space

QUICK = RankingSettings(members=2, steps=60, width=16)
WHOLE = Levels(epochs=(200,), width=1)
BENCH201 = space("nasbench201")


def convolutions(architecture: Architecture) -> float:
    """Something to be good at."""
    return float(sum("conv" in str(c) for _, c in architecture.items))


def known(of: Space, count: int, seed: int = 0) -> Known:
    there = drawn(of, set(), count, Random(seed))
    return Known(of, WHOLE, [Candidate(a, [convolutions(a)]) for a in there], seed)


@pytest.mark.parametrize("proposals", [Uniform(), Ranked(ranking=QUICK), Evolution(), LocalSearch()])
@pytest.mark.parametrize("name", ["nasbench201", "darts"])
def test_proposals_are_new_different_of_the_space_and_repeatable(proposals: Proposals, name: str) -> None:
    of = space(name)
    count = 1 if isinstance(proposals, LocalSearch) else 6
    scene = known(of, 30)
    found = proposals.propose(scene, count)
    assert len(set(found)) == count
    assert not set(found) & scene.seen
    for architecture in found:
        of.domain.check(architecture)
    assert proposals.propose(known(of, 30), count) == found
    assert proposals.propose(replace(known(of, 30), seed=1), count) != found


@pytest.mark.parametrize("proposals", [Uniform(), Ranked(ranking=QUICK), Evolution(), LocalSearch()])
def test_all_of_a_small_space_is_proposed_once_and_then_nothing(proposals: Proposals) -> None:
    of = space("bench125")
    candidates: list[Candidate] = []
    step = 1 if isinstance(proposals, LocalSearch) else 25
    while found := proposals.propose(Known(of, WHOLE, candidates, 0), step):
        candidates += [Candidate(a, [convolutions(a)]) for a in found]
    assert len({c.architecture for c in candidates}) == len(candidates) == 125


@pytest.mark.parametrize("name", ["nasbench201", "darts"])
def test_the_ranking_finds_better_ones_than_were_there(name: str) -> None:
    """By enumeration and by mutation."""
    of = space(name)
    scene = known(of, 40)
    found = Ranked(ranking=QUICK, explored=0.0).propose(scene, 5)
    before = sorted(map(convolutions, scene.seen))
    assert min(map(convolutions, found)) >= before[-4]
    assert sum(map(convolutions, found)) / 5 > sum(before) / len(before) + 1


def test_without_labels_it_draws_and_with_level_zero_it_ranks() -> None:
    for there in (0, 7):
        scene = known(BENCH201, there)
        assert Ranked(ranking=QUICK).propose(scene, 4) == Uniform().propose(scene, 4)
    assert Ranked(ranking=QUICK).propose(known(BENCH201, 8), 4) != Uniform().propose(known(BENCH201, 8), 4)
    scene = known(BENCH201, 0)
    untrained = {a: convolutions(a) for a in drawn(BENCH201, set(), 60, Random(5))}
    found = Ranked(ranking=QUICK, explored=0.0).propose(replace(scene, untrained=untrained), 4)
    assert min(map(convolutions, found)) >= 5


def test_labels_overrule_level_zero() -> None:
    """The proxy says the contrary of what training says; where both were trained, training counts."""
    there = drawn(BENCH201, set(), 80, Random(5))
    candidates = [Candidate(a, [convolutions(a)]) for a in there]
    scene = Known(BENCH201, WHOLE, candidates, 0, {a: -convolutions(a) for a in there})
    found = Ranked(ranking=QUICK, explored=0.0).propose(scene, 4)
    assert min(map(convolutions, found)) >= 5


def test_evolution_mutates_the_best_of_the_young() -> None:
    old = [Candidate(from_index(i), [99.0]) for i in range(10)]
    young = [Candidate(from_index(100 + i), [float(i)]) for i in range(20)]
    scene = Known(BENCH201, WHOLE, [*old, *young], 0)
    rule = Evolution(population=20, sample=20)
    (child,) = rule.propose(scene, 1)
    assert child in set(BENCH201.neighbours(young[-1].architecture)), "the old ones are dead, however good"
    few = Known(BENCH201, WHOLE, young[:19], 0)
    assert rule.propose(few, 1) == Uniform().propose(few, 1), "the first population is random"


def test_local_search_climbs_to_an_optimum_and_starts_again() -> None:
    """With the number of convolutions as truth, the only local optima are architectures of nothing but convolutions."""
    candidates: list[Candidate] = []
    for _ in range(120):
        (found,) = LocalSearch().propose(Known(BENCH201, WHOLE, candidates, 0), 1)
        candidates.append(Candidate(found, [convolutions(found)]))
    place, starts = candidates[0], 0
    for candidate in candidates[1:]:
        around = set(BENCH201.neighbours(place.architecture))
        if candidate.architecture not in around:
            starts += 1
            assert around <= {c.architecture for c in candidates[: candidates.index(candidate)]}, "all were tried"
            assert place.labels[0] == 6
            place = candidate
        elif candidate.labels[0] > place.labels[0]:
            place = candidate
    assert starts >= 1


def test_bad_input(schedules: ScheduleBackend) -> None:
    with pytest.raises(InputError, match=r"adds 1 architecture, but got width=2"):
        LocalSearch().propose(known(BENCH201, 3), 2)
    with pytest.raises(InputError, match=r"sample <= population must hold, but got sample=9, population=3"):
        Evolution(population=3, sample=9)
    with pytest.raises(InputError, match=r"explored=2"):
        Ranked(explored=2)
    with pytest.raises(InputError, match=r"adds 200 architectures, but space 'bench125' has 125"):
        Uniform().check(space("bench125"), Levels(epochs=(1,), width=200))
