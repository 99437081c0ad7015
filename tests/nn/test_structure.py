"""What is added to a supernet: node normalization and normalization behind skips."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import oche
from oche.mixture.softmax import Softmax
from oche.nn.cell import Graph, MixedEdge
from oche.nn.engine import set_engine
from oche.nn.structure import NodeNorm, Plain, SkipNorm, Structure
from oche.nn.supernet import initialize_logits, logits, weights
from oche.spaces.registry import space

TASK = oche.ImageTask(channels=2, height=8, width=8, classes=3)
NODE_NORM = NodeNorm()


def supernet_of(name: str, structure: Structure):
    torch.manual_seed(0)
    made = space(name).replace(supernet_stack=oche.Stack(cells=3, channels=4)).supernet(TASK, structure)
    initialize_logits(made, 1.0, torch.Generator().manual_seed(0))
    return made


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_nodes_have_mean_zero_and_variance_one(name: str) -> None:
    supernet = supernet_of(name, NODE_NORM)
    graphs = [m for m in supernet.modules() if isinstance(m, Graph)]
    inputs = [[torch.randn(5, g.norms[0].num_features, 4, 4)] * (2 if name == "darts" else 1) for g in graphs]
    for graph, given in zip(graphs, inputs, strict=True):
        states = graph.states(given, Softmax().mean(logits(supernet)))[len(given) :]
        for state in states:
            flat = state.transpose(0, 1).flatten(1).detach()
            assert torch.allclose(flat.mean(1), torch.zeros(len(flat)), atol=1e-5)
            assert torch.allclose(flat.var(1, correction=0), torch.ones(len(flat)), atol=1e-2)


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_a_later_node_reads_the_normalized_state(name: str) -> None:
    """By hand: the sum of the edges' outputs on normalized states, normalized."""
    supernet = supernet_of(name, NODE_NORM)
    graph = next(m for m in supernet.modules() if isinstance(m, Graph))
    channels = graph.norms[0].num_features
    mixture = Softmax().mean(logits(supernet))
    given = [torch.randn(4, channels, 6, 6) for _ in range(2 if name == "darts" else 1)]
    states = [*given]
    for node in graph.nodes:
        total = sum(edge(states[int(i)], mixture) for i, edge in node.items())
        mean, var = total.mean((0, 2, 3), keepdim=True), total.var((0, 2, 3), keepdim=True, correction=0)
        states.append((total - mean) / (var + 1e-5).sqrt())
    for ours, by_hand in zip(graph.states(given, mixture), states, strict=True):
        assert torch.allclose(ours, by_hand, atol=1e-4)


@pytest.mark.parametrize("name", ["darts", "nasbench201", "rdarts-s2"])
@pytest.mark.parametrize("structure", [NODE_NORM, SkipNorm()], ids=["node", "skip"])
def test_both_engines_agree(name: str, structure: Structure) -> None:
    x, y = torch.randn(6, 2, 8, 8).double(), torch.tensor([0, 1, 2, 0, 1, 2])
    found = {}
    for engine in ("reference", "fast"):
        supernet = supernet_of(name, structure).double()
        set_engine(supernet, engine)
        mixture = {k: v.detach().requires_grad_() for k, v in Softmax().mean(logits(supernet)).items()}
        loss = nn.functional.cross_entropy(supernet(x, mixture), y)
        gradients = torch.autograd.grad(
            loss, [*mixture.values(), *weights(supernet)], materialize_grads=True, allow_unused=True
        )
        found[engine] = [loss, *gradients, *supernet.buffers()]
    for a, b in zip(*found.values(), strict=True):
        assert torch.allclose(a.double(), b.double(), rtol=1e-8, atol=1e-10)


def test_normalization_is_in_no_discrete_network_and_not_trained() -> None:
    searched = space("darts").replace(supernet_stack=oche.Stack(cells=3, channels=4))
    plain, normed = supernet_of("darts", Plain()), supernet_of("darts", NODE_NORM)
    assert len(weights(plain)) == len(weights(normed)), "no affine"
    added = set(normed.state_dict()) - set(plain.state_dict())
    assert added
    assert all(".norms." in name for name in added)
    known = oche.known_architectures()["darts-v2"].architecture
    network = searched.network(known, TASK, oche.Stack(cells=3, channels=4))
    assert not any(".norms." in name for name in network.state_dict())


def test_skips_get_a_norm_behind_them_and_nothing_else_changes() -> None:
    supernet = supernet_of("darts", SkipNorm())
    for edge in (m for m in supernet.modules() if isinstance(m, MixedEdge)):
        skip = edge.choice.candidates["skip_connect"]
        assert isinstance(skip, nn.Sequential)
        assert isinstance(skip[1], nn.BatchNorm2d)
        assert not skip[1].affine
    others = supernet.state_dict().keys() - supernet_of("darts", Plain()).state_dict().keys()
    assert others
    assert all(".skip_connect." in name for name in others), "nothing else has changed"
