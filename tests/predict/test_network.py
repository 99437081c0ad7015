"""The network against its formula written out for one architecture, and what it must not see."""

from random import Random

import numpy as np
import pytest
import torch

from oche.architecture import Architecture
from oche.bench.encoding import from_string
from oche.predict.graph import graph_form
from oche.predict.network import RankingNetwork
from oche.spaces.registry import space
from oche.spaces.space import Space


def network(of: Space, facts: int = 0, members: int = 2) -> RankingNetwork:
    random = torch.Generator().manual_seed(1)
    return RankingNetwork(graph_form(of), facts=facts, members=members, width=5, random=random).double()


def by_hand(net: RankingNetwork, of: Space, architecture: Architecture, facts: list[float], k: int) -> float:
    """The formula of the module, edge by edge, from the architecture's cells."""
    weights = {name: value.detach().numpy()[k] for name, value in net.named_parameters()}
    form, leaving = graph_form(of), []
    for number, cell in enumerate(form.cells):
        states = list(weights[f"inputs.{number}"])
        for edges in of.cells(architecture)[cell.kind]:
            total = np.zeros(5)
            for source, name in edges.items():
                if name != "none":
                    gate = weights[f"gates.{number}"][form.operations.index(name) + 1]
                    total += 1 / (1 + np.exp(-gate)) * (states[source] @ weights[f"messages.{number}"])
            states.append(np.maximum(total, 0))
        leaving.append(np.mean([states[j] for j in cell.outputs], axis=0))
    hidden = np.maximum(np.concatenate([*leaving, facts]) @ weights["hidden"] + weights["bias"][0], 0)
    return float((hidden @ weights["last"])[0])


@pytest.mark.parametrize("name", ["nasbench201", "darts"])
def test_scores_are_the_formula(name: str) -> None:
    of, rng = space(name), Random(0)
    drawn = [of.sample(rng) for _ in range(6)]
    net = network(of, facts=2)
    torch.nn.init.normal_(net.bias, generator=torch.Generator().manual_seed(2))
    facts = torch.randn(6, 2, dtype=torch.double, generator=torch.Generator().manual_seed(3))
    scores = net(graph_form(of).encode(drawn), facts)
    wanted = [[by_hand(net, of, a, f.tolist(), k) for a, f in zip(drawn, facts, strict=True)] for k in range(2)]
    np.testing.assert_allclose(scores.detach().numpy(), wanted, rtol=1e-12)
    assert len({round(score, 9) for score in wanted[0]}) > 1


def test_the_void_is_not_seen() -> None:
    """Node 1 gets nothing, so what leaves it is nothing; node 2 leads nowhere, so what it gets does not matter."""
    net, form = network(space("nasbench201")), graph_form(space("nasbench201"))
    same = [
        "|none~0|+|nor_conv_3x3~0|skip_connect~1|+|nor_conv_1x1~0|nor_conv_3x3~1|none~2|",
        "|none~0|+|nor_conv_3x3~0|none~1|+|nor_conv_1x1~0|none~1|none~2|",
        "|none~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|nor_conv_1x1~0|skip_connect~1|none~2|",
    ]
    scores = net(form.encode([from_string(text) for text in same]))
    assert torch.equal(scores[:, :1].expand(-1, 3), scores)
    other = net(form.encode([from_string(same[0].replace("nor_conv_1x1~0", "nor_conv_3x3~0"))]))
    assert not torch.equal(other[:, 0], scores[:, 0])


def test_members_do_not_touch_each_other() -> None:
    net, form = network(space("bench125"), members=3), graph_form(space("bench125"))
    graphs = form.encode(list(space("bench125").enumerate())[:9])
    net(graphs)[1].sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        assert not parameter.grad[[0, 2]].any(), name
        assert parameter.grad[1].any(), name
