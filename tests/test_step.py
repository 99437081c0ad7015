"""One step of a search on windows of text: its rate, its decay, and what looks ahead to it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oche.consistency import Regularization
from oche.methods import DARTS, Method, method
from oche.moment import Moment
from oche.nn.choice import Choice
from oche.nn.supernet import ModuleBody, Supernet, logits, weights
from oche.objective.base import InnerStep
from oche.optim import SGD
from oche.schedule import Constant
from oche.step import SearchStep
from oche.text.loss import word_loss
from oche.text.window import Stream, Window

CPU, NOW, WORDS = torch.device("cpu"), Moment(epoch=0, epochs=1), 11
BASE = replace(DARTS, weight_optimizer=SGD(lr=Constant(2.0), momentum=0.0, weight_decay=0.01), clip=0.1)


class Model(nn.Module):
    """A language model without a memory: words and a mixed activation."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 6)
        self.block = Choice({"tanh": nn.Tanh(), "skip": nn.Identity()})
        self.decoder = nn.Linear(6, WORDS)

    def forward(self, window: Window) -> Tensor:
        return self.decoder(self.block(self.embedding(window.tokens)))


def window(stream: Stream, share: float = 1.0) -> tuple[Any, Tensor]:
    words = torch.randint(WORDS, (3, 8))
    return Window(words[:, :-1], 0, stream, share), words[:, 1:]


def supernet() -> Supernet:
    torch.manual_seed(3)
    return Supernet(ModuleBody(Model()))


def stepped(whole: Method, share: float, move_logits: bool = False) -> tuple[Supernet, SearchStep, Any]:
    made = supernet()
    step = SearchStep(made, whole, word_loss, CPU)
    step.set_rates(0.0)
    train, valid = window(Stream.WEIGHTS, share), window(Stream.LOGITS)
    step(train, valid, seed=1, now=NOW, move_logits=move_logits)
    return made, step, train


@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("decay", [None, 0.5, 0.0])
def test_a_window_moves_the_weights_by_its_share(share: float, decay: float | None) -> None:
    found, step, (x, y) = stepped(replace(BASE, regularization=Regularization(weight_decay=decay)), share)
    mine = supernet()
    mixture = {key: torch.softmax(value.detach(), 0) for key, value in logits(mine).items()}
    gradients = torch.autograd.grad(word_loss(mine(x, mixture), y), weights(mine))
    norm = sum(g.square().sum() for g in gradients).sqrt()  # type: ignore[union-attr]
    assert norm > BASE.clip
    for old, new, g in zip(weights(mine), weights(found), gradients, strict=True):
        pulled = g * BASE.clip / norm + (0.01 if decay is None else decay) * old
        torch.testing.assert_close(new, old - 2.0 * share * pulled, rtol=1e-4, atol=1e-6)
    assert step._weight_optimizer.param_groups[0]["lr"] == 2.0


def test_an_objective_looks_ahead_to_the_step_of_this_window(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[InnerStep] = []
    read = InnerStep.of.__func__  # type: ignore[attr-defined]

    def remembered(cls: type[InnerStep], *given: Any) -> InnerStep:
        seen.append(read(cls, *given))
        return seen[-1]

    monkeypatch.setattr(InnerStep, "of", classmethod(remembered))
    unrolled = replace(method("darts-2nd"), weight_optimizer=BASE.weight_optimizer, clip=0.1)
    stepped(unrolled, 0.4, move_logits=True)
    assert (seen[-1].lr, seen[-1].weight_decay, seen[-1].clip) == (2.0 * 0.4, 0.01, 0.1)


def test_overflows_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stepped(BASE, 1.0)[1].lost == 0
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("inf")))
    _, step, _ = stepped(BASE, 1.0)
    assert step.lost == 1
    assert step.state()["lost"] == 1
