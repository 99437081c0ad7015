import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from oche.evaluation import evaluate
from oche.metrics import ACCURACY, PERPLEXITY, Meter, Metric, better, top1
from oche.text.loss import word_loss


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


def test_perplexity_is_that_of_all_words_whatever_the_windows() -> None:
    vocabulary, windows = 7, [(3, 9), (3, 4), (2, 1)]  # lanes and words
    batches = [(5 * torch.randn(b, t, vocabulary), torch.randint(vocabulary, (b, t))) for b, t in windows]
    log_p = []  # of the word that came, one by one
    for scores, targets in batches:
        for row, word in zip(scores.double().numpy().reshape(-1, vocabulary), targets.flatten().tolist(), strict=True):
            log_p.append(row[word] - np.log(np.exp(row).sum()))
    assert len(log_p) == 27 + 12 + 2
    found = evaluate(torch.nn.Identity(), lambda x: x, batches, word_loss, PERPLEXITY)
    assert found["loss"] == pytest.approx(-np.mean(log_p), rel=1e-6)
    assert found["perplexity"] == pytest.approx(np.exp(-np.mean(log_p)), rel=1e-6)
    apart = np.mean([word_loss(*batch).exp().item() for batch in batches])  # a mean of perplexities is none
    assert abs(apart / found["perplexity"] - 1) > 0.01


def test_a_perplexity_beyond_all_numbers_is_infinite() -> None:
    meter = Meter(PERPLEXITY)
    scores = torch.tensor([[[2000.0, 0.0]]])
    meter.add(word_loss(scores, torch.tensor([[1]])), scores, torch.tensor([[1]]))
    assert meter.means() == {"loss": 2000.0, "perplexity": math.inf}
    meter.add(torch.tensor(math.nan), scores * math.nan, torch.tensor([[1]]))
    assert math.isnan(meter.means()["perplexity"])


def test_a_lower_perplexity_is_better() -> None:
    low, high = {"loss": 1.0, "perplexity": math.e}, {"loss": 800.0, "perplexity": math.inf}
    assert better(low, high, PERPLEXITY)
    assert not better(high, low, PERPLEXITY)
    assert better(high, high | {"loss": 900.0}, PERPLEXITY)  # both infinite: by the loss
