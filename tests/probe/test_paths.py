"""Paths against what networks compute."""

from __future__ import annotations

from random import Random

import pytest
import torch

import oche
from oche.architecture import Architecture
from oche.domain import Domain, Edge, Node
from oche.nn.cell import FixedEdge
from oche.probe.paths import on_paths
from oche.spaces.registry import space


@pytest.mark.parametrize(
    ("first", "second", "third", "expected"),
    [
        ("a", "b", "c", ["a", "b", "c"]),
        ("a", "none", "none", []),  # node 1 is not heard
        ("none", "none", "c", []),  # node 2 is not reached
        ("none", "b", "c", ["b"]),
        ("a", "none", "c", ["a", "c"]),
    ],
)
def test_a_cell_of_two_nodes(first: str, second: str, third: str, expected: list[str]) -> None:
    names = ("none", "a", "b", "c")
    nodes = (
        Node((Edge("cell/1<-0", names),)),
        Node((Edge("cell/2<-0", names), Edge("cell/2<-1", names))),
    )
    chosen = {"cell/1<-0": first, "cell/2<-0": second, "cell/2<-1": third}
    assert on_paths(Architecture.of("s", chosen), Domain("s", nodes)) == {"cell": expected}


@pytest.mark.parametrize("seed", range(20))
def test_exactly_the_convolutions_on_a_path_have_a_gradient(seed: int) -> None:
    searched = space("nasbench201")
    rng = Random(seed)
    names = ("none", "nor_conv_3x3", "nor_conv_1x1")
    architecture = Architecture.of(searched.name, {key: rng.choice(names) for key in searched.domain.edges})
    task = oche.ImageTask(channels=1, height=4, width=4, classes=2)
    torch.manual_seed(seed)
    network = searched.network(architecture, task, oche.Stack(cells=1, channels=4, reductions=0)).double()
    # Inputs may be zero without a path; what is read must then not differ between images.
    x = torch.randn(8, 1, 4, 4, dtype=torch.float64)
    network(x).square().sum().backward()
    edges = [m for m in network.modules() if isinstance(m, FixedEdge)]
    weights = [[w for w in edge.parameters() if w.dim() == 4] for edge in edges]
    moving = sum(bool(w[0].grad is not None and w[0].grad.abs().max() > 1e-12) for w in weights if w)
    found = on_paths(architecture, searched.domain)
    assert found is not None
    assert moving == sum(c != "none" for c in found["cell"])


def test_every_node_of_a_darts_cell_is_heard() -> None:
    searched = space("darts")
    architecture = searched.sample(Random(0))
    found = on_paths(architecture, searched.domain)
    assert found is not None
    assert {kind: len(c) for kind, c in found.items()} == {"normal": 8, "reduction": 8}


def test_other_keys_have_no_paths() -> None:
    domain = Domain("mine", (Node((Edge("block", ("a", "b")),)),))
    assert on_paths(Architecture.of("mine", {"block": "a"}), domain) is None
