from __future__ import annotations

from random import Random

import pytest
from scipy.stats import binom

import oche
from oche.architecture import Architecture
from oche.domain import Domain, Edge, Node
from oche.probe import verdict as thresholds
from oche.probe.correlation import Correlation
from oche.probe.findings import Finding, Status, evidence_lines
from oche.probe.gap import Gap
from oche.probe.hessian import Eigenvalue
from oche.probe.probes import Looked
from oche.probe.verdict import UNDECIDED_ABOVE, Verdict, judge
from oche.spaces.registry import space

NAMES = ("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3")
DOMAIN = Domain("s", tuple(Node((Edge(key, NAMES),)) for key in "abcd"))
ARCHITECTURE = Architecture.of("s", {"a": "skip_connect", "b": "sep_conv_3x3", "c": "max_pool_3x3", "d": "none"})


def verdict(
    architecture: Architecture = ARCHITECTURE,
    entropies: tuple[float, float] = (4.0, 3.0),
    validation: tuple[str, float] | None = ("accuracy", 0.8125),
    domain: Domain = DOMAIN,
    none_weight: float | None = None,
    looked: Looked | None = None,
    stopped: str | None = None,
) -> Verdict:
    return judge(
        architecture,
        domain,
        {"a": [0.0, 1.0], "b": [2.0]},
        {"a": [0.5, 1.0], "b": [1.0]},
        entropies,
        validation,
        none_weight=none_weight,
        looked=looked,
        stopped=stopped,
    )


def about(found: Verdict, probe: str) -> Finding:
    """What a probe says."""
    (finding,) = (f for f in found.evidence if f.probe == probe)
    return finding


# -- the line ----------------------------------------------------------------------------------------------------------


def test_the_facts() -> None:
    found = verdict()
    assert found.parameter_free == 3 / 4
    assert found.travel_mean == pytest.approx((0.5 + 0 + 1) / 3)
    assert found.travel_max == 1
    assert (found.entropy_start, found.entropy_end) == (4.0, 3.0)
    assert found.status is Status.HEALTHY


def test_the_text_states_the_facts() -> None:
    text = str(verdict())
    assert text.startswith("healthy: ")
    for fact in ("parameter-free 75%", "IES 4.00 -> 3.00 (-25.0%)", "0.500 on average", "1.000 at most"):
        assert fact in text
    assert "supernet validation accuracy 0.8125" in text
    assert "undecided" not in text
    assert "\n" not in text


def test_the_text_leaves_out_what_is_not_known() -> None:
    text = str(verdict(Architecture.of("mine", {"a": "conv3", "b": 3}), validation=None))
    assert "parameter-free" not in text
    assert "validation" not in text


def test_without_anything_to_decide_there_is_no_division_by_zero() -> None:
    only = verdict(entropies=(0.0, 0.0))
    assert only.status is Status.HEALTHY
    assert "IES 0.00 -> 0.00 (+0.0%)" in str(only)


def test_the_report_has_all_evidence_and_each_remedy_once() -> None:
    gap = Gap(metric="accuracy", higher_is_better=True, mixed=0.1, decided=0.1, chance=0.1)
    found = verdict(entropies=(4.0, 4.0), looked=Looked(gap=gap))
    line, *rest = found.report.splitlines()
    assert line == str(found)
    assert rest == list(evidence_lines(found.evidence))
    assert [r.split(":")[0] for r in rest[:2]] == ["! entropy", "! discretization"]
    assert rest[2].startswith("+ ")
    assert [r for r in rest if r.startswith("> ")] == [f"> {remedy}" for remedy in found.remedies]
    assert len(found.remedies) == 1
    assert "(and 1 more)" in line


# -- what speaks against a search --------------------------------------------------------------------------------------


def test_an_undecided_mixture_is_at_risk() -> None:
    start = 10.0
    edge = UNDECIDED_ABOVE * start
    assert verdict(entropies=(start, edge + 1e-6)).status is Status.AT_RISK
    assert verdict(entropies=(start, edge - 1e-6)).status is Status.HEALTHY
    assert "close to chance" in str(verdict(entropies=(start, start)))


