import pytest

from oche.clock import Deadline


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test moves."""
    time = [100.0]
    monkeypatch.setattr("oche.clock.time.monotonic", lambda: time[0])
    return time


def test_a_deadline_passes_when_the_time_is_up(now: list[float]) -> None:
    deadline = Deadline(10)
    assert (deadline.spent, deadline.passed) == (0, False)
    now[0] += 4
    assert (deadline.elapsed, deadline.spent, deadline.passed) == (4, 0.4, False)
    now[0] += 6
    assert (deadline.spent, deadline.passed) == (1, True)
    now[0] += 5


def test_without_a_limit_it_never_passes(now: list[float]) -> None:
    deadline = Deadline()
    now[0] += 1e9
    assert (deadline.elapsed, deadline.spent, deadline.passed) == (1e9, 0, False)
