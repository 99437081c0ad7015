"""The fast engine against the reference engine: the same modules, the same numbers."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.errors import InputError
from oche.methods import DARTS, DARTS_2ND, Method
from oche.mixture.softmax import Softmax
from oche.moment import Moment
from oche.nn.cell import Graph, MixedEdge
from oche.nn.choice import Choice
from oche.nn.engine import FAST, REFERENCE, set_engine, unknown_candidates
from oche.nn.fast.batched import Batched
from oche.nn.fast.fan import Fan
from oche.nn.mixture import Mixture, SparseMixture, each
from oche.nn.network import Stack
from oche.nn.operations import OPERATIONS, SUPERNET, FactorizedReduce, Noise, NormForm, operation
from oche.nn.supernet import Supernet, initialize_logits, logits, one_hot, weights
from oche.randomness import generator
from oche.spaces.registry import space
from oche.step import SearchStep
from oche.task import ImageTask

pytestmark = pytest.mark.usefixtures("kernels")

NOW = Moment(epoch=0, epochs=1)
CPU = torch.device("cpu")
NODES = {"darts": 2, "rdarts-s1": None, "rdarts-s2": 2, "rdarts-s3": 2, "rdarts-s4": 2, "nasbench201": None}
SIZES = {"square": (3, 8, 8), "odd-gray": (1, 9, 7)}


def supernet(
    name: str, size: tuple[int, int, int] = (3, 8, 8), channels: int = 4, cells: int = 3, nodes: int | None = None
) -> Supernet:
    """A supernet in float64 with unequal logits."""
    task = ImageTask(channels=size[0], height=size[1], width=size[2], classes=3)
    chosen = space(name, nodes=nodes or NODES[name]).replace(supernet_stack=Stack(cells=cells, channels=channels))
    net = chosen.supernet(task).double()
    initialize_logits(net, 1.0, generator(1))
    return net


def both(net: Supernet) -> tuple[Supernet, Supernet]:
    """The supernet for the reference engine, and a copy for the fast one."""
    other = copy.deepcopy(net)
    set_engine(other, FAST)
    return net, other


def still(self: Noise, x: Tensor) -> Tensor:
    """Noise that is the same at every call, because the engines draw in another order."""
    shape = x[..., :: self.stride, :: self.stride].shape
    return torch.randn(shape, generator=generator(0, *shape), dtype=x.dtype)


def mixture_of(net: Supernet) -> dict[str, Tensor]:
    return {key: a.detach().requires_grad_() for key, a in Softmax().mean(logits(net)).items()}


def loss_of(output: Tensor) -> Tensor:
    """Something whose gradient differs between the entries."""
    return (output * torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view_as(output)).sum() + (
        output**2
    ).sum()


def everything(net: Supernet, x: Tensor, mixture: Mixture | None = None) -> dict[str, Tensor]:
    """Output, gradients of the mixture, of the weights and of the images, and the buffers behind them."""
    a = mixture_of(net) if mixture is None else each(mixture, lambda v: v.detach().clone().requires_grad_())
    x = x.clone().requires_grad_()
    torch.manual_seed(3)
    output = net(x, a)
    named = {f"a {key}": value for key, value in a.items()}
    named |= {f"w {name}": w for name, w in net.body.named_parameters() if w.requires_grad} | {"x": x}
    gradients = torch.autograd.grad(loss_of(output), list(named.values()), allow_unused=True, materialize_grads=True)
    buffers = {f"b {name}": b.clone() for name, b in net.named_buffers()}
    return {"output": output.detach()} | dict(zip(named, gradients, strict=True)) | buffers


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 1e-10) -> None:
    """Equal up to a share of each tensor's norm (and of 1e-3, below which a gradient here is rounding)."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        distance = (other[name].double() - value.double()).norm()
        assert distance <= tolerance * max(value.double().norm().item(), 1e-3), (name, distance, value.norm())


