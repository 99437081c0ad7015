import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from oche.citations import BIBTEX, bibliography
from oche.config.options import OutputOptions
from oche.errors import InputError
from oche.methods import METHODS, method
from oche.mixture.registry import MIXTURES
from oche.mixture.softmax import Softmax
from oche.plain import described
from oche.report.cite import cite_run
from oche.spaces.registry import SPACES

STORED = Path(__file__).parents[1] / "runs" / "stored"
TEXT, QUIET, JSON = OutputOptions(), OutputOptions(quiet=True), OutputOptions(json=True)


@pytest.fixture(params=["format-1", "format-2"])
def run(tmp_path, request) -> Path:
    return Path(shutil.copytree(STORED / request.param, tmp_path / "run"))


@pytest.fixture
def new(tmp_path) -> Path:
    return Path(shutil.copytree(STORED / "format-2", tmp_path / "run"))


def cited(capsys, run: Path) -> list[str]:
    """The short names, after a look at their agreement with the other forms."""
    cite_run(run, QUIET)
    names = capsys.readouterr().out.split()
    cite_run(run, JSON)
    assert json.loads(capsys.readouterr().out) == {name: BIBTEX[name] for name in names}
    cite_run(run, TEXT)
    assert capsys.readouterr().out == "\n\n".join(BIBTEX[name] for name in names) + "\n"
    return names


def in_space(run: Path, name: str) -> None:
    parts = json.loads((run / "resolved.json").read_text())
    parts["space"]["name"] = name
    (run / "resolved.json").write_text(json.dumps(parts))


def test_stored_runs_of_both_formats_cite_method_and_space(capsys, run):
    assert cited(capsys, run) == ["darts", "rdarts"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_the_parts_that_were_written_down_are_cited(capsys, new, method, space):
    in_space(new, space)
    (new / "method.json").write_text(json.dumps(described(METHODS[method].fitted(space))))
    expected = dict.fromkeys([*bibliography(METHODS[method]), space])
    assert cited(capsys, new) == list(expected)


def test_before_its_search_is_over_a_run_cites_the_method_that_was_asked_for(capsys, new):
    (new / "method.json").unlink()
    config = new / "config.yaml"
    config.write_text(config.read_text().replace("method: darts", "method: sp-darts"))
    assert cited(capsys, new) == ["sp-darts", "darts", "rdarts"]


def test_a_composed_method_cites_the_parts_that_it_has(capsys, new):
    (new / "method.json").unlink()
    config = new / "config.yaml"
    config.write_text(config.read_text() + "mixture: batch-mixed\nselection: decorrelation\n")
    assert cited(capsys, new) == ["sp-darts", "darts", "idarts", "rdarts"]


def test_a_part_of_a_package_brings_its_paper(capsys, new, monkeypatch):
    @dataclass(frozen=True)
    class Mine(Softmax):
        CITES: ClassVar = ("mine", "unheard-of")
        BIBTEX: ClassVar = {"mine": "@article{mine}"}

    monkeypatch.setitem(MIXTURES, "mine", Mine())
    (new / "method.json").write_text(json.dumps(described(method("darts/mixture=mine"))))
    cite_run(new, JSON)
    assert json.loads(capsys.readouterr().out)["mine"] == "@article{mine}"
    assert bibliography(Mine()) == {"mine": "@article{mine}"}


def test_a_training_alone_cites_its_space(capsys, new):
    (new / "method.json").unlink()
    config = new / "config.yaml"
    config.write_text(config.read_text().replace("method: darts\n", ""))
    assert cited(capsys, new) == ["rdarts"]


def test_a_space_of_ones_own_has_no_paper(capsys, new):
    in_space(new, "mine")
    assert cited(capsys, new) == ["darts"]


@pytest.mark.parametrize("name", SPACES)
def test_every_named_space_has_its_paper(capsys, new, name):
    in_space(new, name)
    (new / "method.json").write_text(json.dumps(described(METHODS["drnas"])))
    starts = ("darts", "rdarts", "idarts", "sepskip", "allegro", "nasbench201", "bench125", "recurrent")
    begins = next(p for p in starts if name.startswith(p))
    assert {"bench125": "nasbench201", "sepskip": "amended", "recurrent": "darts"}.get(begins, begins) in cited(
        capsys, new
    )


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run directory"):
        cite_run(tmp_path, TEXT)
