import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
import torch
from scipy.stats import binom
from torch import Tensor, nn
from torch.nn import functional as F

from oche.data.batches import Batch, IterableBatches
from oche.data.halves import SearchData
from oche.errors import InputError
from oche.loop import run_search
from oche.methods import METHODS
from oche.metrics import ACCURACY
from oche.mixture.batch_mixed import SMOOTH, BatchMixed
from oche.moment import Moment
from oche.nn.cell import MixedEdge
from oche.nn.choice import Choice
from oche.nn.engine import set_engine
from oche.nn.network import Stack
from oche.nn.supernet import Supernet, initialize_logits, logits
from oche.objective.base import Bilevel, Point
from oche.objective.first_order import FirstOrder
from oche.probe.entropy import entropy
from oche.randomness import derive, frozen, generator
from oche.schedule import Epochs, Share
from oche.spaces.module_space import ModuleSpace
from oche.spaces.registry import space
from oche.step import SearchStep
from oche.task import ImageTask

CPU = torch.device("cpu")
T = 1e-3
SPARSE = BatchMixed(t_sparse=T, p_low=1.0, skip_below=0.0)
SMOOTH_STEP = BatchMixed(t_sparse=T, p_up=0.0)
NOW = Moment(epoch=5, epochs=10)
LOGITS = {"a": T * torch.randn(3, dtype=torch.float64), "b": 5 * T * torch.randn(8, dtype=torch.float64)}


def chance(mixture: BatchMixed, epoch: int, epochs: int) -> float:
    return mixture.probability(Moment(epoch=epoch, epochs=epochs))


def by_hand(value: Tensor, temperature: float) -> list[float]:
    exponentials = [math.exp(x / temperature) for x in value.tolist()]
    return [e / sum(exponentials) for e in exponentials]


# -- when a step is sparse ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm_up", [0, 1, 4])
@pytest.mark.parametrize(("low", "up"), [(0.0, 1.0), (0.0, 0.9), (0.2, 0.7), (0.5, 0.5)])
def test_the_probability_has_its_corners_and_is_a_line_between_them(warm_up: int, low: float, up: float) -> None:
    mixture, epochs = BatchMixed(t_sparse=T, p_low=low, p_up=up, warm_up=Epochs(warm_up)), 20
    p = [chance(mixture, epoch, epochs) for epoch in range(epochs)]
    assert p[:warm_up] == [0.0] * warm_up
    assert p[-1] == pytest.approx(up)
    # Eq. 20 at i = e + 1, which starts from p_low at i = i_wp.
    for epoch in range(warm_up, epochs):
        i = epoch + 1
        assert p[epoch] == pytest.approx(low + (up - low) / (epochs - warm_up) * (i - warm_up))


def test_a_warm_up_may_be_a_share_and_may_fill_the_search() -> None:
    mixture = BatchMixed(t_sparse=T, warm_up=Share(1 / 50))
    for epochs, smooth in ((50, 1), (100, 2), (200, 4), (10, 1), (2, 1)):
        assert [chance(mixture, e, epochs) for e in range(epochs)].count(0.0) == smooth
        assert chance(mixture, epochs - 1, epochs) == 1.0
    everything = BatchMixed(t_sparse=T, warm_up=Epochs(7))
    assert [chance(everything, e, 5) for e in range(5)] == [0.0] * 5


@pytest.mark.parametrize("epoch", [0, 4, 12, 19])
def test_sparse_steps_are_as_frequent_as_the_probability_says(epoch: int) -> None:
    mixture, count = BatchMixed(t_sparse=T), 2000
    now = Moment(epoch=epoch, epochs=20)
    sparse = 0
    for step in range(count):
        with frozen(derive(step, "mixture"), CPU):  # as the loop draws
            drawn = mixture.draw(LOGITS, now)
        sparse += drawn["a"].tolist() == pytest.approx(by_hand(LOGITS["a"], T))
    # Exact interval of the binomial distribution: a correct draw fails once in 10^6.
    lowest, highest = binom.interval(1 - 1e-6, count, mixture.probability(now))
    assert lowest <= sparse <= highest


def test_one_temperature_for_all_edges() -> None:
    mixture, seen = BatchMixed(t_sparse=T, p_low=0.5, p_up=0.5, warm_up=Epochs(0), skip_below=0.0), set()
    for _ in range(30):
        drawn = mixture.draw(LOGITS, NOW)
        (temperature,) = (t for t in (T, 10 * T) if drawn["a"].tolist() == pytest.approx(by_hand(LOGITS["a"], t)))
        assert drawn["b"].tolist() == pytest.approx(by_hand(LOGITS["b"], temperature))
        seen.add(temperature)
    assert seen == {T, 10 * T}


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Choice({"linear": nn.Linear(3, 3), "skip": nn.Identity(), "tanh": nn.Tanh()})
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x))


