"""The supernet against the discrete network, and the one owner of the logits."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oche.architecture import Architecture
from oche.mixture.softmax import Softmax
from oche.nn.cell import FixedEdge, MixedEdge
from oche.nn.choice import Choice
from oche.nn.network import CellNetwork, Stack
from oche.nn.operations import SUPERNET, Noise
from oche.nn.supernet import ModuleBody, Supernet, initialize_logits, logits, one_hot, weights
from oche.randomness import generator
from oche.spaces.cell_space import CellSpace
from oche.spaces.registry import space
from oche.task import ImageTask

NODES = {"darts": 2, "rdarts-s1": None, "rdarts-s2": 2, "rdarts-s3": 2, "rdarts-s4": 2}


def made(
    name: str, size: tuple[int, int, int], stack: Stack, nodes: int | None = None
) -> tuple[CellSpace, Supernet, Tensor]:
    """A space, its supernet in float64, and a batch."""
    channels, height, width = size
    task = ImageTask(channels=channels, height=height, width=width, classes=3)
    s = space(name, nodes=nodes or NODES[name]).replace(supernet_stack=stack)
    return s, s.supernet(task).double(), torch.randn(4, *size, dtype=torch.float64)


def edges(network: CellNetwork) -> Iterator[tuple[int, int, int, nn.Module]]:
    """(cell, node, source, edge)."""
    for c, cell in enumerate(network.cells):
        for n, node in enumerate(cell.nodes):
            for source, edge in node.items():
                yield c, n, int(source), edge


def copy_weights(supernet: Supernet, network: CellNetwork, architecture: Architecture) -> None:
    body = supernet.body
    assert isinstance(body, CellNetwork)
    network.stem.load_state_dict(body.stem.state_dict())
    network.classifier.load_state_dict(body.classifier.state_dict())
    for mine, theirs in zip(network.cells, body.cells, strict=True):
        mine.preprocess.load_state_dict(theirs.preprocess.state_dict())
    for c, n, source, edge in edges(network):
        theirs = body.cells[c].nodes[n][str(source)]
        assert isinstance(edge, FixedEdge)
        assert isinstance(theirs, MixedEdge)
        chosen = theirs.choice.candidates[str(architecture.choices[theirs.key])]
        edge.operation.load_state_dict(chosen.state_dict())


def selection(s: CellSpace, supernet: Supernet, architecture: Architecture) -> dict[str, Tensor]:
    """The one-hot mixture of an architecture."""
    keys = logits(supernet)
    return one_hot(
        supernet,
        {k: s.domain.edges[k].candidates.index(v) for k, v in architecture.items if k in keys},
    )


def still(self: Noise, x: Tensor) -> Tensor:
    """Noise that is the same at every call: only then can two networks that draw in another order be compared."""
    shape = x[..., :: self.stride, :: self.stride].shape
    return torch.randn(shape, generator=generator(0, *shape), dtype=x.dtype)


@pytest.mark.parametrize(
    ("size", "stack"),
    [
        ((1, 9, 6), Stack(cells=3, channels=4, reductions=2)),
        ((3, 8, 8), Stack(cells=2, channels=3, reductions=1)),
    ],
    ids=["odd-nonsquare-gray", "square-colour"],
)
@pytest.mark.parametrize("name", NODES)
def test_a_one_hot_mixture_is_the_discrete_network(
    name: str, size: tuple[int, int, int], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Noise, "forward", still)
    s, supernet, x = made(name, size, stack)
    supernet.train()
    equal = {k: torch.full_like(v, 1 / len(v)) for k, v in logits(supernet).items()}
    supernet(torch.randn_like(x), equal)  # running statistics that are not the initial ones
    task = ImageTask(channels=size[0], height=size[1], width=size[2], classes=3)
    rng = Random(0)
    outputs = []
    for _ in range(2):
        architecture = s.sample(rng)
        network = s.network(architecture, task, stack, form=SUPERNET).double()
        copy_weights(supernet, network, architecture)
        mixture = selection(s, supernet, architecture)
        for training in (False, True):
            # In training mode the supernet is called with copied buffers, so that it stays as it was.
            network.train(training)
            supernet.train(training)
            out = supernet.with_weights(weights(supernet), mixture, x)
            torch.testing.assert_close(out, network(x), rtol=1e-12, atol=1e-12)
            outputs.append(out)
    assert len({tuple(o.flatten().tolist()) for o in outputs}) == len(outputs)


@pytest.mark.parametrize("changes", [{"keep": 1}, {"keep": None, "select_none": True}], ids=["one", "all-and-none"])
def test_a_one_hot_mixture_is_the_discrete_network_under_other_rules(changes: dict[str, Any]) -> None:
    stack = Stack(cells=2, channels=4, reductions=1)
    task = ImageTask(channels=1, height=8, width=8, classes=3)
    s = space("rdarts-s3", nodes=2).replace(supernet_stack=stack, **changes)
    supernet, x = s.supernet(task).double(), torch.randn(4, 1, 8, 8, dtype=torch.float64)
    rng, kept = Random(1), set()
    for _ in range(3):
        architecture = s.sample(rng)
        network = s.network(architecture, task, stack, form=SUPERNET).double()
        copy_weights(supernet, network, architecture)
        out = supernet.with_weights(weights(supernet), selection(s, supernet, architecture), x)
        torch.testing.assert_close(out, network(x), rtol=1e-12, atol=1e-12)
        kept.update(architecture.choices.values())
    assert ("none" in kept) == s.select_none


def test_a_dropped_edge_is_worth_nothing() -> None:
    s, supernet, x = made("rdarts-s2", (1, 4, 4), Stack(cells=2, channels=4))
    architecture = s.sample(Random(0))
    mixture = selection(s, supernet, architecture)
    dropped = [k for k in mixture if k not in architecture.choices]
    assert dropped
    assert all(mixture[k].abs().max() == 0 for k in dropped)
    before = supernet.with_weights(weights(supernet), mixture, x)
    with torch.no_grad():
        for _, _, _, edge in edges(supernet.body):  # type: ignore[arg-type]
            assert isinstance(edge, MixedEdge)
            if edge.key in dropped:
                for p in edge.parameters():
                    p.mul_(7)
    assert torch.equal(supernet.with_weights(weights(supernet), mixture, x), before)


# -- shared logits -----------------------------------------------------------------------------------------------------


def by_hand(supernet: Supernet, mixtures: list[dict[str, Tensor]], x: Tensor) -> Tensor:
    """The network's output with a mixture of its own for each cell."""
    body = supernet.body
    assert isinstance(body, CellNetwork)
    first, second = body.stem(x)
    for cell, mixture in zip(body.cells, mixtures, strict=True):
        first, second = second, cell(first, second, mixture)
    return body.classifier(second.mean(dim=(2, 3)))


