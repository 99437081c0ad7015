"""The first signal lets a job save, the second stops it at once."""

import os
import signal
import threading

import pytest

from oche.interrupt import STOPPING, Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_noted_and_the_second_stops_at_once(number, capfd):
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        assert interrupts.received is None
        os.kill(os.getpid(), number)
        assert interrupts.received == number
        assert STOPPING in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_forked_worker_leaves_the_decision_to_its_parent(capfd):
    with Interrupts() as interrupts:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGINT)  # a terminal sends it to the whole group
            os.kill(os.getpid(), signal.SIGTERM)  # a scheduler too
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert interrupts.received is None
    assert STOPPING not in capfd.readouterr().err


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a background job of a shell script
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.received is None
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_closed_standard_error_is_no_reason_to_fail(monkeypatch):
    def broken(*args: object) -> None:
        raise BrokenPipeError

    with Interrupts() as interrupts:
        monkeypatch.setattr("oche.interrupt.os.write", broken)
        os.kill(os.getpid(), signal.SIGINT)
    assert interrupts.received == signal.SIGINT


def test_another_thread_changes_nothing():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter() -> None:
        with Interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
