"""What remains: a decided search is a search on a smaller domain."""

import json
import random

import pytest
import torch
from scipy import stats
from torch import Tensor

from oche.domain import Domain, Edge, Node
from oche.errors import InputError
from oche.mixture.dirichlet import Dirichlet
from oche.mixture.softmax import Softmax
from oche.moment import Moment
from oche.nn.mixture import SparseMixture, live_in
from oche.remaining import Remaining

DOMAIN = Domain("s", (Node((Edge("a", ("x", "y", "z")), Edge("b", ("x", "y", "z")), Edge("c", ("x", "y"))), keep=2),))
ROWS = {"a": torch.tensor([0.5, 1.5, -1.0]), "b": torch.tensor([0.1, 0.2, 0.3]), "c": torch.tensor([2.0, 1.0])}
SIZES = {key: len(row) for key, row in ROWS.items()}


def softmax(row: Tensor) -> Tensor:
    return row.exp() / row.exp().sum()


def test_rows_of_what_remains_become_rows_of_the_supernet() -> None:
    left = Remaining().prune("a", [2, 0]).drop(["c"])
    narrow = left.narrow(ROWS)
    assert {key: row.tolist() for key, row in narrow.items()} == {"a": [0.5, -1.0], "b": ROWS["b"].tolist()}
    wide = left.widen(Softmax().mean(narrow), SIZES)
    assert live_in(wide) == {"a": (0, 2), "c": ()}
    inside = softmax(torch.tensor([0.5, -1.0]))
    torch.testing.assert_close(wide["a"], torch.stack([inside[0], torch.tensor(0.0), inside[1]]))
    torch.testing.assert_close(wide["b"], softmax(ROWS["b"]))
    assert wide["c"].tolist() == [0, 0]


def test_the_gradient_of_what_remains_reaches_its_logits_and_no_others() -> None:
    values = {key: row.clone().requires_grad_() for key, row in ROWS.items()}
    left = Remaining().prune("a", [0, 2]).drop(["c"])
    wide = left.widen(Softmax().mean(left.narrow(values)), SIZES)
    (wide["a"] @ torch.tensor([1.0, 10.0, 3.0]) + wide["c"].sum()).backward()
    p = softmax(torch.tensor([0.5, -1.0]))
    slope = p[0] * p[1] * (1 - 3)  # of p0 + 3 p1, the derivative in the difference of two logits
    assert values["a"].grad is not None
    torch.testing.assert_close(values["a"].grad, torch.stack([slope, torch.tensor(0.0), -slope]))
    assert values["c"].grad is None


def test_a_draw_that_is_sparse_itself_is_sparse_among_what_remains() -> None:
    left = Remaining().prune("a", [0, 2])
    rows = SparseMixture({"a": torch.tensor([0.0, 1.0]), "b": ROWS["b"], "c": ROWS["c"]}, {"a": (1,), "b": (0, 2)})
    wide = left.widen(rows, SIZES)
    assert live_in(wide) == {"a": (2,), "b": (0, 2)}
    assert wide["a"].tolist() == [0, 0, 1]


def test_nothing_pruned_is_nothing_changed() -> None:
    rows = Softmax().mean(ROWS)
    assert Remaining().widen(rows, SIZES) is rows
    assert Remaining().domain(DOMAIN) == DOMAIN


def test_the_domain_has_what_remains() -> None:
    left = Remaining().prune("a", [0, 2]).drop(["c"]).decide("b", 1)
    assert left.domain(DOMAIN) == Domain("s", (Node((Edge("a", ("x", "z")), Edge("b", ("y",))), keep=2),))
    assert [left.decided(key) for key in "abc"] == [False, True, True]
    assert left.domain(DOMAIN).sample(random.Random(0)).choices["b"] == "y"


def test_what_is_gone_does_not_come_back() -> None:
    left = Remaining().prune("a", [0, 2])
    assert left.prune("a", [2]).kept["a"] == (2,)
    with pytest.raises(InputError, match="only"):
        left.prune("a", [0, 1])


def test_it_survives_json() -> None:
    left = Remaining().prune("a", [0, 2]).drop(["c"])
    assert Remaining.from_plain(json.loads(json.dumps(left.to_plain()))) == left


def test_a_dirichlet_of_what_remains_is_the_dirichlet_masked_and_renormalized() -> None:
    """Neutrality: some components of a Dirichlet, divided by their sum, have the Dirichlet of their concentrations."""
    torch.manual_seed(0)
    n, now = 4000, Moment(epoch=0, epochs=1)
    rows = {"a": ROWS["a"].expand(n, 3)}
    masked = Dirichlet().draw(rows, now)["a"][:, [0, 2]]
    masked = (masked / masked.sum(-1, keepdim=True))[:, 0]
    narrow = Dirichlet().draw({"a": ROWS["a"][[0, 2]].expand(n, 2)}, now)["a"][:, 0]
    assert stats.ks_2samp(masked.numpy(), narrow.numpy()).pvalue > 0.01


@pytest.mark.parametrize("relaxation", [Softmax(), Dirichlet()])
def test_a_decided_edge_has_weight_one_and_no_gradient(relaxation: Softmax | Dirichlet) -> None:
    value = torch.tensor([0.3], requires_grad=True)
    row = relaxation.draw({"a": value}, Moment(epoch=0, epochs=1))["a"]
    assert row.tolist() == [1.0]
    (gradient,) = torch.autograd.grad(row.sum(), value, allow_unused=True, materialize_grads=True)
    assert gradient.tolist() == [0.0]
