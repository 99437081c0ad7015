"""Searches by query beside others, scored by the same judge."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oche.architecture import Architecture
from oche.bench.truth import Truth
from oche.campaign.data import CampaignData
from oche.campaign.task import Done, Stopped, Workplace
from oche.campaign.work import work
from oche.compare.query import QueryCell, is_query, parsed
from oche.compare.tasks import Setting
from oche.config.options import NamedData
from oche.errors import InputError
from oche.nn.network import Stack
from oche.nosh.search import RANK_NOSH
from oche.spaces.staged_space import StagedSpace
from oche.training.protocol import protocol

STACK = Stack(cells=1, channels=2, reductions=0)


class Stops:
    def __init__(self, after: int) -> None:
        self._left = after

    @property
    def received(self) -> int | None:
        self._left -= 1
        return None if self._left > 0 else 2


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


def test_names_have_budgets() -> None:
    assert parsed("rank-nosh@5000") == (RANK_NOSH, 5000)
    assert parsed("rank-nosh") == (RANK_NOSH, None)
    assert is_query("evolution@3")
    assert not is_query("darts")
    assert not is_query("random")
    with pytest.raises(InputError, match=r"such as nosh@5000, got 'nosh@many'"):
        parsed("nosh@many")


def test_searches_by_table_need_no_images(
    compare: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.jsonl"
    words = ("--space", "nasbench201", "--data", "cifar10", "--methods", "nosh@1500,random-search@1500,nosh@3000")
    assert compare(path, *words, "--seeds", "2", "--workers", "2", "--baseline", "random-search@1500") == 0
    said = capsys.readouterr().out
    found = entries(path)
    assert len(found) == 6
    for entry in found:
        architecture = Architecture.of("nasbench201", entry["architecture"])
        assert entry["test_accuracy"] == pytest.approx(Truth.embedded().accuracy(architecture, "cifar10"))
        assert entry["epochs"] <= entry["budget_epochs"] == int(entry["cell"]["method"].partition("@")[2])
        assert "costs 12 + 200" in entry["backend"]
    assert "nosh@3000" in said
    before = path.read_bytes()
    files = ("--csv", tmp_path / "a.csv", "--markdown", tmp_path / "a.md", "--figure", tmp_path / "a.png")
    assert compare(path, *files, "--quiet") == 0
    assert path.read_bytes() == before
    assert all(Path(file).stat().st_size for file in files[1::2])


def test_beside_a_search_with_a_supernet(compare: Callable[..., int], tiny: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    words = (*tiny, "--methods", "darts,nosh@1000", "--seeds", "1", "--json", "--keep-supernets")
    assert compare(path, *words) == 0
    assert {entry["cell"]["method"] for entry in entries(path)} == {"darts", "nosh@1000"}
    assert compare(path, "--figure", tmp_path / "a.png") == 0


def test_what_cannot_be_searched_is_refused_first(
    compare: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.jsonl"
    words = ("--space", "nasbench201", "--data", "cifar10", "--methods", "rank-nosh@200")
    assert compare(path, *words) == 2
    assert "costs 404 epochs, but the budget is 200" in " ".join(capsys.readouterr().err.split())
    assert not path.exists()


def test_candidates_are_trained_where_there_is_no_table(tmp_path: Path) -> None:
    """In one go, and stopped again and again."""
    space = StagedSpace(
        name="tiny",
        nodes=2,
        candidates=("none", "skip_connect", "nor_conv_1x1"),
        supernet_stack=STACK,
        network_stack=STACK,
    )
    rules = replace(protocol("bench125"), stack=STACK, epochs=1, batch=20, validation=0.1)
    setting = Setting(
        space=space,
        data=CampaignData.of(NamedData(name="digits", limit=120)),
        truth="digits",
        epochs=2,
        batch=20,
        logit_lr=None,
        validation=0.1,
        protocol=rules,
        random_epochs=2,
        device="cpu",
        threads=1,
        engine="fast",
        work=tmp_path / "whole",
    )
    whole = work(
        QueryCell("random-search@4", 0, setting), Workplace(stop=Stops(10**6), report=lambda share, text: None)
    )
    assert isinstance(whole, Done)
    assert whole.value["epochs"] == 4
    assert whole.value["candidates"] == 2
    assert 0 < whole.value["trained"]["test"] <= 100
    cut, stops = QueryCell("random-search@4", 0, replace(setting, work=tmp_path / "cut")), 0
    while isinstance(outcome := work(cut, Workplace(stop=Stops(7), report=lambda share, text: None)), Stopped):
        stops += 1
    assert isinstance(outcome, Done)
    assert stops > 0
    for name in ("architecture", "found_valid_accuracy", "epochs"):
        assert outcome.value[name] == whole.value[name]
    assert outcome.value["trained"]["test"] == whole.value["trained"]["test"]
