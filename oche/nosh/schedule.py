"""Non-uniform successive halving (NOSH): which architecture is trained how far, and what that costs.

Wang-2021, Sec. 4.1.2. Candidates stand on levels 0 (not trained) to K (trained for `epochs[K - 1]` epochs):

1. A round adds `width` candidates at the bottom and trains them to level 1.
2. Then, level by level, the best `promoted[k - 1]` of those that stand exactly on level `k` are trained to `k + 1`.
3. Nobody is discarded: who is passed over in this round may be promoted in a later one.

The thesis gives the idea, not the numbers. Settled here, so that every run is repeatable:

- "The best" is by the accuracy measured at that level; ties go to the candidate that was added first.
- A round begins only if all of it can be paid for. Where a whole one cannot, it is made as narrow as necessary, and
  where not even one new candidate can go all the way up, the rest of the budget is spent on promotions, the highest
  level first.
- A training that fails (a loss that is no number) has cost its epochs, and its candidate is promoted no more.

`Nosh` decides nothing from the order in which results come in: a level's choice is made when all of its results are
there. So any number of processes gives the same search, and telling it the recorded results again gives its state.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from oche.architecture import Architecture
from oche.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Levels:
    """The shape of the pyramid.

    Attributes:
        epochs: of training that each level stands for, from level 1.
        width: candidates that a round adds.
        promoted: how many a round promotes from each level to the next: one number less than `epochs`.
        resumed: whether a promotion goes on from where the training was paused and so costs the difference; False:
            each level is a training of its own and costs all of its epochs (NAS-Bench-201's schedules).
        rounds: at most so many; None: as many as the budget allows.

    Raises:
        InputError: the epochs do not increase, or a level promotes more than arrive there.
    """

    epochs: tuple[int, ...]
    width: int
    promoted: tuple[int, ...] = ()
    resumed: bool = True
    rounds: int | None = None

    def __post_init__(self) -> None:
        steps = (0, *self.epochs)
        if not self.epochs or any(later <= earlier for earlier, later in zip(steps, self.epochs, strict=False)):
            raise InputError(
                f"the epochs of the levels must increase from at least 1, but got {_listed(self.epochs)}; "
                "such as 5,10,20,40"
            )
        if len(self.promoted) != len(self.epochs) - 1:
            raise InputError(
                f"{len(self.epochs)} levels have {len(self.epochs) - 1} promotions between them, but got "
                f"{len(self.promoted)}: {_listed(self.promoted)}"
            )
        arriving = (self.width, *self.promoted)
        if min(arriving) < 1 or any(up > there for there, up in zip(arriving, self.promoted, strict=False)):
            raise InputError(
                "a round adds at least 1 candidate, and from each level at least 1 and at most as many go up as "
                f"arrive, but it adds {self.width} and promotes {_listed(self.promoted)}"
            )
        if self.rounds is not None and self.rounds < 1:
            raise InputError(f"a schedule has at least 1 round, but got rounds={self.rounds}")

    @classmethod
    def pyramid(
        cls,
        epochs: Sequence[int],
        *,
        width: int,
        ratio: float | None = None,
        resumed: bool = True,
        rounds: int | None = None,
    ) -> Levels:
        """Levels with fewer and fewer candidates: rounded down, at least one on each.

        Args:
            epochs: of the levels.
            width: candidates that a round adds.
            ratio: one in so many of those that arrive goes up; None: the more epochs a level has, the fewer go there,
                so that all levels cost about the same, as in successive halving.
            resumed: see the class.
            rounds: see the class.

        Raises:
            InputError: see the class; or the ratio is below 1.
        """
        if ratio is not None and not ratio >= 1:
            raise InputError(f"one in `ratio` candidates goes up, so ratio >= 1 must hold, but got {ratio}")
        shares = [e / max(epochs[0], 1) if ratio is None else ratio**k for k, e in enumerate(epochs)]
        promoted = tuple(max(int(width / max(share, 1)), 1) for share in shares[1:])
        return cls(epochs=tuple(epochs), width=width, promoted=promoted, resumed=resumed, rounds=rounds)

    @property
    def top(self) -> int:
        """The highest level."""
        return len(self.epochs)

    def cost(self, level: int) -> int:
        """Epochs that the step from the level below to `level` (from 1) takes."""
        before = self.epochs[level - 2] if self.resumed and level > 1 else 0
        return self.epochs[level - 1] - before

    def round_cost(self, width: int | None = None) -> int:
        """Epochs of a round that adds `width` candidates (None: a whole one), if none of its trainings fails."""
        width = self.width if width is None else width
        arriving = [width, *(min(up, width) for up in self.promoted)]
        return sum(count * self.cost(level) for level, count in enumerate(arriving, 1))


@dataclass(frozen=True)
class Job:
    """A piece of training: take a candidate to its next level.

    Attributes:
        number: of the candidate.
        level: to reach, from 1.
    """

    number: int
    level: int


@dataclass
class Candidate:
    """An architecture in the pyramid.

    Attributes:
        architecture: which one.
        labels: its validation accuracy at each level that it has reached, from level 1.
        failed: whether a training has failed; it stays where it is.
    """

    architecture: Architecture
    labels: list[float]
    failed: bool = False

    @property
    def level(self) -> int:
        """The highest level reached; 0: none."""
        return len(self.labels)


@dataclass
class Spent:
    """What was paid.

    Attributes:
        epochs: of training.
        seconds: of training, as measured or as the table states.
    """

    epochs: int = 0
    seconds: float = 0.0


class Nosh:
    """The pyramid: asked for what to do next, and told what came out.

    While `wants` is more than 0, new candidates are to be given to `add`; else `jobs` are to be done, in any order and
    any number at a time, and told; when there are none, it is `over`.

    Args:
        levels: the shape.
        budget: epochs that may be spent; never exceeded.
        seconds: of training after which nothing new is begun, however many epochs are left; None: no such limit. What
            has been begun by then is finished.

    Attributes:
        candidates: all that were added, by number.
        spent: what was paid for the results that were told.

    Raises:
        InputError: the budget does not pay for one whole round.
    """

    def __init__(self, levels: Levels, budget: int, seconds: float | None = None) -> None:
        if budget < levels.round_cost():
            chain = levels.round_cost(1)
            raise InputError(
                f"a round adds {levels.width} candidates and costs {levels.round_cost()} epochs, but the budget is "
                f"{budget}; give at least {levels.round_cost()}, or a narrower round: one of 1 candidate costs {chain}"
            )
        self.levels, self.budget, self._seconds = levels, budget, seconds
        self.candidates: list[Candidate] = []
        self.spent = Spent()
        self.wants = levels.width
        self.over = False
        self._rounds = 0
        self._pending: dict[Job, None] = {}  # a set that keeps its order
        self._phase = 0
        """The level that is being trained in this round; 0 between rounds."""
        self._width = 0
        """Candidates that this round was to add; a narrow one promotes no more than these."""
        self._exhausted = False
        self._events: list[dict[str, Any]] = []

    @property
    def jobs(self) -> tuple[Job, ...]:
        """What is to be done now; all of it may be done at once."""
        return tuple(self._pending)

    def add(self, architectures: Iterable[Architecture]) -> None:
        """Begin a round with new candidates.

        Args:
            architectures: `wants` of them, or fewer if there are no more: then no further round is begun.
        """
        added = list(architectures)
        assert 0 < self.wants >= len(added), "candidates are added when and as many as they are wanted"
        self._events.append({"add": [json.loads(a.to_json()) for a in added]})
        self._exhausted, self._width = len(added) < self.wants, self.wants
        first = len(self.candidates)
        self.candidates += [Candidate(architecture, []) for architecture in added]
        self.wants, self._rounds, self._phase = 0, self._rounds + 1, 1
        self._pending = {Job(number, 1): None for number in range(first, len(self.candidates))}
        self._advance()

    def tell(self, job: Job, accuracy: float | None, seconds: float) -> None:
        """A job is done.

        Args:
            job: one of `jobs`.
            accuracy: on the validation data; None, or no number: it failed.
            seconds: that it took.
        """
        assert job in self._pending, f"{job} is not among the jobs"
        del self._pending[job]
        failed = accuracy is None or not math.isfinite(accuracy)
        told = None if failed else accuracy
        self._events.append({"number": job.number, "level": job.level, "accuracy": told, "seconds": seconds})
        candidate = self.candidates[job.number]
        if told is None:
            candidate.failed = True
        else:
            candidate.labels.append(told)
        self.spent.epochs += self.levels.cost(job.level)
        self.spent.seconds += seconds
        self._advance()

    def ranked(self, level: int) -> list[int]:
        """The candidates that can be promoted from a level, the best first."""
        standing = [n for n, c in enumerate(self.candidates) if c.level == level and not c.failed]
        return sorted(standing, key=lambda n: (-self.candidates[n].labels[level - 1], n))

    @property
    def best(self) -> int | None:
        """The best candidate by the highest level that anyone has reached; None: nobody has been trained."""
        level = max((c.level for c in self.candidates), default=0)
        if level == 0:
            return None
        there = [n for n, c in enumerate(self.candidates) if c.level == level]
        return min(there, key=lambda n: (-self.candidates[n].labels[level - 1], n))

    # -- what comes next ---------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Go on as far as it is decided by the results that are there."""
        while not self._pending and not self.wants and not self.over:
            if self._seconds is not None and self.spent.seconds >= self._seconds:
                self.over = True
            elif 0 < self._phase < self.levels.top:
                count = min(self.levels.promoted[self._phase - 1], self._width)
                chosen = self.ranked(self._phase)[:count]
                self._phase += 1
                self._pending = {Job(number, self._phase): None for number in chosen}
            else:
                self._phase = 0
                self.wants = self._affordable_width()
                if not self.wants:
                    self._pending = self._last_promotions()
                    self.over = not self._pending

    @property
    def _left(self) -> int:
        return self.budget - self.spent.epochs

    def _affordable_width(self) -> int:
        if self._exhausted or self._rounds == self.levels.rounds:
            return 0
        widths = range(self.levels.width, 0, -1)
        return next((width for width in widths if self.levels.round_cost(width) <= self._left), 0)

    def _last_promotions(self) -> dict[Job, None]:
        """What is left of the budget goes into the highest level from which somebody can be promoted for it."""
        for level in range(self.levels.top - 1, 0, -1):
            count = self._left // self.levels.cost(level + 1)
            chosen = self.ranked(level)[:count]
            if chosen:
                return {Job(number, level + 1): None for number in chosen}
        return {}

    # -- as text -----------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """JSON text that `from_json` reads back to the same state."""
        facts = {"levels": asdict(self.levels), "budget": self.budget, "seconds": self._seconds}
        return json.dumps({**facts, "events": self._events})

    @classmethod
    def from_json(cls, text: str) -> Nosh:
        """The state that `to_json` wrote.

        Raises:
            InputError: the text is something else.
        """
        try:
            data = json.loads(text)
            levels: dict[str, Any] = {
                name: tuple(v) if isinstance(v, list) else v for name, v in data["levels"].items()
            }
            nosh = cls(Levels(**levels), data["budget"], data["seconds"])
            for event in data["events"]:
                nosh._repeat(event)
        except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
            raise InputError(f"this is no state of NOSH: {type(error).__name__}: {error}") from None
        return nosh

    def _repeat(self, event: Mapping[str, Any]) -> None:
        if "add" in event:
            self.add(Architecture.from_json(json.dumps(architecture)) for architecture in event["add"])
        else:
            self.tell(Job(event["number"], event["level"]), event["accuracy"], event["seconds"])


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
