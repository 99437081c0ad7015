import pytest
import torch
from torch import nn
from torch.nn import functional as F

from oche.evaluation import evaluate, evaluating
from oche.metrics import ACCURACY, top1

X, Y = torch.randn(10, 3), torch.randint(2, (10,))
BATCHES = [(X[:4], Y[:4]), (X[4:8], Y[4:8]), (X[8:], Y[8:])]


@pytest.mark.parametrize("training", [True, False])
def test_means_over_a_data_set_in_evaluation_mode(training: bool) -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2), nn.Dropout(0.5)).train(training)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        modes.append((model.training, torch.is_grad_enabled()))
        return model(x)

    means = evaluate(model, forward, BATCHES, F.cross_entropy, ACCURACY)
    assert modes == [(False, False)] * len(BATCHES)
    assert model.training is training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    with torch.no_grad():
        whole = model.eval()(X)
    assert means["loss"] == pytest.approx(F.cross_entropy(whole, Y).item(), rel=1e-6)
    assert means["accuracy"] == pytest.approx(top1(whole, Y).item())


def test_the_mode_is_restored_after_an_error() -> None:
    model = nn.Linear(3, 2).train()
    with pytest.raises(RuntimeError):
        evaluate(model, model, [(torch.zeros(1, 7), Y[:1])], F.cross_entropy, {})
    assert model.training


def test_every_part_has_its_own_mode_again() -> None:
    # A user may train with the statistics of one layer frozen.
    model = nn.Sequential(nn.BatchNorm1d(3).eval(), nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3).eval()))
    before = [module.training for module in model.modules()]
    assert set(before) == {True, False}
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
