import torch

from oche.mixture.softmax import Softmax
from oche.select.magnitude import Magnitude
from oche.spaces.registry import space

DOMAIN = space("darts").domain


def chosen(logits: dict[str, torch.Tensor], temperature: float = 1.0) -> dict[str, object]:
    return dict(Magnitude().preview(DOMAIN, logits, Softmax(temperature=temperature)).choices)


def random_logits() -> dict[str, torch.Tensor]:
    return {key: torch.randn(len(edge.candidates)) for key, edge in DOMAIN.edges.items()}


def test_the_largest_mixing_weights_win() -> None:
    for _ in range(20):
        logits = random_logits()
        a = {key: torch.softmax(value.double(), 0) for key, value in logits.items()}
        expected = {}
        for node in DOMAIN.nodes:
            # Column 0 is `none`, which competes in the softmax but not here.
            best = {e.key: a[e.key][1:].max() for e in node.edges}
            for key in sorted(best, key=lambda k: -best[k])[:2]:
                expected[key] = DOMAIN.edges[key].candidates[1 + int(a[key][1:].argmax())]
        assert chosen(logits) == expected


def test_the_candidate_of_an_edge_does_not_depend_on_the_temperature() -> None:
    logits = random_logits()
    cold, warm = chosen(logits, 0.01), chosen(logits, 10.0)
    assert all(cold[key] == warm[key] for key in cold.keys() & warm.keys())


def test_edges_are_compared_where_the_softmax_saturates() -> None:
    # At this temperature all weights of the winners are 1.0 in float32; their logarithms still differ.
    logits = {key: torch.zeros(8) for key in DOMAIN.edges}
    for i in range(5):
        logits[f"normal/5<-{i}"][4] = 1.0 + i / 100
    a = Softmax(temperature=0.05).mean(logits)
    assert {float(a[f"normal/5<-{i}"][4]) for i in range(3, 5)} == {float(a["normal/5<-4"][4])}
    kept = {key for key in chosen(logits, 0.05) if key.startswith("normal/5")}
    assert kept == {"normal/5<-3", "normal/5<-4"}