@pytest.mark.parametrize("name", ["rdarts-s3", "darts"])
def test_the_gradient_of_shared_logits_is_the_sum_over_the_cells(name: str) -> None:
    # Cells: normal, normal, reduction, normal, reduction, normal.
    _, supernet, x = made(name, (1, 8, 8), Stack(cells=6, channels=4, reductions=2), nodes=1)
    initialize_logits(supernet, 1.0, generator(0))
    values = logits(supernet)
    mixture = Softmax().mean(values)
    target = torch.randn(4, 3, dtype=torch.float64)
    shared = torch.autograd.grad((supernet(x, mixture) * target).sum(), list(values.values()))

    copies = [{k: v.detach().clone().requires_grad_() for k, v in values.items()} for _ in range(6)]
    out = by_hand(supernet, [Softmax().mean(c) for c in copies], x)
    alone = [
        torch.autograd.grad((out * target).sum(), list(c.values()), retain_graph=True, materialize_grads=True)
        for c in copies
    ]
    for i, key in enumerate(values):
        parts = [g[i] for g in alone]
        torch.testing.assert_close(shared[i], sum(parts))
        used = [c for c, g in enumerate(parts) if g.abs().max() > 0]
        assert used == ([0, 1, 3, 5] if key.startswith("normal") else [2, 4])


# -- ownership ---------------------------------------------------------------------------------------------------------


