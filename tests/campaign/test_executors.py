"""From options to an executor."""

import io
import os

import pytest
from rich.console import Console
from sample_tasks import Double, Raises

from oche.campaign.executors import make_executor, worker_count
from oche.campaign.local import LocalProcesses
from oche.campaign.watch import CampaignProgress
from oche.config.options import CampaignOptions


def test_cells_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores in (1, 2, 7, 64):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        for threads in (1, 2, 8):
            count = worker_count(CampaignOptions(threads=threads))
            assert count >= 1
            assert count * threads <= max(cores, threads)
            assert (count + 1) * threads > cores
    assert worker_count(CampaignOptions(workers=100, threads=3)) == 100


def test_processes_are_started_when_there_is_something_to_do() -> None:
    executor = make_executor(CampaignOptions(workers=3), lambda *words: None)
    assert isinstance(executor, LocalProcesses)
    assert (executor.free, executor.running) == (3, 0)
    assert executor.outcomes() == []
    executor.close()


def shown(terminal: bool, quiet: bool = False) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=200)
    progress = CampaignProgress(console, 2, lambda entry: f"[doubled] {entry['double']}", quiet=quiet)
    with progress.shown():
        progress.report(Double(1).cell, 0.5, "half [way]")
        progress.finished({"cell": Double(1).cell, "status": "done", "double": 2})
        progress.finished({"cell": Raises(2).cell, "status": "failed", "error": "no [memory]"})
    return text.getvalue()


def test_a_line_for_each_finished_cell() -> None:
    assert shown(terminal=False).splitlines() == [
        "1/2  Double, number 1: [doubled] 2",
        "2/2  Raises, number 2: failed: no [memory]",
    ]
    assert shown(terminal=False, quiet=True) == shown(terminal=True, quiet=True) == ""


def test_a_terminal_has_a_bar_too() -> None:
    text = shown(terminal=True)
    assert "[doubled] 2" in text
    assert "2/2" in text
    assert "left" in text
