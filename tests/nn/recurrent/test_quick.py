"""The quick recurrent cell against the reference: the same numbers, by PyTorch and by compiled kernels."""

import copy
import importlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

from oche.nn.engine import FAST, REFERENCE, set_engine
from oche.nn.mixture import SparseMixture
from oche.nn.network import Stack
from oche.nn.operations import NETWORK, SUPERNET, NormForm
from oche.nn.recurrent import quick
from oche.nn.recurrent.cell import Masks, RecurrentCell, step_by_step
from oche.nn.recurrent.language_model import LanguageModel
from oche.nn.recurrent.quick import Quick
from oche.nn.recurrent.regularization import VariationalDropout
from oche.nn.supernet import Supernet, initialize_logits, logits, one_hot, weights
from oche.randomness import frozen, generator
from oche.spaces.recurrent import CANDIDATES, RecurrentSpace, recurrent
from oche.task import TextTask
from oche.text.loss import word_loss
from oche.text.window import Stream, Window

TASK = TextTask(vocabulary=13)
CPU = torch.device("cpu")
TIGHT = {"rtol": 1e-8, "atol": 1e-9}
DROPOUT = VariationalDropout(embedding=0.1, inputs=0.2, cell_inputs=0.5, hidden=0.25, outputs=0.5)
INTERPRET = "TRITON_INTERPRET"
pytestmark = pytest.mark.usefixtures("kernels")
NORM = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels for GPUs, in Triton's interpreter."""
    monkeypatch.setattr(quick, "nodes_for", lambda x: importlib.import_module("oche.nn.recurrent.gpu").Fused())


def space(width: int = 5, nodes: int = 8) -> RecurrentSpace:
    return recurrent(nodes).replace(supernet_stack=Stack(cells=1, channels=width))


def body_of(net: Supernet) -> LanguageModel:
    assert isinstance(net.body, LanguageModel)
    return net.body


def supernet(width: int = 5, nodes: int = 8, dropout: VariationalDropout = DROPOUT) -> Supernet:
    net = space(width, nodes).supernet(TASK).double()
    initialize_logits(net, 1.0, generator(1))
    with torch.no_grad():
        for w in net.body.parameters():
            w.copy_(torch.randn(w.shape, generator=generator(w.numel()), dtype=w.dtype) * width**-0.5)
    body_of(net).dropout = dropout
    return net


def both(net: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module]:
    other = copy.deepcopy(net)
    set_engine(other, FAST)
    return net, other


def window(place: int, lanes: int = 4, words: int = 5) -> Window:
    return Window(torch.randint(13, (lanes, words), generator=generator(place)), place, Stream.WEIGHTS)


def mixed(net: Supernet) -> dict[str, Tensor]:
    return {key: torch.softmax(value.detach(), 0).requires_grad_() for key, value in logits(net).items()}


def zeros_for_none(w: Tensor) -> Tensor:
    """The gradient; of what did not run the reference has none."""
    return torch.zeros_like(w) if w.grad is None else w.grad


def compare(net: Supernet, mixture: Mapping[str, Tensor], *, places: int = 2) -> None:
    """Outputs, all gradients and running statistics, over windows that follow one another."""
    found = []
    for engine in both(net):
        rows = {key: a.detach().clone().requires_grad_() for key, a in mixture.items()}
        given = SparseMixture(rows, mixture.live) if isinstance(mixture, SparseMixture) else rows
        outputs = []
        for place in range(places):
            with frozen(place, CPU):
                outputs.append(engine(window(place), given))
        word_loss(torch.cat(outputs, 1), torch.cat([window(9).tokens] * places, 1)).backward()
        gradients = {name: zeros_for_none(w) for name, w in engine.body.named_parameters()}
        of_rows = {key: zeros_for_none(a) for key, a in rows.items()}
        norm = body_of(engine).cell.norm
        state = {name: getattr(norm, name).double() for name in NORM}
        found.append((outputs, gradients, of_rows, state))
    torch.testing.assert_close(*found, **TIGHT)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("width", [5, 64, 70])
@pytest.mark.parametrize("dropout", [VariationalDropout(), DROPOUT])
def test_engines_agree(width: int, training: bool, dropout: VariationalDropout) -> None:
    net = supernet(width, nodes=4, dropout=dropout)
    net(window(0), mixed(net))  # other running statistics than 0 and 1
    compare(net.train(training), mixed(net))


