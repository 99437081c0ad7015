"""A language model behind its vocabulary: what it scores and writes, against loops over single words."""

import math

import pytest
import torch
from torch.nn import functional as F

from oche.errors import InputError
from oche.nn.network import Stack
from oche.nn.recurrent.cell import Masks
from oche.spaces.registry import known_architectures, space
from oche.task import TextTask
from oche.text.network import BPTT, TextNetwork

WORDS = ("<eos>", "<unk>", "the", "cat", "sees", "dog", "moon")


@pytest.fixture(scope="module")
def network() -> TextNetwork:
    architecture = known_architectures()["darts-rnn-v2"].architecture
    torch.manual_seed(0)
    model = space("recurrent").network(architecture, TextTask(vocabulary=len(WORDS)), Stack(cells=1, channels=5))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8)  # scores that differ
    return TextNetwork(model.eval(), WORDS)


def scored(network: TextNetwork, numbers: list[int]) -> list[torch.Tensor]:
    """Log-probabilities of all words after each of some, by the definition of the cell alone."""
    model = network.network
    h, found = torch.zeros(1, model.embedding.shape[1]), []
    with torch.no_grad():
        for number in numbers:
            h = model.cell.step(model.embedding[[number]], h, Masks(), {})
            found.append(F.log_softmax(h @ model.embedding.T + model.bias, 1)[0].double())
    return found


@pytest.mark.parametrize("words", [2, 5, BPTT, BPTT + 1, BPTT + 2, 3 * BPTT + 4])
def test_a_perplexity_is_that_of_every_word_but_the_first(network: TextNetwork, words: int) -> None:
    text = " ".join(WORDS[2 + (3 * i * i + i) % 5] for i in range(words))
    numbers = network.encode(text)
    losses = [-float(log[word]) for log, word in zip(scored(network, numbers), numbers[1:], strict=False)]
    assert len(losses) == words - 1
    expected = math.exp(sum(losses) / len(losses))
    assert network.perplexity(text) == pytest.approx(expected, rel=1e-5)
    assert network.perplexity(text) == network.perplexity(text)  # nothing is left behind


def test_scores_are_those_of_each_row_alone(network: TextNetwork) -> None:
    rows = torch.tensor([[2, 3, 4], [5, 6, 2]])
    with torch.no_grad():
        scores = F.log_softmax(network(rows), -1)
    for row, found in zip(rows.tolist(), scores, strict=True):
        torch.testing.assert_close(found, torch.stack(scored(network, row)).float())


def test_words_and_numbers(network: TextNetwork) -> None:
    assert network.encode("the cat\nsees <unk>") == [2, 3, 0, 4, 1]
    assert network.decode([2, 3, 0, 4, 1]) == "the cat\nsees <unk>"
    with pytest.raises(InputError, match=r"the word 'cats' is not among the 7 .*close to it: cat.*<unk>"):
        network.encode("the cats")
    with pytest.raises(InputError, match=r"'zzz' .*none is like it"):
        network.encode("the zzz")
    with pytest.raises(InputError, match="two words or more, but the text has 1"):
        network.perplexity("the")


def test_it_writes_what_is_likely_given_all_before(network: TextNetwork) -> None:
    written = network.write(60, start="the cat", seed=3)
    assert written == network.write(60, start="the cat", seed=3)
    assert written != network.write(60, start="the cat", seed=4)
    assert len(network.encode(written)) == 60
    assert "<unk>" not in written
    # Cold, it takes the likeliest known word each time.
    numbers = network.encode("the cat")
    for _ in range(10):
        last = scored(network, numbers)[-1]
        last[1] = -math.inf
        numbers.append(int(last.argmax()))
    assert network.encode(network.write(10, start="the cat", temperature=1e-6)) == numbers[2:]


def test_writing_draws_by_the_models_own_probabilities(network: TextNetwork) -> None:
    counts = torch.zeros(len(WORDS))
    for seed in range(400):
        counts[network.encode(network.write(1, start="the", seed=seed, temperature=2.0))[0]] += 1
    log = scored(network, network.encode("the"))[-1] / 2
    log[1] = -math.inf
    expected = 400 * log.softmax(0)
    assert (counts - expected).abs().max() < 4 * expected.sqrt().max()  # four standard deviations of the largest


@pytest.mark.parametrize("changes", [{"words": 0}, {"temperature": 0.0}, {"start": " "}])
def test_what_cannot_be_written_is_refused(network: TextNetwork, changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match="words >= 1, temperature > 0 and a word to begin with"):
        network.write(**changes)


def test_punctuation_at_a_word_is_a_word_of_its_own_and_unknown_words_can_be_scored(network: TextNetwork) -> None:
    other = TextNetwork(network.network, ("<eos>", "<unk>", "the", "cat", ".", "dog", "moon"))
    assert other.encode("the cat.") == [2, 3, 4]
    assert other.encode("the zebra.", unknown=True) == [2, 1, 4]
    with pytest.raises(InputError, match="the word 'zebra' is not among the 7"):
        other.encode("the zebra.")
    assert other.perplexity("the zebra.") == pytest.approx(other.perplexity("the <unk> ."))


def test_a_temperature_may_be_as_small_as_one_likes(network: TextNetwork) -> None:
    coldest = network.write(6, start="the", temperature=1e-320)
    assert coldest == network.write(6, start="the", temperature=1e-3, seed=5)  # the likeliest word each time
