import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.data.batches import Batch
from oche.methods import METHODS
from oche.mixture.perturbation import (
    RADIUS,
    AdversarialPerturbation,
    Perturbation,
    TrainingLoss,
    UniformPerturbation,
    Unperturbed,
    on_simplex,
)
from oche.moment import Moment
from oche.nn.network import Stack
from oche.nn.supernet import Supernet, logits, weights
from oche.objective.problem import SupernetProblem
from oche.randomness import derive, frozen
from oche.schedule import Constant
from oche.spaces.registry import space
from oche.step import SearchStep
from oche.task import ImageTask

CPU = torch.device("cpu")
NOW = Moment(epoch=5, epochs=10)
EPS = 0.03 + 0.27 * 0.5
SIZES = {"a": 2, "b": 3, "c": 8}


def mixture() -> dict[str, Tensor]:
    return {key: torch.softmax(2 * torch.randn(n, dtype=torch.float64), 0) for key, n in SIZES.items()}


def curved(m: Mapping[str, Tensor]) -> Tensor:
    """A loss that is neither linear nor convex in the mixture."""
    terms = [(torch.arange(1.0, len(a) + 1, dtype=torch.float64) * torch.sin(5 * a)).sum() for a in m.values()]
    return torch.stack(terms).sum() + m["a"][0] * m["b"][1] * m["c"][2]


def unused(m: Mapping[str, Tensor]) -> Tensor:
    raise AssertionError("the loss was evaluated")


# -- back on the simplex -----------------------------------------------------------------------------------------------


def test_rows_come_back_on_the_simplex() -> None:
    clean = torch.softmax(torch.randn(200, 5, dtype=torch.float64), -1)
    rows = clean + torch.empty_like(clean).uniform_(-0.5, 0.5)
    found = on_simplex(rows, clean)
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(-1), torch.ones(200, dtype=torch.float64))
    empty = 0
    for row, back, before in zip(rows.tolist(), found.tolist(), clean.tolist(), strict=True):
        clamped = [min(max(x, 0.0), 1.0) for x in row]
        if sum(clamped) == 0:
            empty += 1
            assert back == [float(x == max(before)) for x in before]
        else:
            assert back == pytest.approx([x / sum(clamped) for x in clamped])
    assert 0 < empty < 100


def test_interior_rows_of_sum_one_stay() -> None:
    clean = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], dtype=torch.float64)
    assert torch.equal(on_simplex(clean, clean.flip(-1)), clean)


def test_a_row_that_is_all_zero_becomes_one_at_the_largest_clean_weight() -> None:
    clean = torch.tensor([[0.2, 0.5, 0.3], [0.4, 0.3, 0.3]], dtype=torch.float64)
    rows = torch.tensor([[-0.1, -0.2, 0.0], [-0.1, 0.5, 0.5]], dtype=torch.float64, requires_grad=True)
    found = on_simplex(rows, clean)
    assert found.tolist() == [[0.0, 1.0, 0.0], [0.0, 0.5, 0.5]]
    (gradient,) = torch.autograd.grad(found.square().sum(), rows)
    assert gradient.isfinite().all()


def test_the_way_back_is_differentiable() -> None:
    clean = torch.softmax(torch.randn(4, 5, dtype=torch.float64), -1)
    inside = (clean + 0.05 * torch.rand_like(clean)).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: on_simplex(rows, clean), [inside])


def test_the_radius_grows_over_the_search() -> None:
    for epoch in (0, 10, 25, 50):
        assert RADIUS.at(Moment(epoch=epoch, epochs=50).fraction) == pytest.approx(0.03 + 0.27 * epoch / 50)
    for kind in (UniformPerturbation(), AdversarialPerturbation()):
        assert kind.radius == RADIUS
    assert AdversarialPerturbation().steps == 7


# -- random ------------------------------------------------------------------------------------------------------------


def test_nothing_changes_without_a_perturbation() -> None:
    clean = mixture()
    found = Unperturbed().apply(clean, NOW, unused)
    assert all(torch.equal(found[key], clean[key]) for key in clean)


@pytest.mark.parametrize("epoch", [0, 5, 9])
def test_the_random_one_draws_from_the_box_and_comes_back(epoch: int) -> None:
    clean, eps = mixture(), 0.03 + 0.27 * epoch / 10
    torch.manual_seed(4)
    found = UniformPerturbation().apply(clean, Moment(epoch=epoch, epochs=10), unused)
    torch.manual_seed(4)
    for key, a in clean.items():
        u = torch.empty_like(a).uniform_(-eps, eps)
        assert u.abs().max() <= eps
        assert torch.equal(found[key], on_simplex(a + u, a))
        assert not torch.equal(found[key], a)


