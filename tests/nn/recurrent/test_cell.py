"""The recurrent cell: its formula in loops over numbers, and supernet against discrete network."""

import math
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor

from oche.errors import InputError
from oche.nn.mixture import SparseMixture
from oche.nn.network import Stack
from oche.nn.operations import SUPERNET
from oche.nn.recurrent.cell import Masks, MixedActivation, RecurrentCell
from oche.nn.recurrent.language_model import LanguageModel
from oche.nn.supernet import Supernet, initialize_logits, logits, one_hot
from oche.randomness import generator
from oche.spaces.recurrent import CANDIDATES, RecurrentSpace, recurrent
from oche.task import TextTask
from oche.text.window import Stream, Window

TASK = TextTask(vocabulary=11)
WIDTH = 4
STACK = Stack(cells=1, channels=WIDTH)


def tiny(nodes: int = 8) -> RecurrentSpace:
    return recurrent(nodes).replace(supernet_stack=STACK)


def supernet(nodes: int = 8) -> Supernet:
    net = tiny(nodes).supernet(TASK).double()
    initialize_logits(net, 1.0, generator(1))
    return net


def cell_of(net: Supernet | LanguageModel) -> RecurrentCell:
    model = net.body if isinstance(net, Supernet) else net
    assert isinstance(model, LanguageModel)
    return model.cell


def mixed(net: Supernet) -> dict[str, Tensor]:
    return {key: torch.softmax(value.detach(), 0) for key, value in logits(net).items()}


def window(lanes: int = 3, words: int = 5, seed: int = 0, place: int = 0) -> Window:
    tokens = torch.randint(TASK.vocabulary, (lanes, words), generator=generator(seed))
    return Window(tokens, place, Stream.WEIGHTS)


def large(net: torch.nn.Module) -> None:
    """Weights at which the activations bend."""
    with torch.no_grad():
        for w in net.parameters():
            w.copy_(torch.randn(w.shape, generator=generator(w.numel()), dtype=w.dtype) * 0.7)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


SCALAR = {"tanh": math.tanh, "relu": lambda x: max(x, 0.0), "sigmoid": sigmoid, "identity": lambda x: x}


def by_numbers(cell, x, h, x_mask, h_mask, mixture, *, normalized):  # type: ignore[no-untyped-def]
    """One step of the formula, number by number; arrays in, `B x H` out."""
    lanes, width = h.shape
    maps = [w.detach().numpy() for w in cell.maps]
    first = cell.first.detach().numpy()

    def norm(s):  # type: ignore[no-untyped-def]
        return (s - s.mean(0)) / np.sqrt(s.var(0) + 1e-5) if normalized else s

    s0 = np.empty_like(h)
    for b in range(lanes):
        row = [x[b, i] * x_mask[b, i] for i in range(width)] + [h[b, i] * h_mask[b, i] for i in range(width)]
        for o in range(width):
            c = sigmoid(sum(row[i] * first[i, o] for i in range(2 * width)))
            z = math.tanh(sum(row[i] * first[i, width + o] for i in range(2 * width)))
            s0[b, o] = h[b, o] + c * (z - h[b, o])
    states = [norm(s0)]
    for j, w in enumerate(maps, start=1):
        s = np.zeros_like(h)
        for i in range(j):
            weights = mixture.get(f"recurrent/{j}<-{i}")
            for b in range(lanes):
                for o in range(width):
                    c = sigmoid(sum(states[i][b, k] * h_mask[b, k] * w[k, o] for k in range(width)))
                    z = sum(states[i][b, k] * h_mask[b, k] * w[k, width + o] for k in range(width))
                    for name, a in weights.items():
                        if name != "none":
                            s[b, o] += a * (states[i][b, o] + c * (SCALAR[name](z) - states[i][b, o]))
        states.append(norm(s))
    return sum(states[1:]) / len(maps)