def test_each_logit_has_one_owner() -> None:
    s, supernet, _ = made("darts", (1, 8, 8), Stack(cells=6, channels=4, reductions=2))
    assert list(logits(supernet)) == list(s.domain.edges)
    saved = [name for name in supernet.state_dict() if name.startswith("logits.")]
    assert len(saved) == len(s.domain.edges)
    assert [sum(name.endswith(key) for name in saved) for key in s.domain.edges] == [1] * len(saved)
    everything = list(supernet.parameters())
    assert len({id(p) for p in everything}) == len(everything)
    mine, theirs = {id(p) for p in weights(supernet)}, {id(p) for p in logits(supernet).values()}
    assert not mine & theirs
    assert mine | theirs == {id(p) for p in everything}
    assert len(mine) + len(theirs) == len(everything)
    assert all(isinstance(p, nn.Parameter) for p in logits(supernet).values())


def test_only_the_kinds_of_cells_that_exist_have_logits() -> None:
    s, supernet, _ = made("darts", (1, 4, 4), Stack(cells=2, channels=4))
    assert list(logits(supernet)) == [key for key in s.domain.edges if key.startswith("normal/")]


def test_the_state_dict_restores_everything() -> None:
    s, supernet, x = made("rdarts-s3", (1, 8, 8), Stack(cells=2, channels=4), nodes=1)
    initialize_logits(supernet, 1.0, generator(1))
    supernet(x, Softmax().mean(logits(supernet)))
    again = s.supernet(ImageTask(channels=1, height=8, width=8, classes=3)).double()
    again.load_state_dict(supernet.state_dict())
    outputs = [net.eval()(x, Softmax().mean(logits(net))) for net in (supernet, again)]
    assert torch.equal(*outputs)


def test_logits_are_drawn_with_the_given_spread() -> None:
    _, supernet, _ = made("darts", (1, 8, 8), Stack(cells=6, channels=4, reductions=2))
    initialize_logits(supernet, 0.0, generator(0))
    assert all(v.abs().max() == 0 for v in logits(supernet).values())
    drawn = []
    for _ in range(2):
        initialize_logits(supernet, 0.5, generator(0))
        drawn.append(torch.cat([v.detach() for v in logits(supernet).values()]))
    assert torch.equal(*drawn)
    # Five standard errors of a standard deviation of n normal numbers.
    assert abs(drawn[0].std().item() / 0.5 - 1) < 5 / (2 * len(drawn[0])) ** 0.5
    assert all(v.requires_grad for v in logits(supernet).values())


@pytest.mark.parametrize("name", ["values", "keys", "half", "type", "items", "block"])
def test_a_users_choice_may_have_any_name(name: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            setattr(self, name, Choice({"a": nn.Linear(2, 2), "b": nn.Identity()}))

    supernet = Supernet(ModuleBody(Net()))
    assert list(logits(supernet)) == [name]
    assert logits(supernet)[name].shape == (2,)
    assert len(weights(supernet)) == 2


def test_other_weights_are_used_in_their_order_and_buffers_stay() -> None:
    _, supernet, x = made("rdarts-s3", (1, 8, 8), Stack(cells=2, channels=4), nodes=1)
    mixture = Softmax().mean(logits(supernet))
    scaled = [1.5 * w.detach() for w in weights(supernet)]
    before = {n: b.clone() for n, b in supernet.named_buffers()}
    out = supernet.with_weights(scaled, mixture, x)
    assert all(torch.equal(b, before[n]) for n, b in supernet.named_buffers())
    with torch.no_grad():
        for w, value in zip(weights(supernet), scaled, strict=True):
            w.copy_(value)
    assert torch.equal(out, supernet(x, mixture))
    assert not all(torch.equal(b, before[n]) for n, b in supernet.named_buffers())


def test_weights_that_a_module_uses_twice_are_one_weight() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Choice({"linear": nn.Linear(3, 3), "skip": nn.Identity()})
            self.again = nn.Linear(3, 3)
            self.again.weight = self.block.candidates["linear"].weight

        def forward(self, x: Tensor) -> Tensor:
            return self.again(self.block(x))

    supernet, x = Supernet(ModuleBody(Tied())), torch.randn(2, 3)
    mixture = {"block": torch.tensor([0.3, 0.7])}
    assert len(weights(supernet)) == 3
    scaled = [2 * w.detach() for w in weights(supernet)]
    out = supernet.with_weights(scaled, mixture, x)
    with torch.no_grad():
        for w in weights(supernet):
            w.mul_(2)
    torch.testing.assert_close(out, supernet(x, mixture))
