import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.nn.choice import Choice
from oche.nn.supernet import ModuleBody, Supernet, weights
from oche.objective.base import Batch
from oche.objective.problem import SupernetProblem

CPU = torch.device("cpu")


class Noisy(nn.Module):
    """A user's module with dropout inside and outside of its choice, and running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
        self.block = Choice({"deep": nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5)), "skip": nn.Identity()})
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.block(self.first(x)))


MIXTURE = {"block": torch.tensor([0.3, 0.7])}


def batch() -> Batch:
    return torch.randn(8, 4), torch.randint(2, (8,))


def problem(seed: int = 3) -> SupernetProblem:
    torch.manual_seed(1)
    return SupernetProblem(Supernet(ModuleBody(Noisy())), F.cross_entropy, seed, CPU)


def test_every_evaluation_of_a_step_sees_the_same_draws() -> None:
    p, data = problem(), batch()
    w = weights(p.supernet)
    outer = torch.get_rng_state()
    losses = [p.train(w, MIXTURE, data), p.valid(w, MIXTURE, data), p.train(w, MIXTURE, data)]
    losses.append(p.forward(MIXTURE, data)[0])
    assert len({loss.item() for loss in losses}) == 1
    assert torch.equal(torch.get_rng_state(), outer)


def test_the_draws_do_not_depend_on_the_outer_state() -> None:
    p, data = problem(), batch()
    found = set()
    for seed in range(3):
        torch.manual_seed(seed)
        found.add(p.train(weights(p.supernet), MIXTURE, data).item())
    assert len(found) == 1


def test_another_step_has_other_draws() -> None:
    data = batch()
    losses = {p.train(weights(p.supernet), MIXTURE, data).item() for p in (problem(1), problem(2), problem(3))}
    assert len(losses) == 3


def test_only_the_output_moves_running_statistics() -> None:
    p, data = problem(), batch()
    before = {name: b.clone() for name, b in p.supernet.named_buffers()}
    p.train(weights(p.supernet), MIXTURE, data)
    p.valid(weights(p.supernet), MIXTURE, data)
    assert all(torch.equal(b, before[name]) for name, b in p.supernet.named_buffers())
    p.forward(MIXTURE, data)
    moved = {name.rpartition(".")[2] for name, b in p.supernet.named_buffers() if not torch.equal(b, before[name])}
    assert moved == {"running_mean", "running_var", "num_batches_tracked"}


def test_the_loss_is_taken_at_the_given_weights() -> None:
    p, data = problem(), batch()
    zero = [torch.zeros_like(w) for w in weights(p.supernet)]
    # All scores are zero then: log 2 for two classes.
    torch.testing.assert_close(p.train(zero, MIXTURE, data), torch.tensor(2.0).log())
    assert any(w.abs().max() > 0 for w in weights(p.supernet))
    assert all(w.grad is None for w in weights(p.supernet))


class Penalized(nn.Module):
    """A body that adds a penalty of its own to its training loss."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Noisy()
        self.body = ModuleBody(self.inner)

    def forward(self, x: Tensor, mixture: dict[str, Tensor]) -> Tensor:
        return self.body(x, mixture)

    def with_auxiliary(self, x: Tensor, mixture: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        scores = self(x, mixture)
        return scores, scores.square().mean()

    def auxiliary_loss(self, inner: Tensor, target: Tensor, loss: object) -> Tensor:
        return inner


def test_a_penalty_of_the_network_is_in_the_training_loss_alone() -> None:
    plain, data = problem(), batch()
    body = Penalized()
    body.inner.load_state_dict(plain.supernet.body.module.state_dict())
    penalized = SupernetProblem(Supernet(body), F.cross_entropy, plain.seed, CPU, auxiliary=0.3)
    w = weights(penalized.supernet)
    loss, output = penalized.forward(MIXTURE, data)
    penalty = 0.3 * output.square().mean()
    assert penalty > 1e-4
    torch.testing.assert_close(loss, F.cross_entropy(output, data[1]) + penalty)
    torch.testing.assert_close(penalized.train(w, MIXTURE, data), loss)
    torch.testing.assert_close(penalized.valid(w, MIXTURE, data), loss - penalty)
    torch.testing.assert_close(plain.forward(MIXTURE, data)[0], loss - penalty)
