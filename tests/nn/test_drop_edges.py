"""Drop-path on the mixed outputs of a supernet."""

import copy
from random import Random

import pytest
import torch
from torch import Tensor

from oche.mixture.softmax import Softmax
from oche.nn.cell import MixedEdge, set_drop_path
from oche.nn.drop_edges import DropEdges, factors_in
from oche.nn.engine import FAST, set_engine
from oche.nn.fast import planning
from oche.nn.mixture import Mixture, SparseMixture
from oche.nn.network import Stack
from oche.nn.supernet import Supernet, initialize_logits, logits, weights
from oche.randomness import frozen, generator
from oche.spaces.registry import space
from oche.task import ImageTask

CPU = torch.device("cpu")
TASK = ImageTask(channels=1, height=8, width=8, classes=3)


def made(name: str = "darts", nodes: int | None = 2, cells: int = 2) -> tuple[Supernet, Mixture]:
    searched = space(name, nodes=nodes).replace(supernet_stack=Stack(cells=cells, channels=4))
    supernet = searched.supernet(TASK).double().train()
    initialize_logits(supernet, 1.0, generator(0))
    return supernet, {k: v.detach() for k, v in Softmax().mean(logits(supernet)).items()}


def edge_outputs(supernet: Supernet, mixture: Mixture, x: Tensor) -> list[Tensor]:
    seen: list[Tensor] = []
    edges = [m for m in supernet.modules() if isinstance(m, MixedEdge)]
    hooks = [edge.register_forward_hook(lambda _, __, out: seen.append(out)) for edge in edges]
    with frozen(1, CPU), torch.no_grad():
        supernet.with_weights(weights(supernet), mixture, x)
    for hook in hooks:
        hook.remove()
    return seen


def test_each_edge_is_dropped_for_each_image_by_itself() -> None:
    # One node, so that what edges read does not depend on what was dropped.
    supernet, mixture = made("rdarts-s2", nodes=1, cells=1)
    x = torch.randn(600, 1, 8, 8, dtype=torch.float64)
    plain = edge_outputs(supernet, mixture, x)
    set_drop_path(supernet, 0.3)
    dropped = edge_outputs(supernet, mixture, x)
    kept = []
    for before, after in zip(plain, dropped, strict=True):
        zeroed = after.flatten(1).abs().sum(1) == 0
        torch.testing.assert_close(after, before / 0.7 * (~zeroed).double()[:, None, None, None])
        kept.append(~zeroed)
        # Five standard errors of the frequency.
        assert abs(float(zeroed.double().mean()) - 0.3) < 5 * (0.3 * 0.7 / 600) ** 0.5
    both = float((kept[0] & kept[1]).double().mean())
    assert abs(both - 0.49) < 5 * (0.49 * 0.51 / 600) ** 0.5


@pytest.mark.parametrize("one_by_one", [("cpu",), ()], ids=["fan", "batched"])
@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_both_engines_drop_the_same(name: str, one_by_one: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "ONE_BY_ONE", one_by_one)
    reference, mixture = made(name, nodes=2 if name == "darts" else None)
    set_drop_path(reference, 0.4)
    fast = copy.deepcopy(reference)
    set_engine(fast, FAST)
    x, results = torch.randn(6, 1, 8, 8, dtype=torch.float64), []
    keys = list(mixture)
    live = SparseMixture(mixture | {keys[0]: torch.zeros_like(mixture[keys[0]])}, {keys[0]: (1,)})
    for row in (mixture, live):
        for supernet in (reference, fast):
            free = [w.detach().requires_grad_() for w in weights(supernet)]
            with frozen(3, CPU):
                out = supernet.with_weights(free, row, x)
            gradients = torch.autograd.grad(out.square().sum(), free, allow_unused=True, materialize_grads=True)
            results.append((out, *gradients))
    for a, b in (results[:2], results[2:]):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    set_drop_path(fast, 0.0)
    assert not torch.allclose(fast.with_weights(weights(fast), mixture, x), results[0][0])


def test_the_mask_is_that_of_the_random_state_whatever_runs() -> None:
    supernet, mixture = made()
    set_drop_path(supernet, 0.5)
    x = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    first = next(iter(mixture))
    sparse = SparseMixture(mixture, {first: (3,)})

    def masks(row: Mixture, seed: int) -> list[dict[str, Tensor]]:
        seen: list[dict[str, Tensor]] = []
        drops = [m for m in supernet.modules() if isinstance(m, DropEdges)]
        hooks = [m.register_forward_hook(lambda _, __, out: seen.append(dict(factors_in(out)))) for m in drops]
        with frozen(seed, CPU):
            supernet.with_weights(weights(supernet), row, x)
        for hook in hooks:
            hook.remove()
        return seen

    one = masks(mixture, 5)
    assert [set(cell) for cell in one] == [set(m.keys) for m in supernet.modules() if isinstance(m, DropEdges)]
    for cell, again, other in zip(one, masks(sparse, 5), masks(mixture, 6), strict=True):
        assert all(torch.equal(cell[key], again[key]) for key in cell)
        assert not all(torch.equal(cell[key], other[key]) for key in cell)


def test_nothing_is_drawn_where_nothing_is_dropped() -> None:
    supernet, mixture = made()
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    before = torch.get_rng_state()
    plain = supernet.with_weights(weights(supernet), mixture, x)
    set_drop_path(supernet, 0.5)
    supernet.eval()
    supernet(x, mixture)
    assert torch.equal(torch.get_rng_state(), before)
    set_drop_path(supernet, 0.0)
    supernet.train()
    assert torch.equal(supernet.with_weights(weights(supernet), mixture, x), plain)
    # A discrete network has its own drop-path on its edges, and this one has nothing to do there.
    s = space("rdarts-s2", nodes=1)
    network = s.network(s.sample(Random(0)), TASK, Stack(cells=1, channels=4)).train()
    set_drop_path(network, 0.5)
    drops = [m for m in network.modules() if isinstance(m, DropEdges)]
    assert drops
    assert all(drop({}, x) == {} and not factors_in(drop({}, x)) for drop in drops)
