import pytest
import torch

from oche.optim import (
    SGD,
    Adam,
    AdamW,
    OptimizerSettings,
    clip_gradients,
    finite_or_zero,
    scaled_rate,
    set_rate,
    step_share,
)
from oche.schedule import Constant, Cosine
from oche.text.window import Stream, Window


@pytest.mark.parametrize(
    ("settings", "kind", "numbers"),
    [
        (SGD(), torch.optim.SGD, {"lr": 0.025, "momentum": 0.9, "weight_decay": 3e-4, "nesterov": False}),
        (Adam(), torch.optim.Adam, {"lr": 3e-4, "betas": (0.5, 0.999), "weight_decay": 1e-3}),
        (
            AdamW(lr=Cosine(1e-2), betas=(0.8, 0.9), weight_decay=0.1),
            torch.optim.AdamW,
            {"lr": 1e-2, "betas": (0.8, 0.9), "weight_decay": 0.1},
        ),
    ],
    ids=["sgd", "adam", "adamw"],
)
def test_the_optimizer_has_the_stated_numbers(
    settings: OptimizerSettings, kind: type[torch.optim.Optimizer], numbers: dict[str, object]
) -> None:
    w = torch.zeros(2, requires_grad=True)
    optimizer = settings.build(iter([w]))
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {name: group[name] for name in numbers} == numbers
    assert group["params"][0] is w


@pytest.mark.parametrize("settings", [SGD(momentum=0.5), Adam(weight_decay=0.0), AdamW(weight_decay=0.3)])
def test_another_rate_changes_nothing_else(settings: OptimizerSettings) -> None:
    changed = settings.at_rate(Constant(0.7))
    assert changed.lr.at(0.5) == 0.7
    assert changed.at_rate(settings.lr) == settings


def test_set_rate_reaches_every_group() -> None:
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)], "lr": 1.0}], lr=0.1)
    set_rate(optimizer, 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.2]


def test_a_scaled_rate_is_there_for_a_step_and_gone_after_it() -> None:
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)], "lr": 0.3}], lr=0.1)
    with scaled_rate(optimizer, 0.5):
        assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.15]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.3]


def test_only_windows_have_a_share() -> None:
    tokens = torch.zeros(2, 5, dtype=torch.long)
    assert step_share(Window(tokens, 0, Stream.WEIGHTS, share=0.25)) == 0.25
    assert step_share(Window(tokens, 0, Stream.WEIGHTS)) == step_share(tokens) == step_share([tokens]) == 1.0


def test_a_gradient_that_overflows_makes_no_step():
    weights = [torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)]
    weights[0].grad, weights[1].grad = torch.tensor([1.0, float("inf")]), torch.ones(3)
    clip_gradients(weights, 0.25, recurrent=True)
    assert all(torch.equal(w.grad, torch.zeros_like(w)) for w in weights)
    assert [g.tolist() for g in finite_or_zero([torch.tensor([float("nan")]), torch.ones(2)])] == [[0.0], [0.0, 0.0]]


@pytest.mark.parametrize("recurrent", [False, True])
def test_other_gradients_are_clipped_as_pytorch_does(recurrent):
    weights = [torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)]
    weights[0].grad = torch.tensor([3.0, 4.0])  # the other one has none
    clip_gradients(weights, 1.0, recurrent=recurrent)
    torch.testing.assert_close(weights[0].grad, torch.tensor([0.6, 0.8]), rtol=1e-5, atol=0)
    assert weights[1].grad is None
    assert [g.tolist() for g in finite_or_zero([torch.ones(2)])] == [[1.0, 1.0]]