@dataclass(frozen=True)
class Watched:
    """First-order, with a note of the mixture of the logit step."""

    seen: list[list[float]] = field(default_factory=list)

    def check(self, optimizer: torch.optim.Optimizer) -> None:
        """Every optimizer will do."""

    def gradient(self, problem: Bilevel, point: Point) -> dict[str, Tensor]:
        self.seen.append(point.mixture["block"].tolist())
        return FirstOrder().gradient(problem, point)


@dataclass(frozen=True)
class WatchedWeights:
    """No perturbation, with a note of the mixture of the weight step."""

    seen: list[list[float]] = field(default_factory=list)

    def apply(self, mixture: dict[str, Tensor], now: Moment, loss: object) -> dict[str, Tensor]:
        self.seen.append(mixture["block"].tolist())
        return mixture


def rows(count: int) -> list[Batch]:
    return [(torch.randn(6, 3), torch.arange(6) % 2) for _ in range(count)]


def test_both_halves_of_a_step_see_the_same_temperature() -> None:
    supernet = ModuleSpace(Small()).supernet()
    values = logits(supernet)["block"]
    with torch.no_grad():
        values.copy_(torch.tensor([0.0, 0.005, 0.01]))
    objective, perturbation = Watched(), WatchedWeights()
    mixture = BatchMixed(t_sparse=T, p_low=0.5, p_up=0.5)
    method = replace(METHODS["sp-darts"], objective=objective, perturbation=perturbation, relaxation=mixture)  # type: ignore[arg-type]
    step = SearchStep(supernet, method, F.cross_entropy, CPU)
    kinds, (train, valid) = set(), rows(2)
    for seed in range(20):
        before = values.detach().clone()
        step(train, valid, seed=seed, now=NOW)
        # The weight step comes after the logits have moved.
        (temperature,) = (t for t in (T, 10 * T) if objective.seen[-1] == pytest.approx(by_hand(before, t), abs=1e-5))
        assert perturbation.seen[-1] == pytest.approx(by_hand(values, temperature), abs=1e-5)
        kinds.add(temperature)
    assert kinds == {T, 10 * T}


# -- what it is --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mixture", "temperature"), [(SPARSE, T), (SMOOTH_STEP, SMOOTH * T)])
def test_a_draw_is_the_softmax_at_its_temperature(mixture: BatchMixed, temperature: float) -> None:
    last = Moment(epoch=9, epochs=10)
    for key, a in mixture.draw(LOGITS, last).items():
        assert a.tolist() == pytest.approx(by_hand(LOGITS[key], temperature))
    assert mixture.scale == SMOOTH * T


@pytest.mark.parametrize("count", [2, 5, 8])
def test_equal_logits_have_the_largest_entropy(count: int) -> None:
    edges = {str(e): torch.full((count,), 0.3 * e) for e in range(6)}
    assert entropy(SPARSE.mean(edges)) == pytest.approx(6 * math.log(count), rel=1e-6)


def test_a_gap_far_above_the_temperature_has_no_entropy_and_no_nan() -> None:
    edges = {"a": torch.tensor([0.0, 1.0, 0.0]), "b": torch.tensor([-50.0, 3.0, 50.0])}
    assert entropy(SPARSE.mean(edges)) == 0.0
    leaves = {key: value.requires_grad_() for key, value in edges.items()}
    drawn = SPARSE.draw(leaves, Moment(epoch=9, epochs=10))
    gradients = torch.autograd.grad(sum(a @ torch.arange(3.0) for a in drawn.values()), list(leaves.values()))
    assert all(torch.equal(g, torch.zeros(3)) for g in gradients)


def test_the_strongest_candidate_does_not_depend_on_the_temperature() -> None:
    for _ in range(50):
        edges = {"a": 3 * T * torch.randn(7, dtype=torch.float64)}
        strongest = edges["a"].argmax()
        for mixture in (SPARSE, SMOOTH_STEP):
            assert mixture.draw(edges, Moment(epoch=9, epochs=10))["a"].argmax() == strongest
        assert SPARSE.log_strength(edges)["a"].argmax() == strongest


