"""Searches and trainings on text by `oche.search` and `oche.train`: how they are judged, go on, and are refused."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import oche
from oche.checkpoint import Checkpoints
from oche.errors import InputError
from oche.interrupt import Interrupted
from oche.nn.network import Stack
from oche.nn.recurrent.cell import Masks
from oche.nn.recurrent.language_model import LanguageModel
from oche.nn.recurrent.regularization import ActivationPenalty, VariationalDropout
from oche.spaces.space import Space
from oche.testing import SPACES, text
from oche.text.corpus import Corpus
from oche.training.averaging import NonMonotone
from oche.training.language import Language
from oche.training.protocol import TEXT_TINY

CORPUS = replace(text(), valid=text().valid[:61], test=text().test[:12])
"""Four windows of the training text, three of the validation text, which therefore begins anew within an epoch."""

ALL = VariationalDropout(embedding=0.1, inputs=0.1, cell_inputs=0.1, hidden=0.1, outputs=0.1)
RULES = replace(
    TEXT_TINY,
    stack=Stack(cells=1, channels=6),
    epochs=4,
    batch=4,
    averaging=NonMonotone(interval=1),
    language=Language(bptt=5, jitter=True, dropout=ALL, penalty=ActivationPenalty(alpha=1.0, beta=1.0)),
)


def space() -> Space:
    made = SPACES["recurrent"]()
    assert isinstance(made, Space)
    return made


SPACE = space()
ARCHITECTURE = SPACE.sample(Random(1))


def search(**changes: Any) -> oche.SearchResult:
    options: dict[str, Any] = {"data": CORPUS, "epochs": 2, "batch": 4, "bptt": 5, "seed": 3, "probes": "cheap"}
    return oche.search(changes.pop("space", SPACE), **options | changes)


def train(**changes: Any) -> oche.Trained:
    options: dict[str, Any] = {"data": CORPUS, "space": SPACE, "protocol": RULES, "seed": 3}
    return oche.train(ARCHITECTURE, **options | changes)


def timeless(records: tuple[Mapping[str, Any], ...]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Patience:
    """Asks a job to stop the n-th time that it looks."""

    def __init__(self, patience: int) -> None:
        self.looks, self.patience = 0, patience

    @property
    def received(self) -> int | None:
        self.looks += 1
        return 2 if self.looks > self.patience else None


def with_each_stop(make: Callable[..., Any], directory: Path, name: str, every: int = 1) -> Iterator[Any]:
    """The results of a job that was stopped once, for every moment at which it looks, or some of them."""
    for patience in range(0, 1000, every):
        interrupts: Any = Patience(patience)
        place = directory / str(patience)
        try:
            make(checkpoints=Checkpoints(place, name, interrupts=interrupts))
        except Interrupted:
            yield make(checkpoints=Checkpoints(place, name))
        else:
            return


# -- search ------------------------------------------------------------------------------------------------------------


def test_a_search_is_judged_by_perplexity() -> None:
    found = search()
    for record in found.found.records:
        assert record["valid_perplexity"] == pytest.approx(math.exp(record["valid_loss"]))
        assert record["train_perplexity"] < math.exp(record["train_loss"])  # which has the penalty of activations too
        assert not any("accuracy" in name for name in record)
    last = found.found.records[-1]
    assert found.verdict.validation == ("perplexity", last["valid_perplexity"])
    assert "supernet validation perplexity" in str(found.verdict)
    SPACE.domain.check(found.architecture)


def test_names_stand_for_the_presets_sizes(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("\n".join("the cat sees the dog and the moon ." for _ in range(300)))
    found = oche.search("recurrent", data=str(tmp_path / "x.txt"), epochs=1, device="cpu", probes="none")
    assert isinstance(found.supernet.body, LanguageModel)
    assert found.supernet.body.cell.first.shape == (128, 128)  # the width of `tiny`
    assert len(found.architecture.items) == 8
    # The dropout of DARTS' search is for the width 300; a narrower supernet has less.
    assert found.supernet.body.dropout.outputs == pytest.approx(0.75 * 64 / 300)


@pytest.mark.parametrize(("method", "every"), [("darts", 1), ("darts/selection=perturbation:interval=0", 3)])
def test_a_search_goes_on_bit_for_bit(tmp_path: Path, method: str, every: int) -> None:
    whole, stops = search(method=method), 0
    for pieces in with_each_stop(lambda **more: search(method=method, **more), tmp_path, "search", every):
        stops += 1
        assert pieces.found.logits == whole.found.logits
        assert timeless(pieces.found.records) == timeless(whole.found.records)
        assert (pieces.architecture, pieces.verdict) == (whole.architecture, whole.verdict)
        assert same(pieces.supernet.state_dict(), whole.supernet.state_dict())  # hidden states among them
    memory = [value for name, value in whole.supernet.state_dict().items() if "memory" in name]
    assert [tuple(value.shape) for value in memory] == [(2, 4, 8)]
    assert memory[0].abs().amax(dim=(1, 2)).min() > 0
    # Per epoch: after each of 4 steps, after each of 2 windows of the evaluation, at its end.
    assert stops * every >= 2 * (4 + 2 + 1)


def test_a_search_without_its_hidden_states_goes_on_to_other_bits(tmp_path: Path, monkeypatch: Any) -> None:
    """The test above would notice."""
    interrupts: Any = Patience(1)
    with pytest.raises(Interrupted):
        search(checkpoints=Checkpoints(tmp_path, "search", interrupts=interrupts))
    monkeypatch.setattr("oche.nn.recurrent.memory.Memory.set_extra_state", lambda self, state: None)
    assert search(checkpoints=Checkpoints(tmp_path, "search")).found.logits != search().found.logits


def test_another_text_is_not_gone_on_with(tmp_path: Path) -> None:
    search(checkpoints=tmp_path, epochs=1)
    with pytest.raises(InputError, match="data"):
        search(checkpoints=tmp_path, epochs=1, data=replace(CORPUS, train=CORPUS.train.flip(0)))
    with pytest.raises(InputError, match="bptt 5, now 4"):
        search(checkpoints=tmp_path, epochs=1, bptt=4)


def test_several_searches_are_chosen_among_by_perplexity() -> None:
    found = oche.search_best(
        SPACE, data=CORPUS, tries=3, tries_epochs=1, epochs=1, batch=4, bptt=5, protocol=RULES, probes="none"
    )
    scores = [one.validation["perplexity"] for one in found.tries]
    assert len(set(scores)) == 3
    assert found.chosen == scores.index(min(scores))
    assert found.result.architecture == found.tries[found.chosen].architecture


# -- training ----------------------------------------------------------------------------------------------------------


def perplexity(model: LanguageModel, tokens: Tensor) -> float:
    """Of every word but the first, word by word and in float64, by the definition of the cell alone."""
    h, total = torch.zeros(1, model.embedding.shape[1], dtype=torch.float64), 0.0
    with torch.no_grad():
        for word, after in pairwise(tokens):
            h = model.cell.step(model.embedding[word][None], h, Masks(), {})
            total += float(F.cross_entropy(h @ model.embedding.T + model.bias, after[None]))
    return math.exp(total / (len(tokens) - 1))


def test_a_training_is_judged_by_perplexity_and_tested_on_every_word() -> None:
    trained = train()
    assert trained.best_epoch == 1 + min(range(4), key=lambda i: trained.records[i]["valid_perplexity"])
    assert trained.validation["perplexity"] == min(record["valid_perplexity"] for record in trained.records)
    assert set(trained.test) == {"loss", "perplexity"}
    assert isinstance(trained.model, LanguageModel)
    # The whole validation text at once has another beginning for each of its lanes; the test text has one lane.
    assert trained.test["perplexity"] == pytest.approx(perplexity(trained.model.double(), CORPUS.test), rel=1e-5)
    assert trained.normalize is None


def test_a_training_learns_its_text() -> None:
    averaging, stack = TEXT_TINY.averaging, Stack(cells=1, channels=16)
    rules = replace(RULES, epochs=20, stack=stack, averaging=averaging, language=Language(bptt=5))
    # Each word makes three of 30 likely, but it has seen each of them three times at most.
    assert train(protocol=rules, data=replace(CORPUS, test=text().test)).test["perplexity"] < 16


def test_a_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, stops = train(), 0
    assert whole.records[-1]["averaged"]
    for pieces in with_each_stop(train, tmp_path, "train"):
        stops += 1
        assert timeless(pieces.records) == timeless(whole.records)
        assert (pieces.test, pieces.validation, pieces.best_epoch) == (whole.test, whole.validation, whole.best_epoch)
        assert same(pieces.model.state_dict(), whole.model.state_dict())
    assert stops == 4 * (4 + 2 + 1) + 3


def test_a_text_that_has_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    train(checkpoints=tmp_path)
    with pytest.raises(InputError, match="data"):
        train(checkpoints=tmp_path, data=replace(CORPUS, test=CORPUS.test.flip(0)))


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "darts", "bptt": None}, "space 'darts' is for images, but the data are text.*--data digits"),
        ({"data": "digits", "bptt": None}, "space 'recurrent' is for text, but the data are images.*python-help"),
        ({"space": "darts", "data": "digits"}, "bptt is the length of sequences of text.*leave out bptt=5"),
        ({"protocol": "tiny"}, "training protocol 'tiny' is for images, but the data are text"),
        ({"space": "darts", "data": "digits", "bptt": None, "protocol": "ptb"}, "protocol 'ptb' is for text, but the"),
        ({"bptt": 0}, "bptt >= 1|whole number of bptt"),
        ({"bptt": 200}, "sequences must not be longer than the text, but 200 words"),
        ({"batch": 13}, r"61 words have room for 1 to 12 lanes .* got batch=13; .*--search.bptt"),
        ({"batch": 1}, r"needs 2 of them, but got batch=1"),
        ({"bptt": 60, "batch": None}, r"needs 2 of them, but got batch=1, .*room for 1; .*a longer text"),
        ({"method": "idarts"}, r"NodeNorm \(structure\) needs cells with channels, which space 'recurrent' does not"),
        ({"method": "drnas-progressive"}, "needs cells with channels"),
        ({"method": "darts/structure=partial-channels"}, "needs cells with channels"),
        ({"method": "darts/selection=decorrelation"}, r"Decorrelation \(selection\) needs cells with channels"),
        ({"method": "darts/stages=fixed-edges"}, r"FixedEdges \(stages\) needs nodes that each keep two of their"),
        ({"data": None, "train": [], "valid": []}, r"a space for text needs .* give data=oche.Corpus"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_searched_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        search(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "digits"}, "is for text, but the data are images"),
        ({"protocol": "tiny"}, "is for images, but the data are text|one cell without reductions"),
        ({"protocol": replace(RULES, batch=17)}, r"81 words have room for 1 to 16 lanes .* got batch=17"),
        ({"protocol": replace(RULES, language=Language(bptt=81))}, "sequences must not be longer than the text"),
    ],
    ids=["images", "a protocol for images", "too many lanes", "too long sequences"],
)
def test_what_cannot_be_trained_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(**changes)


def test_a_cell_of_images_is_not_trained_on_text() -> None:
    with pytest.raises(InputError, match="'darts' is for images, but the data are text"):
        oche.train(oche.known_architectures()["darts-v2"].architecture, data=CORPUS)


def test_numbers_for_images_are_refused() -> None:
    with pytest.raises(InputError, match="cutout is for images, but protocol 'text-tiny' trains on text"):
        replace(RULES, cutout=4)


def test_a_corpus_knows_its_words() -> None:
    assert isinstance(CORPUS, Corpus)
    assert CORPUS.task.vocabulary == 30
