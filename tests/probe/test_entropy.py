import math

import pytest
import torch

from oche.probe.entropy import entropy, entropy_by_kind


@pytest.mark.parametrize(("edges", "candidates"), [(1, 2), (14, 8), (3, 1)])
def test_equal_weights_have_the_largest_entropy(edges: int, candidates: int) -> None:
    equal = {f"normal/{e}": torch.full((candidates,), 1 / candidates) for e in range(edges)}
    assert entropy(equal) == pytest.approx(edges * math.log(candidates), rel=1e-6)


def test_exact_zeros_count_nothing() -> None:
    one_hot = {"a": torch.tensor([0.0, 1.0, 0.0]), "b": torch.tensor([1.0, 0.0])}
    assert entropy(one_hot) == 0
    assert entropy({"a": torch.tensor([0.5, 0.0, 0.5])}) == pytest.approx(math.log(2))


def test_a_softmax_of_a_wide_gap_has_no_nan() -> None:
    assert entropy({"a": torch.softmax(torch.tensor([0.0, 1.0, 2.0]) / 1e-4, 0)}) == 0


def test_entropy_is_the_sum_of_its_definition() -> None:
    mixture = {f"n/{e}": torch.softmax(torch.randn(5, dtype=torch.float64), 0) for e in range(4)}
    expected = -sum(p * math.log(p) for a in mixture.values() for p in a.tolist())
    assert entropy(mixture) == pytest.approx(expected, rel=1e-12)


def test_kinds_add_up() -> None:
    mixture = {
        key: torch.softmax(torch.randn(4), 0) for key in ("normal/2<-0", "normal/2<-1", "reduction/2<-0", "block")
    }
    kinds = entropy_by_kind(mixture)
    assert list(kinds) == ["normal", "reduction", "block"]
    assert kinds["block"] == entropy({"block": mixture["block"]})
    assert sum(kinds.values()) == pytest.approx(entropy(mixture))