def test_the_cell_is_the_formula() -> None:
    net = supernet(3)
    large(net.body)
    cell, mixture = cell_of(net), mixed(net)
    draw = np.random.default_rng(0)
    x, h = draw.normal(size=(5, 2, WIDTH)), draw.normal(size=(5, WIDTH))
    x_mask, h_mask = (draw.integers(0, 2, size=(5, WIDTH)) * 2.0 for _ in range(2))
    plain = {key: dict(zip(CANDIDATES, a.tolist(), strict=True)) for key, a in mixture.items()}
    first = by_numbers(cell, x[:, 0], h, x_mask, h_mask, plain, normalized=True)
    second = by_numbers(cell, x[:, 1], first, x_mask, h_mask, plain, normalized=True)
    masks = Masks(torch.from_numpy(x_mask), torch.from_numpy(h_mask))
    found = cell(torch.from_numpy(x), torch.from_numpy(h), masks, mixture)
    torch.testing.assert_close(found, torch.from_numpy(np.stack([first, second], 1)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(8))
def test_a_one_hot_supernet_is_the_discrete_network(seed: int) -> None:
    space, net = tiny(), supernet()
    large(net.body)
    architecture = space.sample(Random(seed))
    chosen = {key: CANDIDATES.index(str(name)) for key, name in architecture.items}
    network = space.network(architecture, TASK, STACK, form=SUPERNET).double()
    large(network)
    one, other = net(window(), one_hot(net, chosen)), network(window())
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    one.square().sum().backward()
    other.square().sum().backward()
    for (name, w), (_, v) in zip(cell_of(net).named_parameters(), cell_of(network).named_parameters(), strict=True):
        torch.testing.assert_close(w.grad, v.grad, rtol=1e-8, atol=1e-8, msg=name)
    norms = cell_of(net).norm, cell_of(network).norm
    for buffer in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(norms[0], buffer), getattr(norms[1], buffer))
    # As trained the network has none, so that a lane does not depend on the others.
    trained = space.network(architecture, TASK, STACK).double()
    assert cell_of(trained).norm is None
    trained.load_state_dict({k: v for k, v in network.state_dict().items() if "norm" not in k})
    assert not torch.allclose(trained(window()), other)
    torch.testing.assert_close(trained.eval()(window()[:1]), trained(window())[:1])


def test_none_contributes_nothing() -> None:
    net = supernet(3)
    large(net.body)
    space = tiny(3)
    key, other = "recurrent/3<-1", "recurrent/3<-0"
    mixture = mixed(net)
    changed = mixture | {key: mixture[key].clone()}
    changed[key][0] += 5
    assert torch.equal(net(window(), mixture), net(window(), changed))
    silent = mixture | {key: torch.tensor([1.0, 0, 0, 0, 0]).double()}
    assert not torch.allclose(net(window(), mixture), net(window(), silent))
    live = {key: (), other: (0, 1, 2, 3, 4)}
    torch.testing.assert_close(net(window(), silent), net(window(), SparseMixture(silent, live)))
    assert all(edge.excluded == {"none"} for edge in space.domain.edges.values())


def test_only_what_is_live_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    net = supernet(3)
    large(net.body)
    architecture = tiny(3).sample(Random(0))
    chosen = {key: CANDIDATES.index(str(name)) for key, name in architecture.items}
    rows = one_hot(net, chosen)
    live = {key: (chosen[key],) if key in chosen else () for key in rows}
    expected = net(window(), rows)
    torch.testing.assert_close(net(window(), SparseMixture(rows, live)), expected, rtol=1e-12, atol=1e-12)
    calls: list[str] = []
    forward = MixedActivation.forward

    def counted(self: MixedActivation, *inputs) -> Tensor:  # type: ignore[no-untyped-def]
        calls.append(self.name)
        return forward(self, *inputs)

    monkeypatch.setattr(MixedActivation, "forward", counted)
    net(window(words=1), SparseMixture(rows, live))
    assert sorted(calls) == sorted(chosen)


def test_an_edge_of_which_only_none_runs_gives_zeros() -> None:
    net = supernet(1)
    key = "recurrent/1<-0"
    rows = {key: torch.tensor([1.0, 0, 0, 0, 0]).double()}
    torch.testing.assert_close(net(window(), SparseMixture(rows, {key: (0,)})), net(window(), rows))


def test_choices_have_modules() -> None:
    edge = MixedActivation(CANDIDATES, "k")
    assert isinstance(edge.fixed("relu"), torch.nn.ReLU)
    with pytest.raises(InputError, match="activation"):
        edge.fixed("none")


def test_numbers_begin_as_in_the_public_code() -> None:
    model = recurrent().replace(supernet_stack=Stack(cells=1, channels=40)).supernet(TASK).body
    assert isinstance(model, LanguageModel)
    for w in [model.cell.first, *model.cell.maps]:
        assert 0.039 < w.max() <= 0.04
        assert -0.04 <= w.min() < -0.039
    assert 0.09 < model.embedding.max() <= 0.1
    assert not model.bias.any()
    assert [tuple(w.shape) for w in model.cell.maps] == [(40, 80)] * 8
