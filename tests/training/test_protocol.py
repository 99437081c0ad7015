import math
from dataclasses import fields, replace

import pytest
import torch
from torch.nn import functional as F

from oche.errors import InputError
from oche.nn.network import Stack
from oche.nn.recurrent.regularization import EVALUATION_DROPOUT, PENALTY
from oche.text.loss import word_loss
from oche.training.averaging import NonMonotone
from oche.training.language import Language
from oche.training.protocol import PROTOCOLS, TrainingProtocol, protocol

CPU = torch.device("cpu")
PLAIN = TrainingProtocol(name="plain", summary="", stack=Stack(cells=1, channels=1), epochs=1, batch=1)
LABELS = torch.tensor([0] * 6 + [1] * 3 + [2] * 1)
SCORES, TARGET = torch.randn(7, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0, 0])


def test_darts_cifar_has_the_published_numbers() -> None:
    # methods.md, "Discrete network".
    p = protocol("darts-cifar")
    assert p.stack == Stack(cells=20, channels=36)
    assert (p.epochs, p.batch, p.clip, p.cutout, p.drop_path, p.auxiliary) == (600, 96, 5.0, 16, 0.2, 0.4)
    assert (p.label_smoothing, p.balance_classes, p.validation, p.rate_per_step) == (0.0, False, 0.0, False)
    optimizer = p.optimizer.build([torch.zeros(1)])
    assert type(optimizer) is torch.optim.SGD
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (0.025, 0.9, 3e-4, False)
    # The public code sets the rate once an epoch, by PyTorch's cosine from 0.025 to 0.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=600)
    for epoch in range(600):
        assert p.optimizer.lr.at(epoch / 600) == pytest.approx(schedule.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        schedule.step()


def test_allegro_cifar_is_darts_cifar_with_two_changes() -> None:
    ours, darts = protocol("allegro-cifar"), protocol("darts-cifar")
    changed = {f.name for f in fields(ours) if getattr(ours, f.name) != getattr(darts, f.name)}
    assert changed == {"name", "summary", "optimizer", "auto_augment"}
    assert ours.auto_augment
    group, other = (p.optimizer.build([torch.zeros(1)]).param_groups[0] for p in (ours, darts))
    assert {k: v for k, v in group.items() if k != "params"} == {k: v for k, v in other.items() if k != "params"}
    for epoch in range(601):  # Eq. 8, as methods.md reads it
        expected = 0.025 * (math.exp((1 + math.cos(math.pi * epoch / 600)) / 2) - 1) / (math.e - 1)
        assert ours.optimizer.lr.at(epoch / 600) == pytest.approx(expected, abs=1e-15)


def test_the_plain_loss_is_cross_entropy() -> None:
    loss = PLAIN.loss(LABELS, CPU)(SCORES, TARGET)
    torch.testing.assert_close(loss, F.cross_entropy(SCORES, TARGET))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_label_smoothing_spreads_a_share_of_the_target(share: float) -> None:
    log_p = SCORES - SCORES.exp().sum(1, keepdim=True).log()
    hit = -log_p[torch.arange(7), TARGET]
    expected = ((1 - share) * hit - share * log_p.mean(1)).mean()
    for labels in (LABELS, None):
        loss = replace(PLAIN, label_smoothing=share).loss(labels, CPU)(SCORES, TARGET)
        torch.testing.assert_close(loss, expected)


def test_class_weights_are_inverse_frequencies() -> None:
    # w_c = N / (K n_c), and cross-entropy averages with the weights of the batch's targets.
    weight = torch.tensor([10 / (3 * n) for n in (6, 3, 1)], dtype=torch.float64)
    assert (weight[LABELS].mean() - 1).abs() < 1e-12
    hit = -torch.log_softmax(SCORES, 1)[torch.arange(7), TARGET]
    expected = (weight[TARGET] * hit).sum() / weight[TARGET].sum()
    loss = replace(PLAIN, balance_classes=True).loss(LABELS, CPU)
    torch.testing.assert_close(loss(SCORES.float(), TARGET), expected.float())
    assert abs(expected - F.cross_entropy(SCORES, TARGET)) > 1e-3


def test_class_weights_need_labels() -> None:
    with pytest.raises(InputError, match="balance_classes"):
        replace(PLAIN, balance_classes=True).loss(None, CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs >= 1.*epochs=0"),
        ({"drop_path": 1.0}, "drop_path < 1.*drop_path=1.0"),
        ({"drop_path": -0.1}, "drop_path=-0.1"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"validation": 1.0}, "validation"),
    ],
)
def test_impossible_numbers_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(PLAIN, **changes)  # type: ignore[arg-type]


def test_protocols_are_found_by_their_names() -> None:
    assert all(protocol(name).name == name for name in PROTOCOLS)
    assert all(p.summary for p in PROTOCOLS.values())
    with pytest.raises(InputError, match="did you mean 'darts-cifar'"):
        protocol("darts-cifar10")


def test_ptb_has_the_published_numbers() -> None:
    p = protocol("ptb")
    assert (p.stack, p.epochs, p.batch, p.clip) == (Stack(cells=1, channels=850), 1600, 64, 0.25)
    group = p.optimizer.build([torch.zeros(1)]).param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (20.0, 0.0, 8e-7)
    assert p.optimizer.lr.at(1.0) == 20.0
    assert (p.averaging, p.keep_best, p.auxiliary) == (NonMonotone(interval=5), True, 1.0)
    language = p.language
    assert language is not None
    assert (language.bptt, language.jitter, language.evaluation_lanes, language.test_lanes) == (35, True, 10, 1)
    assert (language.dropout, language.penalty) == (EVALUATION_DROPOUT, PENALTY)


def test_a_text_is_trained_by_the_loss_per_word() -> None:
    loss = protocol("text-tiny").loss(None, CPU)
    assert loss is word_loss
    scores, words = torch.randn(2, 5, 4), torch.randint(4, (2, 5))
    rows = torch.log_softmax(scores.double(), 2)
    expected = -sum(rows[b, t, words[b, t]] for b in range(2) for t in range(5)) / 10
    torch.testing.assert_close(loss(scores, words).double(), expected)


def test_smaller_texts_drop_less() -> None:
    tiny, small, paper = (protocol(name).language.dropout for name in ("text-tiny", "text-small", "ptb"))  # type: ignore[union-attr]
    for field in fields(paper):
        assert getattr(tiny, field.name) <= getattr(small, field.name) <= getattr(paper, field.name)


@pytest.mark.parametrize(
    "changes",
    [{"cutout": 8}, {"auto_augment": True}, {"drop_path": 0.1}, {"label_smoothing": 0.1}, {"balance_classes": True}],
)
def test_what_is_for_images_is_refused_on_text(changes: dict[str, object]) -> None:
    (name,) = changes
    with pytest.raises(InputError, match=f"{name} is for images, but protocol 'ptb' trains on text; give {name}="):
        replace(protocol("ptb"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["bptt", "evaluation_lanes", "test_lanes"])
def test_windows_and_lanes_are_not_empty(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}=0"):
        Language(**{name: 0})  # type: ignore[arg-type]
