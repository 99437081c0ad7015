"""Runs on text at the command line: made, shown, taken up, looked into, exported, and refused."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import yaml

import oche
from oche import api
from oche.cli import main
from oche.nn.network import Stack
from oche.nn.recurrent.cell import Masks
from oche.runs.record import RunRecord
from oche.task import TextTask
from oche.testing.battery import StopAfter
from oche.text.load import load_text
from oche.text.network import TextNetwork
from oche.text.source import source

Kept = Callable[[Path], Any]

PARTS = (
    ("the cat", "the dog", "a bird", "my friend", "the old man"),
    ("sees", "likes", "hears", "follows"),
    ("the river .", "a house .", "the moon .", "an old tree ."),
)

SPACE = ["--space", "recurrent", "--space.nodes", "2", "--space.channels", "8"]
COMMON = ["--threads", "1", "--device", "cpu", "--quiet"]
SEARCH = [*SPACE, "--search.epochs", "2", "--search.batch", "4", "--search.bptt", "10"]
NETWORK = ["--train.channels", "8", "--train.epochs", "2", "--train.batch", "4", "--train.bptt", "10"]


def result_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


def refused(capsys: Any, arguments: list[str], *parts: str) -> None:
    """The command ends with status 2 and one message with these parts, and leaves no run directory."""
    assert main([*arguments, "--quiet"]) == 2
    message = capsys.readouterr().err
    for part in parts:
        assert part in message
    assert message.count("\n") == 1, message
    assert not Path("runs").exists()


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def words(tmp_path_factory: Any) -> str:
    """A plain text of 150 short sentences."""
    rng, file = Random(0), tmp_path_factory.mktemp("texts") / "sentences.txt"
    file.write_text("".join(" ".join(rng.choice(part) for part in PARTS) + "\n" for _ in range(150)))
    return str(file)


@pytest.fixture(scope="module")
def run(words: str, tmp_path_factory: Any) -> Path:
    """A whole run with two random architectures beside it."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    more = ["--baseline", "random:2", "--run", str(directory)]
    assert main(["run", "--data", words, *SEARCH, *NETWORK, *COMMON, *more]) == 0
    return directory


@pytest.fixture(scope="module")
def network(run: Path) -> TextNetwork:
    loaded = oche.load_network(run)
    assert isinstance(loaded, TextNetwork)
    return loaded


# -- what a run says ---------------------------------------------------------------------------------------------------


def test_a_run_is_judged_by_perplexity(run: Path, words: str, network: TextNetwork) -> None:
    result, corpus = result_of(run), load_text(words)
    assert set(result["network"]["test"]) == {"loss", "perplexity"}
    assert len(result["random"]) == 2
    assert RunRecord.read(run).data["fingerprint"] == corpus.fingerprint
    # What is delivered scores what the run says, as a text of words.
    found = network.perplexity(corpus.decode(corpus.test))
    assert found == pytest.approx(result["network"]["test"]["perplexity"], rel=1e-5)
    assert result["network"]["test"]["perplexity"] == pytest.approx(math.exp(result["network"]["test"]["loss"]))
    assert network.vocabulary == corpus.vocabulary