def test_the_random_one_reaches_the_whole_box() -> None:
    # Two candidates in the middle: a_1 after the perturbation is (0.5 + u) / (1 + u + v).
    rows = torch.full((20_000, 2), 0.5, dtype=torch.float64)
    found = UniformPerturbation(radius=Constant(0.2)).apply({"a": rows}, NOW, unused)["a"][:, 0]
    assert 0.3 <= found.min() < 0.31
    assert 0.69 < found.max() <= 0.7
    assert abs(found.mean() - 0.5) < 4.9 * found.std() / len(found) ** 0.5


# -- adversarial -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [0, 5, 9])
def test_the_adversarial_one_never_lowers_the_loss(epoch: int) -> None:
    risen = 0
    for _ in range(50):
        clean = mixture()
        found = AdversarialPerturbation().apply(clean, Moment(epoch=epoch, epochs=10), curved)
        assert curved(found) >= curved(clean)
        risen += bool(curved(found) > curved(clean))
        for a in found.values():
            assert (a >= 0).all()
            assert a.sum().item() == pytest.approx(1)
            assert not a.requires_grad
    assert risen > 25


@pytest.mark.parametrize("strong", [0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("costs", [(1.0, 2.0), (2.0, 1.0)])
def test_it_raises_the_loss_of_two_candidates_as_far_as_the_box_allows(
    strong: float, costs: tuple[float, float]
) -> None:
    c, eps = torch.tensor(costs, dtype=torch.float64), 0.2
    clean = torch.tensor([strong, 1 - strong], dtype=torch.float64)
    adversary = AdversarialPerturbation(radius=Constant(eps))

    def loss(m: Mapping[str, Tensor]) -> Tensor:
        return c @ m["a"]

    # The cost is a ratio, so its maximum over the box is at a corner.
    corners = [torch.tensor([x, y], dtype=torch.float64) for x in (-eps, eps) for y in (-eps, eps)]
    largest = max(loss({"a": on_simplex(clean + u, clean)}).item() for u in corners)
    for seed in range(40):
        torch.manual_seed(seed)
        found = adversary.apply({"a": clean}, NOW, loss)
        assert loss(found) > loss({"a": clean})
        assert loss(found).item() <= largest + 1e-12
        if strong + eps <= 1:  # an ascent that never touches an end of [0, 1] gets all the way
            assert loss(found).item() == pytest.approx(largest)


def test_the_gradient_is_taken_through_the_division_by_the_sum() -> None:
    # All candidates gain from a larger weight, the first one least. Without the division each of them would grow.
    c = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    clean = torch.full((3,), 1 / 3, dtype=torch.float64)
    found = AdversarialPerturbation(radius=Constant(0.05)).apply({"a": clean}, NOW, lambda m: c @ m["a"])["a"]
    # d(c.p / sum p)/dp_i = (c_i - mean) / sum: the first falls, the last rises.
    assert found[0] < 1 / 3 < found[2]
    ascent = torch.tensor([1 / 3 - 0.05, 1 / 3, 1 / 3 + 0.05], dtype=torch.float64)
    assert c @ found > c @ clean + 0.5 * (c @ ascent - c @ clean)


def test_the_clean_weights_stay_where_the_loss_did_not_rise() -> None:
    clean = mixture()
    peak = {key: a.clone() for key, a in clean.items()}

    def falls_everywhere(m: Mapping[str, Tensor]) -> Tensor:
        return -torch.stack([(m[key] - peak[key]).square().sum() for key in m]).sum()

    found = AdversarialPerturbation().apply(clean, NOW, falls_everywhere)
    assert all(torch.equal(found[key], clean[key]) for key in clean)
    constant = AdversarialPerturbation().apply(clean, NOW, lambda m: 0 * m["a"].sum())
    assert all(torch.equal(constant[key], clean[key]) for key in clean)


def test_it_evaluates_the_loss_once_a_step_and_compares_twice() -> None:
    calls = []

    def counted(m: Mapping[str, Tensor]) -> Tensor:
        calls.append(torch.is_grad_enabled())
        return curved(m)

    AdversarialPerturbation().apply(mixture(), NOW, counted)
    assert calls == [True] * 7 + [False] * 2


# -- in a step ---------------------------------------------------------------------------------------------------------


TASK = ImageTask(channels=1, height=8, width=8, classes=2)
SPACE = space("rdarts-s3", nodes=1).replace(supernet_stack=Stack(cells=2, channels=4))


def batch() -> Batch:
    return torch.randn(6, 1, 8, 8), torch.arange(6) % 2


@dataclass(frozen=True)
class Watched:
    """Another perturbation, with a look at the supernet before and after."""

    inner: Perturbation
    supernet: Supernet
    seen: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = field(default_factory=list)

    def apply(self, clean: Mapping[str, Tensor], now: Moment, loss: TrainingLoss) -> dict[str, Tensor]:
        state = {name: value.clone() for name, value in self.supernet.state_dict().items()}
        modes = {name: module.training for name, module in self.supernet.named_modules()}
        gradients = [None if w.grad is None else w.grad.clone() for w in self.supernet.parameters()]
        drawn = torch.get_rng_state()
        loss(clean)
        assert torch.equal(torch.get_rng_state(), drawn)
        found = self.inner.apply(clean, now, loss)
        assert all(torch.equal(value, state[name]) for name, value in self.supernet.state_dict().items())
        assert {name: module.training for name, module in self.supernet.named_modules()} == modes
        for w, g in zip(self.supernet.parameters(), gradients, strict=True):
            assert (w.grad is None and g is None) or torch.equal(w.grad, g)  # type: ignore[arg-type]
        self.seen.append((dict(clean), found))
        return found


@pytest.mark.parametrize("name", ["sdarts-rs", "sdarts-adv"])
def test_a_perturbed_weight_step_moves_the_weights_alone(name: str) -> None:
    supernet = SPACE.supernet(TASK)
    next(m for m in supernet.modules() if isinstance(m, nn.BatchNorm2d)).eval()  # a user's own choice
    watched = Watched(METHODS[name].perturbation, supernet)
    step = SearchStep(supernet, replace(METHODS[name], perturbation=watched), F.cross_entropy, CPU)
    before = {key: value.detach().clone() for key, value in logits(supernet).items()}
    old = [w.detach().clone() for w in weights(supernet)]
    step(batch(), batch(), seed=1, now=NOW, move_logits=False)
    assert all(torch.equal(value, before[key]) for key, value in logits(supernet).items())
    assert all(value.grad is None for value in logits(supernet).values())
    assert not any(torch.equal(w, v) for w, v in zip(weights(supernet), old, strict=True))
    ((clean, found),) = watched.seen
    assert any(not torch.equal(found[key], clean[key]) for key in clean)


@pytest.mark.parametrize("name", ["sdarts-rs", "sdarts-adv"])
def test_the_logit_step_does_not_see_the_perturbation(name: str) -> None:
    moved = []
    data = batch(), batch()
    start = SPACE.supernet(TASK)
    for method in (METHODS[name], METHODS["darts"]):
        supernet = copy.deepcopy(start)
        SearchStep(supernet, method, F.cross_entropy, CPU)(*data, seed=1, now=NOW)
        moved.append((logits(supernet), weights(supernet)))
    assert all(torch.equal(moved[0][0][key], moved[1][0][key]) for key in moved[0][0])
    assert not all(torch.equal(w, v) for w, v in zip(moved[0][1], moved[1][1], strict=True))


def test_the_weights_step_at_the_perturbed_mixture() -> None:
    start, (x, y) = SPACE.supernet(TASK).double(), batch()
    supernet = copy.deepcopy(start)
    step = SearchStep(supernet, METHODS["sdarts-rs"], F.cross_entropy, CPU)
    loss, _ = step((x.double(), y), batch(), seed=9, now=NOW, move_logits=False)
    clean = {key: torch.softmax(value.detach(), 0) for key, value in logits(start).items()}
    with frozen(derive(9, "perturbation"), CPU):
        noise = {key: torch.empty_like(a).uniform_(-EPS, EPS) for key, a in clean.items()}
    perturbed = {key: on_simplex(a + noise[key], a) for key, a in clean.items()}
    torch.testing.assert_close(loss, F.cross_entropy(start(x.double(), perturbed), y))


def test_the_adversary_sees_the_loss_in_evaluation_mode() -> None:
    supernet, data = SPACE.supernet(TASK), batch()
    problem = SupernetProblem(supernet, F.cross_entropy, 3, CPU)
    supernet(data[0], {key: torch.softmax(value, 0) for key, value in logits(supernet).items()})  # statistics move
    clean = {key: torch.softmax(value.detach(), 0) for key, value in logits(supernet).items()}
    found = problem.loss_at(clean, data)
    assert found != problem.train([w.detach() for w in weights(supernet)], clean, data)
    supernet.eval()
    assert found == F.cross_entropy(supernet(data[0], clean), data[1])