def test_nothing_with_weights_has_collapsed() -> None:
    found = verdict(Architecture.of("s", dict.fromkeys("abcd", "skip_connect")))
    assert found.status is Status.COLLAPSED
    assert str(found).startswith("collapsed: ")
    assert found.remedies
    one = Architecture.of("s", dict.fromkeys("abc", "max_pool_3x3") | {"d": "sep_conv_3x3"})
    assert verdict(one).status is Status.HEALTHY


def test_where_nothing_has_weights_nothing_has_collapsed() -> None:
    domain = Domain("s", tuple(Node((Edge(key, ("skip_connect", "max_pool_3x3")),)) for key in "ab"))
    found = verdict(Architecture.of("s", {"a": "skip_connect", "b": "skip_connect"}), domain=domain)
    assert found.status is Status.HEALTHY
    # Nor is anything said where the only operation with weights may not be selected.
    excluded = frozenset({"sep_conv_3x3"})
    domain = Domain("s", tuple(Node((Edge(key, NAMES, excluded),)) for key in "ab"))
    assert verdict(Architecture.of("s", {"a": "none", "b": "none"}), domain=domain).status is Status.HEALTHY


def test_a_convolution_that_nothing_reaches_does_not_count() -> None:
    searched = space("bench125")
    chosen = {"cell/1<-0": "none", "cell/2<-0": "skip_connect", "cell/2<-1": "nor_conv_3x3"}
    found = verdict(Architecture.of("bench125", chosen), domain=searched.domain)
    assert found.status is Status.COLLAPSED
    chosen["cell/1<-0"] = "avg_pool_3x3"
    assert verdict(Architecture.of("bench125", chosen), domain=searched.domain).status is Status.HEALTHY


@pytest.mark.parametrize("name", sorted(oche.known_architectures()))
def test_published_architectures_have_not_collapsed(name: str) -> None:
    architecture = oche.known_architectures()[name].architecture
    found = verdict(architecture, domain=space(architecture.space).domain)
    assert found.status in (Status.HEALTHY, Status.AT_RISK)
    skips = [c for k, c in architecture.items if k.startswith("normal") and c == "skip_connect"]
    assert (found.status is Status.AT_RISK) == (len(skips) > 2)


def test_random_architectures_have_hardly_ever_collapsed() -> None:
    """Of the operations in `darts` four of seven have weights, on eight edges: (3/7)^8 is one in 880."""
    searched = space("darts")
    rng = Random(0)
    found = [verdict(searched.sample(rng), domain=searched.domain).status for _ in range(300)]
    assert found.count(Status.COLLAPSED) <= 3


@pytest.mark.parametrize("skips", [2, 3])
def test_more_than_two_skip_connections_in_a_cell_are_a_risk(skips: int) -> None:
    searched = space("darts")
    architecture = oche.known_architectures()["drnas-cifar10"].architecture
    normal = [key for key in architecture.choices if key.startswith("normal")]
    chosen = dict(architecture.choices) | dict.fromkeys(normal, "sep_conv_3x3")
    chosen |= dict.fromkeys(normal[:skips], "skip_connect")
    chosen |= {key: "skip_connect" for key in chosen if key.startswith("reduction")}
    found = verdict(Architecture.of("darts", chosen), domain=searched.domain)
    assert (found.status is Status.AT_RISK) == (skips > 2)


@pytest.mark.parametrize("weight", [0.4, 0.6])
def test_none_that_cannot_be_selected_must_not_win(weight: float) -> None:
    cannot = Domain("s", tuple(Node((Edge(key, NAMES, frozenset({"none"})),)) for key in "abcd"))
    risky = weight > thresholds.NONE_ABOVE
    assert (verdict(domain=cannot, none_weight=weight).status is Status.AT_RISK) == risky
    assert verdict(domain=DOMAIN, none_weight=weight).status is Status.HEALTHY


@pytest.mark.parametrize(
    ("decided", "status"),
    [(0.5, Status.HEALTHY), (0.19, Status.HEALTHY), (0.17, Status.AT_RISK), (0.05, Status.AT_RISK)],
)
def test_a_selection_that_keeps_nothing_is_a_risk(decided: float, status: Status) -> None:
    gap = Gap(metric="accuracy", higher_is_better=True, mixed=0.9, decided=decided, chance=0.1)
    found = verdict(looked=Looked(gap=gap))
    assert found.status is status
    for number in ("0.9 mixed", f"{decided:.4g} as selected", "0.1 by chance"):
        assert number in about(found, "discretization").statement