def test_it_is_shown_and_listed_with_perplexity(run: Path, capsys: Any) -> None:
    scores = result_of(run)["network"]
    assert main(["show", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "recurrent: 2 nodes per cell, supernet of 1 cell and 8 channels" in shown
    assert (run / "architecture.txt").read_text() in shown
    assert "test perplexity" in shown
    assert "accuracy" not in shown
    assert f"{scores['test']['perplexity']:.2f}" in shown
    assert main(["show", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["network"] == scores
    assert main(["list", str(run.parent)]) == 0
    assert f"{scores['test']['perplexity']:.2f}" in capsys.readouterr().out
    assert main(["list", str(run.parent), "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["test_perplexity"] == scores["test"]["perplexity"]
    assert "test_accuracy" not in entry


def test_fewer_words_are_better_than_those_of_random_architectures(run: Path, capsys: Any, tmp_path: Path) -> None:
    for mine, words in ((2.0, "2.00 words below it, which is better"), (6.0, "2.00 words above it, which is worse")):
        other = Path(shutil.copytree(run, tmp_path / str(mine)))
        result = result_of(other)
        result["network"]["test"]["perplexity"] = mine
        for rival, value in zip(result["random"], (3.0, 5.0), strict=True):
            rival["test"]["perplexity"] = value
        (other / "result.json").write_text(json.dumps(result))
        assert main(["show", str(other)]) == 0
        assert words in " ".join(capsys.readouterr().out.split())


def test_the_best_epoch_is_the_one_with_the_least_perplexity(run: Path) -> None:
    records = RunRecord.read(run).records["train"]
    found = result_of(run)["network"]
    assert found["validation"]["perplexity"] == min(record["valid_perplexity"] for record in records)
    assert records[found["best_epoch"] - 1]["valid_perplexity"] == found["validation"]["perplexity"]


def test_it_is_repeated_from_its_own_configuration_and_compared(run: Path, kept: Kept, capsys: Any) -> None:
    assert main(["run", "--config", str(run / "config.yaml"), "--run", "again", "--quiet"]) == 0
    assert kept(Path("again")) == kept(run)
    assert yaml.safe_load((run / "config.yaml").read_text())["search"]["bptt"] == 10
    assert main(["diff", str(run), "again"]) == 0
    assert "metrics are bit-identical" in capsys.readouterr().out
    changed = ["--config", str(run / "config.yaml"), "--train.bptt", "5", "--run", "other", "--quiet"]
    assert main(["run", *changed]) == 0
    assert main(["diff", str(run), "other"]) == 0
    difference = capsys.readouterr().out
    assert "train.bptt" in difference
    assert "network.test.perplexity" in difference
    assert "train: first difference in epoch 1" in difference


# -- stopped -----------------------------------------------------------------------------------------------------------


def stopped_in(job: str, monkeypatch: Any, *arguments: str) -> None:
    """A run that gets a signal after the first step of a job."""
    name = "search" if job.startswith("search") else "train"
    original, done = getattr(api, name), []

    def stop(*args: Any, **more: Any) -> Any:
        if more["job"] == job and not done:
            done.append(job)
            more["checkpoints"]._interrupts = StopAfter(1)  # behind the first step of a job
        return original(*args, **more)

    monkeypatch.setattr(api, name, stop)
    assert main([*arguments]) == 130
    assert done


@pytest.mark.parametrize("job", ["search", "train", "random 2"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    run: Path, kept: Kept, words: str, job: str, monkeypatch: Any, capsys: Any
) -> None:
    options = ["--data", words, *SEARCH, *NETWORK, *COMMON, "--baseline", "random:2", "--run", "run"]
    stopped_in(job, monkeypatch, "run", *options)
    assert RunRecord.read(Path("run")).status == "interrupted"
    assert main(["show", "run"]) == 0
    assert "interrupted" in capsys.readouterr().out
    assert main(["resume", "run", "--quiet"]) == 0
    assert kept(Path("run")) == kept(run)


def test_a_run_whose_text_has_changed_does_not_go_on(words: str, monkeypatch: Any, capsys: Any, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text(Path(words).read_text())
    stopped_in("search", monkeypatch, "run", "--data", str(mine), *SEARCH, *NETWORK, *COMMON, "--run", "run")
    capsys.readouterr()
    mine.write_text(Path(words).read_text().replace("moon", "sun"))
    refused(capsys, ["resume", "run"], "the data are not the 'mine'", "their fingerprint is", "--data PATH")
    refused(capsys, ["resume", "run", "--data", "digits"], "is for text, but the data are images")
    # The same text elsewhere is the same text.
    assert main(["resume", "run", "--data", words, "--quiet"]) == 0


# -- several searches, other methods, looking into a search ------------------------------------------------------------


def test_of_several_tries_the_least_perplexity_is_kept(words: str, capsys: Any) -> None:
    options = ["--probes", "none", "--seed", "1", "--tries", "3", "--run", "tried"]
    assert main(["run", "--data", words, *SEARCH, *NETWORK, *options, "--threads", "1"]) == 0
    assert "validation perplexity" in capsys.readouterr().out
    result = result_of(Path("tried"))
    scores = [entry["training"]["validation"]["perplexity"] for entry in result["tries"]]
    assert len(set(scores)) > 1
    assert result["search"]["try"] == 1 + scores.index(min(scores))


@pytest.fixture(scope="module")
def perturbed(words: str, tmp_path_factory: Any) -> Path:
    """A search whose selection goes on training between its decisions."""
    directory = tmp_path_factory.mktemp("runs") / "pt"
    method = ["--method", "darts", "--selection", "perturbation:interval=0.5"]
    assert main(["search", "--data", words, *SEARCH, *COMMON, *method, "--run", str(directory)]) == 0
    return directory


def test_a_selection_by_perturbation_decides_every_edge(perturbed: Path) -> None:
    *_, last = RunRecord.read(perturbed).records["search"]
    space = RunRecord.read(perturbed).space
    assert space is not None
    assert set(last["remaining"]) == {key for node in space.domain.nodes for key in (e.key for e in node.edges)}
    edges = space.domain.edges.values()
    # Four candidates of each edge, and the two edges of the second node.
    assert result_of(perturbed)["search"]["evaluations"] == 4 * len(edges) + 2
    assert all(record["valid_perplexity"] < math.inf for record in RunRecord.read(perturbed).records["search"])


def test_it_is_selected_from_again(run: Path, perturbed: Path, capsys: Any) -> None:
    assert main(["select", str(run), "--save", "again.json", "--quiet"]) == 0
    assert Path("again.json").read_text() == (run / "architecture.json").read_text()
    assert main(["select", str(perturbed), "--selection", "magnitude", "--quiet"]) == 0
    refused(capsys, ["select", str(run), "--selection", "decorrelation"], "needs cells with channels")
    refused(capsys, ["select", str(perturbed)], "goes on training between its decisions", "--selection magnitude")


def test_it_is_probed(run: Path, capsys: Any) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["probe", str(run), "--edges", "1", "--epochs", "0.2", "--figure", "probe.png"]) == 0
    shown = capsys.readouterr().out
    assert "perplexity, discretized and trained on" in shown
    assert "have no weights of their own, so none are exchanged" in shown
    assert "on the strongest candidate (*) of" in shown
    assert Path("probe.png").read_bytes().startswith(b"\x89PNG")
    assert main(["probe", str(run), "--edges", "1", "--epochs", "0.2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [s["candidate"] for s in found["strengths"]] == ["none", "tanh", "relu", "sigmoid", "identity"]
    least = min(s["measured"]["perplexity"] for s in found["strengths"])
    (marked,) = [line for line in shown.splitlines() if line.rstrip().endswith(" *")]
    assert f"{least:.2f} *" in marked
    assert (found["advantages"], found["shuffle"]) == ([], None)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_found_cell_is_trained_again(run: Path, words: str) -> None:
    assert main(["train", str(run), "--data", words, *NETWORK, *COMMON, "--run", "again"]) == 0
    assert result_of(Path("again"))["network"]["test"] == result_of(run)["network"]["test"]
    known = ["--train.channels", "4", "--train.epochs", "1"]
    assert main(["train", "darts-rnn-v2", "--data", words, *known, *COMMON, "--run", "known"]) == 0
    assert "perplexity" in result_of(Path("known"))["network"]["test"]


# -- exported ----------------------------------------------------------------------------------------------------------

WITHOUT_OCHE = """
import json, sys

sys.modules["oche"] = None  # whoever imports it fails
import torch
import cell

model, vocabulary = cell.load(sys.argv[1])
tokens = torch.tensor(json.loads(sys.argv[2]))
with torch.no_grad():
    whole, h = model(tokens)
    first, middle = model(tokens[:, :3])
    second, end = model(tokens[:, 3:], middle)
torch.testing.assert_close(torch.cat([first, second], 1), whole)
torch.testing.assert_close(end, h)

# It trains, masks included: those of one half of the numbers, as variational dropout draws them.
torch.manual_seed(0)
fresh = cell.LanguageModel()
optimizer = torch.optim.SGD(fresh.parameters(), lr=1.0)
losses = []
for _ in range(20):
    x, targets = tokens[:, :-1], tokens[:, 1:]
    h, states = torch.zeros(len(x), cell.WIDTH), []
    masks = [torch.empty(len(x), cell.WIDTH).bernoulli_(0.9) / 0.9 for _ in range(2)]
    for word in x.unbind(1):
        h = fresh.cell(fresh.embedding[word], h, *masks)
        states.append(h)
    scores = torch.stack(states, 1) @ fresh.embedding.T + fresh.bias
    loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten())
    optimizer.zero_grad()
    loss.backward()
    assert all(w.grad.abs().max() > 0 for w in fresh.parameters())
    optimizer.step()
    losses.append(float(loss.detach()))
assert losses[-1] < 0.95 * losses[0], losses
print(json.dumps({"scores": whole.tolist(), "vocabulary": vocabulary}))
"""


def test_the_exported_file_needs_pytorch_alone(run: Path, network: TextNetwork, tmp_path: Path, capsys: Any) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    assert main(["export", str(run), "--file", str(place / "cell.py")]) == 0
    assert str(run / "network.pt") in capsys.readouterr().out.replace("\n", "")
    assert main(["export", str(run)]) == 0
    assert capsys.readouterr().out == (place / "cell.py").read_text()
    (place / "use.py").write_text(WITHOUT_OCHE)
    tokens = torch.randint(len(network.vocabulary), (3, 7), generator=torch.Generator().manual_seed(0))
    command = [sys.executable, "use.py", str(run / "network.pt"), json.dumps(tokens.tolist())]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert tuple(found["vocabulary"]) == network.vocabulary
    with torch.no_grad():
        torch.testing.assert_close(torch.tensor(found["scores"]), network(tokens), rtol=0, atol=1e-6)


@pytest.mark.parametrize("known", ["darts-rnn-v1", "darts-rnn-v2"])
def test_the_exported_cell_is_the_cell(known: str) -> None:
    """Of architectures with every activation and with edges from everywhere."""
    space, architecture = oche.space("recurrent"), oche.known_architectures()[known].architecture
    names: dict[str, Any] = {}
    exec(source(architecture, space, vocabulary=11, width=6, drawing="a cell"), names)  # type: ignore[arg-type]
    model = space.network(architecture, TextTask(vocabulary=11), Stack(cells=1, channels=6))
    other = names["LanguageModel"]()
    weights = {k: 5 * v for k, v in model.state_dict().items() if not k.startswith("memory.")}
    model.load_state_dict(weights, strict=False)
    other.load_state_dict(weights)
    x, h = torch.randn(2, 6), torch.randn(2, 6)
    masks = [torch.rand(2, 6) for _ in range(2)]
    with torch.no_grad():
        torch.testing.assert_close(other.cell(x, h), model.cell.step(x, h, Masks(), {}))
        torch.testing.assert_close(other.cell(x, h, *masks), model.cell.step(x, h, Masks(*masks), {}))


def test_it_writes(run: Path, network: TextNetwork, capsys: Any) -> None:
    assert main(["write", str(run), "--start", "the cat", "--words", "9", "--temperature", "0.5", "--seed", "4"]) == 0
    written = network.write(9, start="the cat", temperature=0.5, seed=4)
    assert capsys.readouterr().out == f"the cat {written}".strip() + "\n"
    assert main(["write", str(run), "--words", "9", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"start": "\n", "text": network.write(9)}
    refused(capsys, ["write", str(run), "--start", "the cad"], "the word 'cad' is not among the", "cat", "<unk>")
    refused(capsys, ["write", str(run), "--words", "0"], "at least one word", "--words 0")
    refused(capsys, ["write", str(run), "--temperature", "0"], "more than 0", "--temperature 0")
    refused(capsys, ["write", str(run), "--start", " "], "a word to begin with")


def test_runs_without_a_language_model_are_not_exported(perturbed: Path, capsys: Any) -> None:
    for command in ("export", "write"):
        refused(capsys, [command, str(perturbed)], "network.pt")
        refused(capsys, [command, "nowhere"], "nowhere")
    images = ["--data.limit", "100", "--train.epochs", "1", "--train.cells", "2", "--train.channels", "4"]
    assert main(["train", "darts-v1", *images, *COMMON, "--run", "images"]) == 0
    for command in ("export", "write"):
        refused(capsys, [command, "images"], "has a network for images", "oche show images")


# -- refused -----------------------------------------------------------------------------------------------------------

TEXT = "TEXT"
"""Stands for the file."""


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "--space", "darts", "--data", TEXT], ["'darts' is for images, but the data are text", "recurrent"]),
        (["search", "--data", TEXT], ["space 'darts' is for images, but the data are text"]),
        (["run", "--space", "recurrent"], ["'recurrent' is for text, but the data are images", "python-help"]),
        (["search", "--space", "recurrent", "--data", "digits"], ["is for text, but the data are images"]),
        (["run", *SPACE, "--data", TEXT, "--train", "tiny"], ["training protocol 'tiny' is for images", "text-tiny"]),
        (["run", "--train", "text-tiny"], ["protocol 'text-tiny' is for text, but the data are images"]),
        (["train", "darts-v2", "--train", "ptb"], ["training protocol 'ptb' is for text"]),
        (["train", "darts-v2", "--data", TEXT], ["space 'darts' is for images, but the data are text"]),
        (["train", "darts-rnn-v2"], ["space 'recurrent' is for text, but the data are images"]),
        (["run", *SPACE, "--data", TEXT, "--train.cutout", "4"], ["--train.cutout is for images", "leave it out"]),
        (["run", *SPACE, "--data", TEXT, "--train.auto-augment"], ["auto_augment is for images"]),
        (["run", *SPACE, "--data", TEXT, "--train.drop-path", "0.1"], ["drop_path is for images"]),
        (["run", *SPACE, "--data", TEXT, "--train.label-smoothing", "0.1"], ["label_smoothing is for images"]),
        (["run", *SPACE, "--data", TEXT, "--train.validation", "0.2"], ["--train.validation 0.2", "of its own"]),
        (["run", *SPACE, "--data", TEXT, "--data.flip"], ["--data.flip is for images"]),
        (["run", "--search.bptt", "5"], ["--search.bptt is the length of sequences of text", "leave it out"]),
        (["run", "--train.bptt", "5"], ["--train.bptt is the length of sequences of text"]),
        (["search", "--search.bptt", "5"], ["--search.bptt is the length of sequences of text"]),
        (["train", "darts-v2", "--train.bptt", "5"], ["--train.bptt is the length of sequences of text"]),
        (["run", "--search.bptt", "0"], ["bptt >= 1", "--search.bptt 0"]),
        (["run", *SPACE, "--data", TEXT, "--search.bptt", "500"], ["not be longer than the text", "--search.bptt"]),
        (["run", *SPACE, "--data", TEXT, "--train.bptt", "5000"], ["not be longer than the text", "--train.bptt"]),
        (["run", *SPACE, "--data", TEXT, "--search.batch", "900"], ["got batch=900", "--search.batch"]),
        (["run", *SPACE, "--data", TEXT, "--train.batch", "900"], ["got batch=900", "--train.batch"]),
        (["search", *SPACE, "--data", TEXT, "--search.batch", "1"], ["needs 2 of them", "batch=1", "--search.batch"]),
        (["search", *SPACE, "--data", TEXT, "--search.bptt", "100"], ["needs 2 of them", "--search.bptt"]),
        (["run", *SPACE, "--data", TEXT, "--space.cells", "3"], ["one cell", "cells=3", "--space.cells 1"]),
        (["run", *SPACE, "--data", TEXT, "--train.cells", "3"], ["one cell", "cells=3", "--train.cells 1"]),
        (["run", *SPACE, "--data", TEXT, "--method", "rank-nosh"], ["rank-nosh", "for images", "--method"]),
        (["run", *SPACE, "--data", TEXT, "--method", "idarts"], ["NodeNorm (structure) needs cells with channels"]),
        (["run", *SPACE, "--data", TEXT, "--structure", "node-norm"], ["needs cells with channels", "plain"]),
        (["run", *SPACE, "--data", TEXT, "--structure", "partial-channels"], ["needs cells with channels"]),
        (["run", *SPACE, "--data", TEXT, "--stages", "fixed-edges"], ["needs nodes that each keep two"]),
        (["run", *SPACE, "--data", TEXT, "--selection", "decorrelation"], ["needs cells with channels"]),
        (["run", *SPACE, "--data", "missing.txt"], ["missing.txt", "no such file"]),
        (["compare", "c.jsonl", "--space", "recurrent", "--data", TEXT, "--methods", "darts", "--seeds", "1"],
         ["comparisons are of image networks", "'recurrent' is for text", "oche run --space recurrent"]),
        (["compare", "c.jsonl", "--space", "darts", "--data", TEXT, "--methods", "darts", "--seeds", "1"],
         ["it is a text, but images are needed here"]),
        (["compare", "c.jsonl", "--methods", "darts", "--search.bptt", "5"], ["--search.bptt 5", "leave it out"]),
        (["bench", "build", "table", "--space", "recurrent"], ["recurrent"]),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) and len(value) > 1 else None,
)  # fmt: skip
def test_what_does_not_go_together_is_refused(words: str, capsys: Any, arguments: list[str], parts: list[str]) -> None:
    refused(capsys, [words if word == TEXT else word for word in arguments], *parts)


# -- configurations ----------------------------------------------------------------------------------------------------


def shown(capsys: Any, *arguments: str) -> dict[str, tuple[Any, str]]:
    """What --print-config says: value and origin by dotted name."""
    assert main([*arguments, "--print-config", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    return {name: (value, printed["origins"][name]) for name, value in printed["options"].items()}


def test_print_config_knows_the_numbers_for_text(words: str, capsys: Any) -> None:
    asked = ["run", "--space", "recurrent", "--data", words, "--device", "cpu"]
    found = shown(capsys, *asked)
    assert found["search.bptt"] == (35, "method darts")
    assert found["train.bptt"] == (35, "protocol text-tiny")
    assert found["train.name"] == ("text-tiny", "preset tiny")
    assert found["space.cells"] == (1, "preset tiny")
    assert found["space.channels"] == (64, "preset tiny")
    assert found["space.nodes"] == (8, "space recurrent")
    assert shown(capsys, *asked, "--search.bptt", "7")["search.bptt"] == (7, "command line")
    paper = shown(capsys, *asked, "--preset", "paper")
    assert (paper["train.name"][0], paper["space.channels"][0], paper["search.epochs"][0]) == ("ptb", 300, 50)
    assert shown(capsys, "run", "--device", "cpu")["search.bptt"] == (None, "not set")


def test_what_print_config_prints_is_a_configuration(words: str, capsys: Any) -> None:
    asked = ["--space", "recurrent", "--data", words, "--train.bptt", "9", "--data.vocabulary", "12"]
    assert main(["run", *asked, "--print-config"]) == 0
    printed = capsys.readouterr().out
    Path("printed.yaml").write_text(printed)
    assert main(["run", "--config", "printed.yaml", "--print-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(printed)


def test_a_vocabulary_may_be_limited(words: str) -> None:
    limited = [*SPACE, "--search.epochs", "1", "--search.batch", "4", "--search.bptt", "10", "--data.vocabulary", "9"]
    options = [*limited, "--train.channels", "4", "--train.epochs", "1", "--train.batch", "4", "--probes", "none"]
    assert main(["run", "--data", words, *options, *COMMON, "--run", "run"]) == 0
    network = oche.load_network("run")
    assert isinstance(network, TextNetwork)
    assert len(network.vocabulary) == 9
    assert any("what is not in it is read as <unk>" in note for note in RunRecord.read(Path("run")).data["notes"])
