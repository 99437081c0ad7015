import pytest
import torch
from torch.nn import functional as F

from oche.metrics import ACCURACY, Meter, Metric, top1


def test_top1_counts_hits() -> None:
    scores = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [1.0, 0.0]])
    assert top1(scores, torch.tensor([0, 1, 1, 1])).item() == 0.5


def test_means_of_unequal_batches_are_those_of_all_samples() -> None:
    output, target = torch.randn(23, 4), torch.randint(4, (23,))
    meter = Meter(ACCURACY)
    for part in torch.split(torch.arange(23), [10, 10, 2, 1]):
        meter.add(F.cross_entropy(output[part], target[part]), output[part], target[part])
    means = meter.means()
    assert list(means) == ["loss", "accuracy"]
    assert means["loss"] == pytest.approx(F.cross_entropy(output, target).item(), rel=1e-6)
    assert means["accuracy"] == pytest.approx(top1(output, target).item())


def test_sums_do_not_lose_small_batches() -> None:
    # In float32 the sum of so many ones would stop at 2^24.
    meter, many = Meter({}), 2**24
    meter.add(torch.tensor(1.0), None, range(many))
    meter.add(torch.tensor(3.0), None, range(1))
    assert meter.means()["loss"] == pytest.approx((many + 3) / (many + 1), rel=1e-12)


def test_an_empty_meter_has_no_means() -> None:
    assert Meter(ACCURACY).means() == {}


def test_nothing_keeps_the_graph_alive() -> None:
    w = torch.ones(3, requires_grad=True)
    seen = []
    meter = Meter({"size": Metric(lambda output, target: seen.append(torch.is_grad_enabled()) or output.sum())})
    meter.add((w * 2).sum(), w * 2, torch.zeros(3))
    assert seen == [False]
    assert meter.means() == {"loss": 6.0, "size": 6.0}