@pytest.mark.parametrize(
    ("training", "size"),
    [(True, "square"), (True, "odd-gray"), (False, "odd-gray")],
)
@pytest.mark.parametrize("name", NODES)
def test_outputs_gradients_and_running_statistics_are_the_same(
    name: str, training: bool, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Noise, "forward", still)
    net = supernet(name, SIZES[size])
    x = torch.randn(4, *SIZES[size], dtype=torch.float64)
    net.train()
    with torch.no_grad():
        net(2 * x + 1, mixture_of(net))  # running statistics that are not the initial ones
    net.train(training)
    reference, fast = both(net)
    before = {name: b.clone() for name, b in fast.named_buffers()}
    assert_same(everything(reference, x), everything(fast, x))
    assert training != all(torch.equal(b, before[name]) for name, b in fast.named_buffers())


def sparse(net: Supernet, seed: int = 0) -> SparseMixture:
    """A mixture in which some edges are dropped, some decided, some have lost candidates, and the rest have all."""
    draws = generator(seed)
    live: dict[str, tuple[int, ...]] = {}
    rows: dict[str, Tensor] = {}
    for key, a in Softmax().mean(logits(net)).items():
        last = len(a) - 1
        kinds = [(last,), (0, last), None] + ([()] if key.endswith(("<-1", "<-3")) else [])
        places = kinds[int(torch.randint(len(kinds), (), generator=draws))]
        if places is not None:
            live[key] = places
            a = a * torch.tensor([i in places for i in range(len(a))])
        rows[key] = a.detach()
    return SparseMixture(rows, live)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NODES)
def test_a_sparse_mixture_is_the_same_in_both_engines_and_equals_the_dense_one(
    name: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Noise, "forward", still)
    net = supernet(name).train(training)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    dense = copy.deepcopy(net)
    reference, fast = both(net)
    for seed in range(3):
        mixture = sparse(net, seed)
        one, other = everything(reference, x, mixture), everything(fast, x, mixture)
        assert_same(one, other)
        full = everything(dense, x, dict(mixture))
        # The dense evaluation also computes what is multiplied by zero: outputs and gradients of what runs are equal.
        assert_same({"output": one["output"], "x": one["x"]}, {"output": full["output"], "x": full["x"]})
        for key, row in mixture.items():
            places = list(mixture.live.get(key, range(len(row))))
            torch.testing.assert_close(one[f"a {key}"][places], full[f"a {key}"][places])
            rest = [i for i in range(len(row)) if i not in places]
            assert not one[f"a {key}"][rest].any()


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_a_backward_pass_after_the_mode_has_changed_is_that_of_the_forward_pass(name: str, twice: bool) -> None:
    net = supernet(name).train()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        net(2 * x + 1, mixture_of(net))
    found = []
    for one in both(net):
        mixture = mixture_of(one)
        one.eval()
        loss = loss_of(one(x, mixture))
        one.train()
        gradients = torch.autograd.grad(loss, list(mixture.values()), create_graph=twice)
        if twice:
            gradients = torch.autograd.grad(sum((g**2).sum() for g in gradients), list(mixture.values()))
        found.append(dict(zip(mixture, gradients, strict=True)))
        assert all(module.training for module in one.modules())
    assert_same(*found)


@pytest.mark.parametrize("engine", [REFERENCE, FAST])
def test_what_does_not_run_is_not_computed_and_keeps_its_statistics(engine: str) -> None:
    net = supernet("darts").train()
    set_engine(net, engine)
    mixture = sparse(net)
    edges = [module for module in net.modules() if isinstance(module, MixedEdge)]
    still_there = {
        name: buffer.clone()
        for edge in edges
        for place, candidate in enumerate(edge.choice.candidates.values())
        if place not in mixture.live.get(edge.key, range(8))
        for name, buffer in candidate.named_buffers(prefix=f"{id(candidate)}")
    }
    net(torch.randn(4, 3, 8, 8, dtype=torch.float64), mixture)
    for edge in edges:
        places = mixture.live.get(edge.key, tuple(range(8)))
        for place, candidate in enumerate(edge.choice.candidates.values()):
            for name, buffer in candidate.named_buffers(prefix=f"{id(candidate)}"):
                if place in places:
                    assert "num_batches" not in name or buffer == 1
                else:
                    assert torch.equal(buffer, still_there[name])


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_what_finishes_a_node_is_applied_before_later_edges_read_it(name: str) -> None:
    net = supernet(name)
    for graph in (module for module in net.modules() if isinstance(module, Graph)):
        graph.norms = nn.ModuleList(nn.Tanh() for _ in graph.nodes)
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    reference, fast = both(net)
    assert_same(everything(reference, x), everything(fast, x))


