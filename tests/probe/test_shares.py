import pytest
import torch

from oche.architecture import Architecture
from oche.domain import Domain, Edge, Node
from oche.probe.shares import none_weight, parameter_free, skip_lead

DOMAIN = Domain(
    "s",
    (
        Node(
            (Edge("a", ("none", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")), Edge("b", ("none", "sep_conv_3x3")))
        ),
        Node((Edge("c", ("skip_connect", "sep_conv_3x3")), Edge("d", ("skip_connect", "max_pool_3x3")))),
    ),
)
ROWS = {
    "a": torch.tensor([0.1, 0.5, 0.1, 0.3]),
    "b": torch.tensor([0.6, 0.4]),
    "c": torch.tensor([0.2, 0.8]),
    "d": torch.tensor([0.5, 0.5]),
}


def test_the_mean_weight_of_none_over_the_edges_that_have_it() -> None:
    assert none_weight(DOMAIN, ROWS) == pytest.approx((0.1 + 0.6) / 2)
    assert none_weight(DOMAIN, {"c": ROWS["c"]}) is None


def test_the_lead_of_skip_connections_over_operations_with_weights() -> None:
    assert skip_lead(DOMAIN, ROWS) == pytest.approx(((0.5 - 0.2) + (0.2 - 0.8)) / 2)
    assert skip_lead(DOMAIN, {key: ROWS[key] for key in "bd"}) is None


def test_the_share_of_operations_without_weights() -> None:
    chosen = {"a": "skip_connect", "b": "sep_conv_3x3", "c": "max_pool_3x3", "d": "none"}
    assert parameter_free(Architecture.of("s", chosen)) == 3 / 4
    assert parameter_free(Architecture.of("mine", chosen | {"a": "my own"})) is None
    assert parameter_free(Architecture.of("mine", {"a": 3})) is None
