"""Several mixtures at once are measured as each of them alone."""

import torch

from oche.metrics import PERPLEXITY
from oche.mixture.softmax import Softmax
from oche.nn.mixture import Mixture
from oche.nn.recurrent.cell import Masks
from oche.nn.supernet import initialize_logits, logits
from oche.randomness import generator
from oche.select.scene import Scene
from oche.spaces.space import Space
from oche.testing import SPACES, text
from oche.text.feed import search_feed
from oche.text.loss import word_loss

CPU = torch.device("cpu")


def reading() -> tuple[Scene, list[Mixture]]:
    """A recurrent supernet over a text of several windows, and mixtures that differ."""
    space, corpus = SPACES["recurrent"](), text()
    assert isinstance(space, Space)
    supernet = space.supernet(corpus.task)
    initialize_logits(supernet, 1.0, generator(0))
    scene = Scene(
        whole=space.domain,
        supernet=supernet,
        relaxation=Softmax(),
        images=search_feed(corpus, 4, 2, 0, CPU, jitter=False).evaluation,
        loss=word_loss,
        metrics=PERPLEXITY,
        seed=0,
        device=CPU,
    )
    sharp = {key: torch.softmax(9 * value.detach(), 0) for key, value in logits(supernet).items()}
    flat = {key: torch.full_like(value, 1 / len(value)) for key, value in sharp.items()}
    return scene, [sharp, flat, scene.mixture]


def test_a_language_model_reads_a_text_once_for_each_mixture() -> None:
    scene, mixtures = reading()
    assert len(scene.images) > 2
    together = scene.measure_each(mixtures)
    assert together == [scene.measure(mixture) for mixture in mixtures]
    assert len({measured["perplexity"] for measured in together}) == 3
    assert scene.measure_each(mixtures[::-1]) == together[::-1]


@torch.no_grad()
def test_what_it_measures_carries_the_state_from_window_to_window() -> None:
    scene, (mixture, *_) = reading()
    total = words = 0.0
    state = None
    supernet = scene.supernet.eval()
    for norm in supernet.modules():
        if isinstance(norm, torch.nn.BatchNorm1d):
            norm.train()
    for window, y in scene.images.epoch(0):
        words_in = torch.nn.functional.embedding(window.tokens, supernet.body.embedding)
        state = words_in.new_zeros(len(window), words_in.shape[2]) if state is None else state
        hidden = []
        for word in words_in.unbind(1):
            state = supernet.body.cell.step(word, state, Masks(), mixture)
            hidden.append(state)
        scores = torch.stack(hidden, 1) @ supernet.body.embedding.T + supernet.body.bias
        total += float(word_loss(scores, y)) * y.numel()
        words += y.numel()
    torch.testing.assert_close(scene.measure(mixture)["loss"], total / words)
