"""Several searches, one choice: by validation, never by test images, and as exact after a kill as any run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import oche
from oche import api, feed
from oche.cli import main
from oche.errors import InputError
from oche.methods import method
from oche.metrics import ACCURACY
from oche.runs.record import RunRecord
from oche.training.protocol import DARTS_CIFAR, TINY
from oche.tries import best, share, short, tries

SIZES = ["--data.limit", "200", "--space.cells", "3", "--space.channels", "4", "--space.nodes", "1"]
SIZES += ["--search.epochs", "1", "--train.epochs", "2", "--train.cells", "3", "--train.channels", "4"]
SIZES += ["--threads", "1", "--probes", "none", "--save-every", "1s", "--quiet"]
RUN = ["run", "--space", "rdarts-s2", "--preset", "tiny", *SIZES]


class SecondLook:
    """A signal that comes after the first step of a job."""

    looks = 0

    @property
    def received(self) -> int | None:
        self.looks += 1
        return 2 if self.looks > 1 else None


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("tries") / "run"
    assert main([*RUN, "--tries", "2", "--run", str(run)]) == 0
    return run


def test_the_choice_is_the_best_by_validation(whole):
    result = json.loads((whole / "result.json").read_text())
    scores = [entry["training"]["validation"] for entry in result["tries"]]
    order = sorted(range(2), key=lambda i: (-scores[i]["accuracy"], scores[i]["loss"], i))
    assert result["search"]["try"] == order[0] + 1
    own = whole / f"architecture-{order[0] + 1}.json"
    assert (whole / "architecture.json").read_text() == own.read_text()
    assert list(RunRecord.read(whole).records) == ["search 1", "try 1", "search 2", "try 2", "train"]


def test_ties_go_to_the_earlier():
    low, high = {"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.75, "loss": 2.0}
    assert best([low, high, high], ACCURACY) == 1
    assert best([high, low, high | {"loss": 1.5}], ACCURACY) == 2
    assert best([low | {"accuracy": float("nan")}, low], ACCURACY) == 1


@pytest.mark.parametrize("job", ["search 2", "try 2"])
def test_a_run_that_was_stopped_in_its_second_try_goes_on_bit_for_bit(whole, kept, tmp_path, monkeypatch, job):
    run = tmp_path / "run"
    name = "search" if job.startswith("search") else "train"
    original, stopped = getattr(api, name), []

    def stop(*args, **more):
        if more["job"] == job and not stopped:
            stopped.append(job)
            more["checkpoints"]._interrupts = SecondLook()
        return original(*args, **more)

    monkeypatch.setattr(api, name, stop)
    assert main([*RUN, "--tries", "2", "--run", str(run)]) == 130
    assert RunRecord.read(run).status == "interrupted"
    assert main(["show", str(run)]) == 0
    assert main(["resume", str(run), "--quiet"]) == 0
    assert kept(run) == kept(whole)


def test_the_choice_reads_no_test_image(tmp_path, monkeypatch):
    job, read = [""], []
    plain, train = feed._Feeder.plain, api.train

    class Guarded:
        """Batches of the test part that tell in which job they are read."""

        def __init__(self, batches):
            self.batches = batches

        def epoch(self, *place):
            read.append(job[0])
            return self.batches.epoch(*place)

    def guarded(feeder, part):
        made = plain(feeder, part)
        return Guarded(made) if part is feeder.dataset.test else made

    def named(*args, **more):
        job[0] = more["job"]
        return train(*args, **more)

    monkeypatch.setattr(feed._Feeder, "plain", guarded)
    monkeypatch.setattr(api, "train", named)
    assert main([*RUN, "--tries", "2", "--run", str(tmp_path / "run")]) == 0
    assert job == ["train"]
    assert read == ["train"]


def test_the_four_temperatures_of_sp_darts_arrive_in_four_searches(tmp_path, monkeypatch):
    searched = []
    search = api.search

    def watched(*args, **more):
        found = search(*args, **more)
        searched.append((found.method.relaxation.t_sparse, more["seed"], more["validation"]))
        return found

    monkeypatch.setattr(api, "search", watched)
    run = tmp_path / "run"
    sizes = ["--preset", "paper", "--tries-epochs", "1", "--train.auxiliary", "0", "--train.batch", "32"]
    sizes += ["--search.batch", "32", "--train.cutout", "2"]
    assert main(["run", "--method", "sp-darts", "--space", "rdarts-s2", *SIZES, *sizes, "--run", str(run)]) == 0
    assert [t for t, _, _ in searched] == [4e-4, 5e-4, 6e-4, 7e-4]
    assert len({seed for _, seed, _ in searched}) == 4
    assert {held_out for _, _, held_out in searched} == {0.1}  # darts-cifar itself holds none out
    assert len(json.loads((run / "result.json").read_text())["tries"]) == 4


def test_reports_know_of_tries(whole, capsys):
    assert main(["show", str(whole)]) == 0
    shown = capsys.readouterr().out
    assert "chosen" in shown
    assert "search 2" in shown
    assert main(["diff", str(whole), str(whole), "--quiet"]) == 0
    assert "no difference" in capsys.readouterr().out
    assert main(["list", str(whole.parent)]) == 0
    assert main(["select", str(whole), "--quiet"]) == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--tries", "0"], "leave --tries out"),
        (["--tries", "method"], "such as 4"),
        (["--tries-epochs", "3"], "give --tries 4"),
        (["--tries", "2", "--tries-epochs", "0"], "an epoch at least"),
    ],
)
def test_what_cannot_be_is_refused_with_the_cure(tmp_path, capsys, words, reason):
    assert main([*RUN, *words, "--run", str(tmp_path / "run")]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_part_that_the_user_fixes_is_the_same_in_all_tries():
    assert method("sp-darts/mixture=softmax").fitted("rdarts-s2").tries == ()
    assert len(tries(method("sp-darts+pt").fitted("rdarts-s2"), 0, None)) == 4
    assert method("sp-darts").fitted("nasbench201").tries == ()


def test_the_short_training_is_the_same_but_shorter():
    assert short(TINY, 2) == replace(TINY, epochs=2)
    assert short(DARTS_CIFAR, 100) == replace(DARTS_CIFAR, epochs=100, validation=0.1, keep_best=False)


def test_a_time_limit_is_shared_fairly():
    left, used = 1.0, []
    for piece in range(6):
        used.append(share(piece, 3, 0.5) * left)
        left -= used[-1]
    assert used == pytest.approx([0.125, 0.5 / 12] * 3)


def test_in_python_the_same_tries_are_made_and_a_second_call_goes_on(tmp_path):
    space = oche.space("rdarts-s2", nodes=1).replace(supernet_stack=oche.Stack(cells=3, channels=4))
    rules = replace(TINY, stack=oche.Stack(cells=3, channels=4))
    images = oche.load("digits", oche.DataOptions(limit=200))

    def searched(**more):
        return oche.search_best(
            space, data=images, tries=2, tries_epochs=1, epochs=1, protocol=rules, probes="none", device="cpu", **more
        )

    first, again = searched(checkpoints=tmp_path), searched(checkpoints=tmp_path)
    scores = [tried.validation for tried in first.tries]
    assert first.chosen == best(scores, ACCURACY)
    assert first.result.architecture == first.tries[first.chosen].architecture
    assert scores == [tried.validation for tried in again.tries]
    with pytest.raises(InputError, match="such as 4"):
        oche.search_best(space, data=images)