@pytest.mark.parametrize("kernels", ["pure"], indirect=True)
def test_the_kernels_for_gpus(kernels: str) -> None:
    """Triton must be told to interpret before anything imports it."""
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", "-q", __file__, "-k", "TestInterpreted"]
    root, given = Path(__file__).parents[3], os.environ | {INTERPRET: "1"}
    done = subprocess.run(command, cwd=root, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout


@pytest.mark.skipif(os.environ.get(INTERPRET) != "1", reason="run by test_the_kernels_for_gpus")
@pytest.mark.usefixtures("triton")
@pytest.mark.parametrize("kernels", ["pure"], indirect=True)
class TestInterpreted:
    @pytest.mark.parametrize(("training", "width", "lanes"), [(True, 5, 4), (False, 5, 4), (True, 300, 3)])
    def test_engines_agree(self, training: bool, width: int, lanes: int) -> None:
        net = supernet(width, nodes=3)
        net(window(0, lanes), mixed(net))
        compare(net.train(training), mixed(net), places=1)

    def test_they_agree_on_what_is_live(self) -> None:
        net = supernet(nodes=3)
        rows = mixed(net)
        live = {key: ((), (1, 2), (0, 4))[i % 3] for i, key in enumerate(rows, 1)}
        sparse = {key: torch.zeros_like(a) for key, a in rows.items()}
        for key, places in live.items():
            sparse[key][list(places)] = rows[key].detach()[list(places)]
        compare(net, SparseMixture(sparse, live), places=1)

    def test_discrete_networks_agree(self) -> None:
        compare_networks(NETWORK)


def test_they_agree_on_all_nodes() -> None:
    net = supernet()
    compare(net, mixed(net))


@pytest.mark.parametrize("seed", range(4))
def test_they_agree_on_what_is_live(seed: int) -> None:
    net, draw = supernet(), Random(seed)
    rows = mixed(net)
    architecture = space().sample(draw)
    live = {}
    for key in rows:
        count = draw.choice([0, 0, 1, 3])
        live[key] = tuple(sorted(draw.sample(range(5), count)))
        if key in architecture.choices and not live[key]:
            live[key] = (0,) if seed == 0 else (CANDIDATES.index(str(architecture.choices[key])),)
    sparse = {}
    for key, a in rows.items():
        sparse[key] = torch.zeros_like(a)
        sparse[key][list(live[key])] = a.detach()[list(live[key])]
    compare(net, SparseMixture(sparse, live))


def test_an_architecture_alone() -> None:
    net = supernet()
    chosen = {key: CANDIDATES.index(str(name)) for key, name in space().sample(Random(3)).items}
    compare(net, one_hot(net, chosen))


@pytest.mark.parametrize("form", [NETWORK, SUPERNET])
def test_discrete_networks_agree(form: NormForm) -> None:
    compare_networks(form)


def compare_networks(form: NormForm) -> None:
    network = space().network(space().sample(Random(1)), TASK, Stack(cells=1, channels=70), form=form).double()
    network.dropout = DROPOUT
    found = []
    for engine in both(network):
        with frozen(0, CPU):
            scores = torch.cat([engine(window(place)) for place in range(2)], 1)
        scores.square().mean().backward()
        found.append((scores, {name: w.grad for name, w in engine.named_parameters()}))
    torch.testing.assert_close(*found, **TIGHT)


def test_at_other_weights_running_statistics_rest() -> None:
    one, other = both(supernet())
    values = [1.1 * w.detach() for w in weights(one)]
    found = []
    for net in (one, other):
        before = {name: getattr(body_of(net).cell.norm, name).clone() for name in NORM}
        with frozen(0, CPU):
            found.append(net.with_weights(values, mixed(net), window(0)))
        assert all(torch.equal(before[name], getattr(body_of(net).cell.norm, name)) for name in NORM)
    torch.testing.assert_close(*found, **TIGHT)


def test_a_step_of_the_logits_computes_no_gradient_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    _, net = both(supernet())
    wanted: list[tuple[bool, ...]] = []
    backward = quick.Steps.backward

    def seen(ctx, *gradients):  # type: ignore[no-untyped-def]
        wanted.append(ctx.needs_input_grad[6:])
        return backward(ctx, *gradients)

    monkeypatch.setattr(quick.Steps, "backward", staticmethod(seen))
    rows = mixed(net)
    net.with_weights([w.detach() for w in weights(net)], rows, window(0)).sum().backward()
    net(window(0), {key: a.detach() for key, a in rows.items()}).sum().backward()
    assert wanted == [(True, *(False,) * 9), (False, *(True,) * 9)]


@pytest.mark.parametrize("by_batch", [True, False])
def test_derivatives_of_both_orders(by_batch: bool) -> None:
    net = supernet(width=3, nodes=2).train(by_batch)
    cell = body_of(net).cell
    set_engine(net, FAST)
    keys = list(logits(net))
    draw = generator(0)
    mask = torch.tensor([[0.0, 2.0, 2.0]]).repeat(3, 1).double()

    def run(x: Tensor, h: Tensor, rows: Tensor, first: Tensor, *maps: Tensor) -> Tensor:
        names = ("first", "maps.0", "maps.1")
        mixture = dict(zip(keys, rows.unbind(), strict=True))
        given = (x, h, Masks(None, mask), mixture)
        return torch.func.functional_call(cell, dict(zip(names, (first, *maps), strict=True)), given)

    sizes = [(3, 2, 3), (3, 3), (len(keys), 5), (6, 6), (3, 6), (3, 6)]
    inputs = [torch.randn(size, generator=draw, dtype=torch.float64, requires_grad=True) for size in sizes]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


def test_second_derivatives_of_the_engines_agree() -> None:
    found = []
    for net in both(supernet(nodes=3)):
        rows = mixed(net)
        values = [w.detach().clone().requires_grad_() for w in weights(net)]
        with frozen(0, CPU):
            loss = net.with_weights(values, rows, window(0)).square().mean()
        gradient = torch.autograd.grad(loss, [*values, *rows.values()], create_graph=True)
        total = sum(g.square().sum() for g in gradient)
        found.append((gradient, torch.autograd.grad(total, [*values, *rows.values()])))
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-9)