@pytest.mark.parametrize("channels", [5, 8, 12, 16])
def test_every_width_is_the_same(channels: int) -> None:
    x = torch.randn(3, 3, 9, 9, dtype=torch.float64)
    reference, fast = both(supernet("darts", (3, 9, 9), channels, cells=2))
    assert_same(everything(reference, x), everything(fast, x))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("name", "form"),
    [(name, SUPERNET) for name in sorted(set(OPERATIONS) - {"noise"})]
    + [(name, NormForm(affine=False, after_pooling=False)) for name in ("avg_pool_3x3", "max_pool_3x3")],
)
def test_every_candidate_is_the_same_alone_and_on_several_edges(name: str, stride: int, form: NormForm) -> None:
    class Body(Graph):
        """Two nodes that read one input and each other by the same candidate."""

        def __init__(self) -> None:
            edges = [[(0, stride), (1, stride)], [(0, stride), (1, stride), (2, 1)]]
            super().__init__([{i: self.edge(n, i, s) for i, s in node} for n, node in enumerate(edges)])

        def edge(self, node: int, source: int, stride: int) -> MixedEdge:
            key = f"{node}-{source}"
            return MixedEdge(Choice({"it": operation(name, 4, stride, form)}, key), key)

        def forward(self, x: Tensor, mixture: dict[str, Tensor]) -> Tensor:
            return torch.cat(self.states([x, x.flip(0)], mixture)[2:], 1)

    for height, width in ((6, 6), (5, 8), (1, 3)):
        net = Supernet(Body()).double()
        reference, fast = both(net)
        mixture = {key: torch.tensor([0.3 + i], dtype=torch.float64) for i, key in enumerate(logits(net))}
        x = torch.randn(3, 4, height, width, dtype=torch.float64)
        assert_same(everything(reference, x, mixture), everything(fast, x, mixture))


def test_single_precision_stays_within_the_stated_tolerance() -> None:
    # The gradient jumps where the input of a ReLU is within rounding of zero: with these few inputs none is. In larger
    # networks some always are, and then either engine differs from a run in double precision.
    net = supernet("darts", (3, 8, 8), 8, cells=1).float()
    reference, fast = both(net)
    x = torch.randn(4, 3, 8, 8)
    one, other = everything(reference, x), everything(fast, x)
    one_loss, other_loss = loss_of(one["output"]), loss_of(other["output"])
    assert abs(one_loss - other_loss) <= 1e-5 * abs(one_loss)
    assert_same(one, other, tolerance=1e-4)