def test_edges_are_compared_by_float64_log_softmax_where_weights_are_all_one() -> None:
    edges = {"weak": torch.tensor([0.10, 0.0, 0.0]), "strong": torch.tensor([0.11, 0.0, 0.0])}
    drawn = SPARSE.draw(edges, Moment(epoch=9, epochs=10))
    assert drawn["weak"][0] == drawn["strong"][0] == 1.0  # float32 tells them apart no more
    found = SPARSE.log_strength(edges)
    assert found["weak"].dtype == torch.float64
    for key, value in edges.items():
        gap = value[0].double() / T
        expected = -torch.log1p(2 * torch.exp(-gap))
        assert found[key][1].item() == pytest.approx(expected.item() - gap.item(), rel=1e-12)
    assert found["strong"][1] < found["weak"][1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"t_sparse": 0.0}, "t_sparse > 0"),
        ({"t_sparse": math.nan}, "t_sparse > 0"),
        ({"t_sparse": T, "p_low": 0.6, "p_up": 0.5}, "p_low=0.6, p_up=0.5"),
        ({"t_sparse": T, "p_up": 1.1}, "p_up=1.1"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BatchMixed(**values)  # type: ignore[arg-type]


# -- what is skipped ---------------------------------------------------------------------------------------------------

LAST = Moment(epoch=9, epochs=10)


def cells(std: float = 3 * T) -> Supernet:
    """A supernet in float64 whose logits lie a few temperatures apart."""
    torch.manual_seed(0)
    task = ImageTask(channels=1, height=8, width=8, classes=2)
    net = (
        space("darts-without-none", nodes=2).replace(supernet_stack=Stack(cells=2, channels=4)).supernet(task).double()
    )
    initialize_logits(net, std, generator(1))
    return net


def images(count: int = 6) -> Batch:
    return torch.randn(count, 1, 8, 8, dtype=torch.float64), torch.arange(count) % 2


def sparse_at(tolerance: float) -> BatchMixed:
    return BatchMixed(t_sparse=T, p_low=1.0, p_up=1.0, warm_up=Epochs(0), skip_below=tolerance)


@dataclass(frozen=True)
class Dense(BatchMixed):
    """SP-DARTS without skipping, in the fewest words."""

    def draw(self, logits: Mapping[str, Tensor], now: Moment) -> dict[str, Tensor]:
        t = self.t_sparse if float(torch.rand(())) < self.probability(now) else 10 * self.t_sparse
        return {key: torch.softmax(value / t, 0) for key, value in logits.items()}


def trajectory(relaxation: BatchMixed, engine: str) -> dict[str, Tensor]:
    net = cells()
    set_engine(net, engine)
    step = SearchStep(net, replace(METHODS["sp-darts"], relaxation=relaxation), F.cross_entropy, CPU)
    torch.manual_seed(2)
    for seed in range(6):
        step(images(), images(), seed=seed, now=Moment(epoch=5, epochs=10))
    return net.state_dict()


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_without_tolerance_the_trajectory_is_the_dense_one(engine: str) -> None:
    dense = trajectory(Dense(t_sparse=T), engine)
    same = trajectory(BatchMixed(t_sparse=T, skip_below=0.0), engine)
    assert all(torch.equal(value, dense[name]) for name, value in same.items())
    skipping = trajectory(BatchMixed(t_sparse=T, skip_below=1e-1), engine)
    assert any(not torch.equal(value, dense[name]) for name, value in skipping.items())


def test_the_loss_comes_closer_as_the_tolerance_falls() -> None:
    net, (x, y) = cells(std=6 * T), images()
    losses = [
        F.cross_entropy(net(x, sparse_at(tolerance).draw(logits(net), LAST)), y).item()
        for tolerance in (0.0, 1e-2, 1e-3, 1e-4, 1e-5)
    ]
    errors = [abs(loss - losses[0]) for loss in losses[1:]]
    assert errors[0] > 0
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-2 * errors[0]


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_where_weights_are_one_hot_one_candidate_per_edge_is_computed(engine: str) -> None:
    net = cells(std=1.0)
    set_engine(net, engine)
    mixture = BatchMixed(t_sparse=T, p_low=1.0, p_up=1.0, warm_up=Epochs(0)).draw(logits(net), LAST)
    edges = [module for module in net.modules() if isinstance(module, MixedEdge)]
    assert all(len(mixture.live[edge.key]) == 1 for edge in edges)  # type: ignore[attr-defined]
    calls: dict[str, list[str]] = {edge.key: [] for edge in edges}
    for edge in edges:
        for name, candidate in edge.choice.candidates.items():
            candidate.register_forward_hook(lambda m, i, o, key=edge.key, name=name: calls[key].append(name))
    net(images()[0], mixture)
    for edge in edges:
        strongest = list(edge.choice.candidates)[int(logits(net)[edge.key].argmax())]
        if engine == "reference":  # the fast one calls no module
            assert calls[edge.key] == [strongest]
        for name, candidate in edge.choice.candidates.items():
            counts = [b.item() for key, b in candidate.named_buffers() if key.endswith("num_batches_tracked")]
            assert set(counts) <= {int(name == strongest)}


def test_what_is_skipped_has_zero_gradients_and_its_momentum_goes_on() -> None:
    net = cells(std=1.0)
    step = SearchStep(net, replace(METHODS["sp-darts"], relaxation=sparse_at(1e-5)), F.cross_entropy, CPU)
    edge = next(module for module in net.modules() if isinstance(module, MixedEdge))
    place = int(logits(net)[edge.key].argmax())
    other = next(c for i, c in enumerate(edge.choice.candidates.values()) if i != place and list(c.parameters()))
    w = next(other.parameters())
    values = [w.detach().clone()]
    for seed in range(3):
        step(images(), images(), seed=seed, now=LAST)
        assert w.grad is not None
        assert not w.grad.any()
        values.append(w.detach().clone())
    # By hand: v <- 0.9 v + decay w, w <- w - lr v with the constant rate 0.05.
    v, expected = torch.zeros_like(w), values[0]
    for value in values[1:]:
        v = 0.9 * v + 3e-4 * expected
        expected = expected - 0.05 * v
        torch.testing.assert_close(value, expected)


# -- the views ---------------------------------------------------------------------------------------------------------


def test_the_discretized_view_is_one_at_the_strongest_candidate() -> None:
    found = BatchMixed(t_sparse=T).views(LOGITS)
    assert list(found) == ["discretized", "sparse"]
    for key, value in LOGITS.items():
        hard = found["discretized"][key]
        assert hard.dtype == value.dtype
        assert hard.tolist() == [
            float(i == max(range(len(value)), key=value.tolist().__getitem__)) for i in range(len(value))
        ]
        assert found["sparse"][key].tolist() == pytest.approx(by_hand(value, T / 10))


def test_the_discretized_view_of_a_supernet_is_the_discrete_choice() -> None:
    module = Small()
    s = ModuleSpace(module)
    supernet, x = s.supernet(), torch.randn(5, 3)
    with torch.no_grad():
        logits(supernet)["block"].copy_(torch.tensor([0.1, 0.2, 0.3]) * T)
    hard = BatchMixed(t_sparse=T).views({k: v.detach() for k, v in logits(supernet).items()})["discretized"]
    torch.testing.assert_close(supernet(x, hard), supernet.body.module.head(torch.tanh(x)))  # type: ignore[union-attr, operator]


def test_a_search_records_both_accuracies() -> None:
    s = ModuleSpace(Small())
    supernet, valid = s.supernet(), rows(4)
    own = IterableBatches(valid, CPU, 1)
    found = run_search(
        supernet,
        s.domain,
        METHODS["sp-darts"],
        SearchData(train=IterableBatches(rows(3), CPU, 0), valid=own, evaluation=own),
        loss=F.cross_entropy,
        metrics=ACCURACY,
        epochs=3,
        seed=0,
        device=CPU,
    )
    last = found.records[-1]
    assert {"valid_accuracy", "valid_discretized_accuracy", "valid_sparse_accuracy"} <= last.keys()
    values = logits(supernet)["block"].detach()
    views = {
        "discretized": F.one_hot(values.argmax(), 3).float(),
        "sparse": torch.softmax(values / (T / 10), 0),
        "": torch.softmax(values / T, 0),
    }
    supernet.eval()
    for view, a in views.items():
        outputs = [supernet(x, {"block": a}) for x, _ in valid]
        right = [(o.argmax(1) == y).float().mean().item() for o, (_, y) in zip(outputs, valid, strict=True)]
        losses = [F.cross_entropy(o, y).item() for o, (_, y) in zip(outputs, valid, strict=True)]
        name = f"valid_{view}_" if view else "valid_"
        assert last[name + "accuracy"] == pytest.approx(sum(right) / 4, rel=1e-5)
        assert last[name + "loss"] == pytest.approx(sum(losses) / 4, rel=1e-5)