def test_a_graph_can_be_gone_through_twice() -> None:
    _, net = both(supernet())
    rows = mixed(net)
    loss = net(window(0), rows).square().mean()
    one = torch.autograd.grad(loss, list(rows.values()), retain_graph=True)
    two = torch.autograd.grad(loss, list(rows.values()))
    assert all(map(torch.equal, one, two))


def test_single_precision_is_as_good_as_the_references() -> None:
    net = supernet(40, dropout=VariationalDropout())
    exact = net(window(0), mixed(net))
    body_of(net).memory.load_state_dict({"_extra_state": torch.zeros(0, 0, 0)})
    found = []
    for engine in both(copy.deepcopy(net).float()):
        rows = {key: a.detach().float() for key, a in mixed(net).items()}
        found.append((engine(window(0), rows) - exact).abs().max())
    assert found[1] < 3 * found[0] + 1e-5


def test_large_and_small_numbers(kernels: str) -> None:
    """The activations are exact to rounding, from the smallest numbers to those at which they are flat."""
    for dtype, tolerance in ((torch.float32, 4e-7), (torch.float64, 4e-16)):
        z = torch.cat([s * torch.logspace(-30, 3, 400, dtype=torch.float64) for s in (1, -1)]).to(dtype)
        for k, name in enumerate(("tanh", "relu", "sigmoid", "identity")):
            cell = RecurrentCell(len(z), [{0: quick.FixedActivation(name)}], normalized=False).to(dtype)
            plan = Quick()._plan(cell, z, {})
            ch = torch.cat([torch.full_like(z, 50.0), z])[None, None]
            states = torch.zeros(3, 1, len(z), dtype=dtype)
            room = quick.Room(states[2], None, None, None, None)
            quick.nodes_for(z).forward(plan, 1, ch, states, plan.kept[1:], None, None, room)
            expected = quick.FUNCTIONS[k](z.double())
            torch.testing.assert_close(states[2, 0].double(), expected, rtol=4 * tolerance, atol=2e-38, msg=name)


def test_what_is_no_number_stays_none() -> None:
    _, net = both(supernet(width=20))
    with torch.no_grad():
        body_of(net).cell.maps[0][0, 0] = float("nan")
    assert net(window(0), mixed(net)).isnan().any()


def test_one_lane_cannot_be_normalized_by_either() -> None:
    for net in both(supernet()):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            net(window(0, lanes=1), mixed(net))
        assert net.eval()(window(0, lanes=1), mixed(net)).shape == (1, 5, 13)


def test_the_engine_is_chosen_and_copies_begin_anew() -> None:
    net = supernet()
    cell = body_of(net).cell
    set_engine(net, FAST)
    net(window(0), mixed(net))
    assert isinstance(cell.unroll, Quick)
    assert cell.unroll._plans
    other = copy.deepcopy(cell)
    assert isinstance(other.unroll, Quick)
    assert not other.unroll._plans
    set_engine(net, REFERENCE)
    assert cell.unroll is step_by_step


def test_under_autocast_the_reference_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    net = supernet().float()
    set_engine(net, FAST)
    monkeypatch.setattr(quick.Steps, "apply", None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net(window(0), {key: a.detach().float() for key, a in mixed(net).items()}).isfinite().all()


def test_patterns_are_forgotten_but_the_first() -> None:
    net = supernet(nodes=2)
    set_engine(net, FAST)
    unroll = body_of(net).cell.unroll
    assert isinstance(unroll, Quick)
    rows = {key: a.detach() for key, a in mixed(net).items()}
    for i in range(40):
        live = {key: tuple(k for k in range(5) if (i + 1) >> k & 1 or k == j) for j, key in enumerate(rows)}
        net(window(0), SparseMixture(rows, live) if i else rows)
    assert len(unroll._plans) <= quick.PATTERNS + 2
    assert next(iter(unroll._plans))[2] == (None, None, None)


def test_gradients_of_what_does_not_run_are_zero_whatever_was_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    net = supernet(nodes=3)
    rows = {key: a.detach() for key, a in mixed(net).items()}
    live = dict.fromkeys(rows, (1,))
    sparse = {key: torch.where(torch.arange(len(a)) == 1, a, 0.0).requires_grad_() for key, a in rows.items()}
    made = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: made(*a, **k).fill_(float("nan")))
    _, fast = both(net)
    word_loss(fast(window(0), SparseMixture(sparse, live)), window(9).tokens).backward()
    for a in sparse.values():
        assert a.grad is not None
        assert a.grad.isfinite().all()
        assert torch.equal(a.grad[[0, 2, 3, 4]], torch.zeros(4, dtype=a.dtype))