def test_each_half_of_a_step_computes_the_gradients_it_applies() -> None:
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    results = []
    for net in both(supernet("darts")):
        a = mixture_of(net)
        before = {name: b.clone() for name, b in net.named_buffers()}
        output = net.with_weights([w.detach() for w in weights(net)], a, x)  # the logit step
        of_mixture = torch.autograd.grad(loss_of(output), list(a.values()))
        assert all(torch.equal(b, before[name]) for name, b in net.named_buffers())
        output = net(x, {key: value.detach() for key, value in a.items()})  # the weight step
        of_weights = torch.autograd.grad(loss_of(output), weights(net), allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            output = net(x, a)
        results.append({str(i): t for i, t in enumerate([output, *of_mixture, *of_weights])})
    assert_same(*results)


@pytest.mark.parametrize("method", [DARTS, DARTS_2ND], ids=["1st", "2nd"])
def test_trajectories_of_many_steps_are_the_same(method: Method) -> None:
    steps = 50 if method is DARTS else 5
    data = [(torch.randn(8, 3, 6, 6, dtype=torch.float64), torch.randint(3, (8,))) for _ in range(4)]
    ends = []
    for net in both(supernet("darts", (3, 6, 6), nodes=1, cells=2)):
        net.train()
        step = SearchStep(net, method, F.cross_entropy, CPU)
        losses = [step(data[i % 2], data[2 + i % 2], seed=i, now=NOW)[0].detach() for i in range(steps)]
        ends.append({"losses": torch.stack(losses)} | {name: v.clone() for name, v in net.state_dict().items()})
    assert_same(*ends, tolerance=1e-6)


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_second_derivatives_are_those_of_the_reference(name: str) -> None:
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    directions: list[Tensor] = []
    products = []
    for net in both(supernet(name, (3, 6, 6), cells=1, nodes=1 if name == "darts" else None)):
        a = mixture_of(net)
        before = {name: b.clone() for name, b in net.named_buffers()}
        loss = loss_of(net.with_weights(weights(net), a, x))
        of_weights = torch.autograd.grad(
            loss, weights(net), create_graph=True, allow_unused=True, materialize_grads=True
        )
        directions = directions or [torch.randn_like(w) for w in weights(net)]
        inner = sum((g * d).sum() for g, d in zip(of_weights, directions, strict=True))
        second = torch.autograd.grad(inner, [*weights(net), *a.values()], allow_unused=True, materialize_grads=True)
        assert all(torch.equal(b, before[name]) for name, b in net.named_buffers())
        products.append({str(i): t for i, t in enumerate([*of_weights, *second])})
    assert max(t.norm() for t in products[0].values()) > 1
    assert_same(*products)


def test_a_candidate_without_weight_gets_no_gradient_and_has_its_statistics_moved() -> None:
    net = supernet("darts")
    mixture = one_hot(net, {key: i % 8 for i, key in enumerate(logits(net))})
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    reference, fast = both(net)
    one, other = everything(reference, x, mixture), everything(fast, x, mixture)
    assert_same(one, other)
    assert sum(name.startswith("w ") and not value.any() for name, value in other.items()) > 100


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["darts", "rdarts-s2", "nasbench201"])
def test_an_evaluation_computes_no_candidate_without_weight(
    name: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []

    def count(kind: type[Fan | Batched]) -> None:
        call = kind.__call__

        def counting(self: Fan | Batched, *arguments: Any) -> Any:
            convolutions = [m for m in self.members if m.names and not isinstance(m.module, FactorizedReduce)]
            computed.extend(member.place for member in convolutions)
            return call(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(kind, "__call__", counting)

    count(Fan)
    count(Batched)
    net = supernet(name).train(training)
    reference, fast = both(net)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    *keys, dropped = logits(net)
    edges = sum(isinstance(module, MixedEdge) for module in net.modules())
    for option in (0, 1, -1):
        mixture = one_hot(net, dict.fromkeys(keys, option))
        assert not mixture[dropped].any()
        computed.clear()
        with torch.no_grad():
            outputs = [n.with_weights(weights(n), mixture, x) for n in (reference, fast)]
        torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
        assert len(computed) <= edges
    computed.clear()
    with torch.no_grad():
        fast(x, mixture)  # in training it moves the statistics of all candidates
    assert (len(computed) > edges) == (training and name != "rdarts-s2")


class Scaled(nn.Module):
    """A user's own candidate."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x.tanh()


def mixed_with(replacement: Callable[[], nn.Module], names: tuple[str, ...]) -> Supernet:
    net = supernet("darts", cells=1)
    for edge in net.modules():
        if isinstance(edge, MixedEdge):
            for name in names:
                edge.choice.candidates[name] = replacement()
    return net


def test_candidates_that_are_not_known_mix_with_those_that_are() -> None:
    names = ("sep_conv_3x3", "none")
    net = mixed_with(Scaled, names)
    assert unknown_candidates(net) == sorted(names)
    assert unknown_candidates(supernet("darts")) == []
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    reference, fast = both(net)
    assert_same(everything(reference, x), everything(fast, x))


def test_grouped_convolutions_are_called_and_the_rest_is_fast() -> None:
    net = supernet("allegro", cells=2, nodes=2)
    names = [f"allegro_{kind}_conv_{size}" for kind in ("dil", "sep") for size in ("3x3", "5x5")]
    assert unknown_candidates(net) == names
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    reference, fast = both(net)
    assert_same(everything(reference, x), everything(fast, x))


def test_an_edge_may_have_unknown_candidates_alone_or_be_no_mixture() -> None:
    net = supernet("darts", cells=1)
    node = net.body.cells[0].nodes[1]
    for name in tuple(node["0"].choice.candidates):
        node["0"].choice.candidates[name] = Scaled()

    class Plain(nn.Module):
        def forward(self, x: Tensor, mixture: dict[str, Tensor]) -> Tensor:
            return 2 * x

    node["2"] = Plain()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    reference, fast = both(net)
    assert_same(everything(reference, x), everything(fast, x))


def test_noise_is_drawn_from_the_step_s_own_random_numbers() -> None:
    net = supernet("rdarts-s4")
    assert unknown_candidates(net) == ["noise"]
    _, fast = both(net)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    again = copy.deepcopy(fast)
    assert_same(everything(fast, x), everything(again, x), tolerance=0)


def test_frozen_weights_and_statistics_stay_frozen() -> None:
    net = supernet("darts")
    for i, edge in enumerate(m for m in net.modules() if isinstance(m, MixedEdge)):
        if i % 2:
            edge.requires_grad_(False)
        if i % 3 == 0:
            edge.choice.eval()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    reference, fast = both(net)
    assert_same(everything(reference, x), everything(fast, x))


def test_modules_may_be_in_different_modes_on_the_edges_of_one_state() -> None:
    net = supernet("darts", cells=1)
    with torch.no_grad():
        net(torch.randn(4, 3, 8, 8, dtype=torch.float64), mixture_of(net))
    first = next(m for m in net.modules() if isinstance(m, MixedEdge))
    first.eval()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    reference, fast = both(net)
    assert_same(everything(reference, x), everything(fast, x))


def test_settings_of_normalization_may_differ_on_the_edges_of_one_state() -> None:
    net = supernet("darts", cells=1)
    for i, norm in enumerate(m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum, norm.eps = 0.1 + 0.01 * (i % 3), 1e-5 * (1 + i % 2)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    reference, fast = both(net)
    assert_same(everything(reference, x), everything(fast, x))


def test_a_mixture_may_have_another_precision_than_the_network() -> None:
    reference, fast = both(supernet("darts", cells=1).float())
    x = torch.randn(4, 3, 8, 8)
    found = []
    for net in (reference, fast):
        a = {key: torch.full_like(v, 0.2, dtype=torch.float64).requires_grad_() for key, v in logits(net).items()}
        gradients = torch.autograd.grad(loss_of(net(x, a)), list(a.values()))
        found.append(dict(zip(a, gradients, strict=True)))
    assert all(g.dtype == torch.float64 for g in found[1].values())
    assert_same(*found, tolerance=1e-4)


def test_the_engines_share_one_state_dict() -> None:
    reference, fast = both(supernet("darts"))
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    fast(x, mixture_of(fast))
    assert list(reference.state_dict()) == list(fast.state_dict())
    reference.load_state_dict(fast.state_dict())
    set_engine(fast, REFERENCE)
    assert_same(everything(reference, x), everything(fast, x), tolerance=0)


def test_one_value_per_channel_cannot_be_normalized_by_either_engine() -> None:
    for net in both(supernet("darts", (3, 1, 1), cells=1)):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            net(torch.randn(1, 3, 1, 1, dtype=torch.float64), mixture_of(net))


def test_other_precisions_are_computed_by_the_reference() -> None:
    reference, fast = both(supernet("darts", cells=1).float())
    x = torch.randn(4, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = [net.with_weights(weights(net), mixture_of(net), x) for net in (reference, fast)]
    assert torch.equal(*outputs)


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(InputError, match="'quick'"):
        set_engine(supernet("darts", cells=1), "quick")
