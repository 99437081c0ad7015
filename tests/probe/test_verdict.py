import pytest

from oche.architecture import Architecture
from oche.probe.verdict import UNDECIDED_ABOVE, Verdict, judge

ARCHITECTURE = Architecture.of("s", {"a": "skip_connect", "b": "sep_conv_3x3", "c": "max_pool_3x3", "d": "none"})


def verdict(
    architecture: Architecture = ARCHITECTURE,
    entropies: tuple[float, float] = (4.0, 3.0),
    validation: tuple[str, float] | None = ("accuracy", 0.8125),
) -> Verdict:
    return judge(architecture, {"a": [0.0, 1.0], "b": [2.0]}, {"a": [0.5, 1.0], "b": [1.0]}, entropies, validation)


def test_the_facts() -> None:
    found = verdict()
    assert found.parameter_free == 3 / 4
    assert found.travel_mean == pytest.approx((0.5 + 0 + 1) / 3)
    assert found.travel_max == 1
    assert (found.entropy_start, found.entropy_end) == (4.0, 3.0)
    assert not found.undecided


def test_the_text_states_the_facts() -> None:
    text = str(verdict())
    for fact in ("parameter-free 75%", "IES 4.00 -> 3.00 (-25.0%)", "0.500 on average", "1.000 at most"):
        assert fact in text
    assert "supernet validation accuracy 0.8125" in text
    assert "undecided" not in text


def test_the_text_leaves_out_what_is_not_known() -> None:
    text = str(verdict(Architecture.of("mine", {"a": "conv3", "b": 3}), validation=None))
    assert "parameter-free" not in text
    assert "validation" not in text


def test_an_undecided_mixture_is_called_so() -> None:
    start = 10.0
    edge = UNDECIDED_ABOVE * start
    assert verdict(entropies=(start, edge + 1e-6)).undecided
    assert not verdict(entropies=(start, edge - 1e-6)).undecided
    assert "close to chance" in str(verdict(entropies=(start, start)))


def test_without_anything_to_decide_there_is_no_division_by_zero() -> None:
    only = verdict(entropies=(0.0, 0.0))
    assert not only.undecided
    assert "IES 0.00 -> 0.00 (+0.0%)" in str(only)