def test_a_supernet_that_has_learned_nothing_is_a_risk() -> None:
    gap = Gap(metric="accuracy", higher_is_better=True, mixed=0.1, decided=0.1, chance=0.11)
    found = verdict(looked=Looked(gap=gap))
    assert found.status is Status.AT_RISK
    assert "longer" in found.remedies[0]


@pytest.mark.parametrize("norm", [0.05, 0.2])
def test_a_node_that_fades_is_a_risk(norm: float) -> None:
    found = verdict(looked=Looked(nodes={"normal": (1.0, norm), "reduction": (0.9, 0.8)}))
    assert (found.status is Status.AT_RISK) == (norm < thresholds.NODE_BELOW)
    assert "(normal)" in about(found, "nodes").statement


@pytest.mark.parametrize("conflicts", [0.5, 0.6])
def test_weights_that_mislead_are_a_risk(conflicts: float) -> None:
    found = verdict(looked=Looked(correlation=Correlation(cosine=0.3, conflicts=conflicts, edges=10)))
    assert (found.status is Status.AT_RISK) == (conflicts > thresholds.CONFLICTS_ABOVE)


def test_an_eigenvalue_is_a_number_without_a_threshold() -> None:
    found = verdict(looked=Looked(eigenvalue=Eigenvalue(value=1e6, residual=1e6, products=20)))
    assert found.status is Status.HEALTHY
    assert "not settled after 20 products" in about(found, "eigenvalue").statement
    settled = verdict(looked=Looked(eigenvalue=Eigenvalue(value=0.5, residual=0.001, products=6)))
    assert "settled" not in about(settled, "eigenvalue").statement


def test_what_was_not_looked_at_speaks_for_nothing() -> None:
    found = verdict(looked=Looked(unseen={"gap": "out of memory"}))
    assert found.status is Status.HEALTHY
    assert about(found, "gap").statement == "not looked at: out of memory"


def test_a_search_that_was_cut_short_is_at_risk() -> None:
    assert verdict(stopped="the time limit came in epoch 2").status is Status.AT_RISK


def test_the_worst_counts() -> None:
    bare = Architecture.of("s", dict.fromkeys("abcd", "max_pool_3x3"))
    found = verdict(bare, entropies=(4.0, 4.0))
    assert found.status is Status.COLLAPSED
    assert "no selected operation" in str(found)
    assert len(found.remedies) == 2


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_supernet_whose_validation_is_no_number_is_never_healthy(value: float) -> None:
    found = verdict(validation=("perplexity", value))
    assert about(found, "validation").status is Status.AT_RISK
    assert found.status is not Status.HEALTHY


@pytest.mark.parametrize(
    ("bent", "nodes", "status"),
    [
        (0, 3, Status.AT_RISK),
        (1, 3, Status.HEALTHY),
        (0, 8, Status.AT_RISK),
        (2, 8, Status.AT_RISK),
        (3, 8, Status.HEALTHY),
        (8, 8, Status.HEALTHY),
    ],
)
def test_a_recurrent_cell_of_identities_is_at_risk(bent: int, nodes: int, status: Status) -> None:
    candidates = ("none", "tanh", "relu", "sigmoid", "identity")
    keys = [f"recurrent/{i}<-0" for i in range(1, nodes + 1)]
    domain = Domain("r", tuple(Node((Edge(key, candidates, frozenset({"none"})),)) for key in keys))
    chosen = Architecture.of("r", {key: "relu" if i < bent else "identity" for i, key in enumerate(keys)})
    found = about(verdict(chosen, domain=domain), "activations")
    assert found.status is status
    assert bool(found.remedy) == (status is Status.AT_RISK)
    assert found.statement.startswith(f"{bent} of {nodes} selected activations")
    assert f"in {binom.cdf(bent, nodes, 3 / 4):.2%} of random cells" in found.statement
