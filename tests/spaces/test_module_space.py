"""A user's module with choices of every kind: the discrete network equals the supernet under a one-hot mixture."""

from collections.abc import Mapping
from itertools import islice
from random import Random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.architecture import Architecture, Candidate
from oche.errors import InputError
from oche.nn.choice import Choice, Decision, InputChoice, ValueChoice, decisions
from oche.nn.supernet import Supernet, logits, one_hot
from oche.spaces.module_space import ModuleSpace


def block(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv1d(channels, channels, 3, padding=1), nn.BatchNorm1d(channels), nn.ReLU())


class Everything(nn.Module):
    """Shared keys, a choice within a choice, inputs, a width, a kernel and a depth."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Choice({"conv": block(4), "skip": nn.Identity()}, key="shared")
        self.second = Choice({"conv": block(4), "skip": nn.Identity()}, key="shared")
        self.outer = Choice(
            {
                "deep": nn.Sequential(block(4), Choice({"conv": block(4), "skip": nn.Identity()}, key="inner")),
                "direct": Choice({"conv": block(4), "tanh": nn.Tanh()}),
                "plain": nn.Conv1d(4, 4, 1),
            }
        )
        self.inputs = InputChoice(3, keep=2)
        self.width = ValueChoice([2, 4])
        self.kernel = ValueChoice([1, 3])
        self.weight = nn.Parameter(torch.randn(4, 4, 3))
        self.layers = nn.ModuleList([nn.Conv1d(4, 4, 1) for _ in range(2)])
        self.depth = ValueChoice([1, 2])
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        b = self.second(a)
        c = self.outer(b)
        y = self.inputs([a, b, c])
        y = F.conv1d(self.width.width(y), self.kernel.kernel(self.weight), padding=1)
        outputs = []
        for layer in self.layers:
            y = torch.tanh(layer(y))
            outputs.append(y)
        return self.head(self.depth.depth(outputs).mean(dim=2))


KEYS = {
    "shared": ("conv", "skip"),
    "outer": ("deep", "direct", "plain"),
    "inner": ("conv", "skip"),
    "outer/candidates/direct": ("conv", "tanh"),
    "inputs": ((0, 1), (0, 2), (1, 2)),
    "width": (2, 4),
    "kernel": (1, 3),
    "depth": (1, 2),
}
X = torch.randn(5, 4, 6, dtype=torch.float64)


def selection(space: ModuleSpace, supernet: Supernet, chosen: Mapping[str, Candidate]) -> dict[str, Tensor]:
    return one_hot(supernet, {k: space.domain.edges[k].candidates.index(v) for k, v in chosen.items()})


def test_every_key_is_one_decision() -> None:
    space = ModuleSpace(Everything())
    assert {k: e.candidates for k, e in space.domain.edges.items()} == KEYS
    assert {k: len(v) for k, v in logits(space.supernet()).items()} == {k: len(v) for k, v in KEYS.items()}
    assert space.name == "Everything"
    assert space.domain.size == len(list(space.domain.enumerate()))


def test_the_network_equals_the_supernet_under_a_one_hot_mixture() -> None:
    space = ModuleSpace(Everything())
    supernet = space.supernet().double()
    # Training has changed weights and running statistics.
    with torch.no_grad():
        for p in supernet.parameters():
            p.add_(0.1 * torch.randn_like(p))
        supernet(X, {k: torch.full((len(v),), 1 / len(v)) for k, v in KEYS.items()})
    rng, outputs = Random(0), []
    for _ in range(25):
        architecture = space.domain.sample(rng)
        network = space.network(architecture, weights_of=supernet)
        mixture = selection(space, supernet, architecture.choices)
        for training in (False, True):
            out = network.train(training)(X)
            expected = supernet.train(training).with_weights(list(supernet.body.parameters()), mixture, X)
            torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
        outputs.append(out)
    assert any(not torch.allclose(outputs[0], y) for y in outputs[1:])


def test_every_candidate_of_every_key_is_reached() -> None:
    space = ModuleSpace(Everything())
    supernet = space.supernet().double().eval()
    base = next(space.domain.enumerate())
    for key, options in KEYS.items():
        for option in options:
            chosen = dict(base.choices) | {key: option}
            network = space.network(Architecture.of(space.name, chosen), weights_of=supernet).eval()
            torch.testing.assert_close(network(X), supernet(X, selection(space, supernet, chosen)))


def test_without_a_supernet_the_network_has_the_modules_own_weights() -> None:
    module = Everything().double().eval()
    space = ModuleSpace(module)
    architecture = Architecture.of(
        space.name,
        {key: options[-1] for key, options in KEYS.items()},
    )
    network = space.network(architecture).eval()
    supernet = space.supernet().eval()
    torch.testing.assert_close(network(X), supernet(X, selection(space, supernet, architecture.choices)))


def test_nothing_undecided_is_left_in_the_network() -> None:
    space = ModuleSpace(Everything())
    for architecture in islice(space.domain.enumerate(), 0, None, 7):
        network = space.network(architecture)
        assert all(len(choice.options) == 1 for _, _, choice in decisions(network))
        assert not any(isinstance(m, Choice | InputChoice) for m in network.modules())


def test_the_users_module_is_never_changed() -> None:
    module = Everything()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    kinds = [type(m) for m in module.modules()]
    space = ModuleSpace(module)
    supernet = space.supernet()
    with torch.no_grad():
        for p in supernet.parameters():
            p.zero_()
    network = space.network(next(space.domain.enumerate()), weights_of=supernet)
    network(X.float())
    assert [type(m) for m in module.modules()] == kinds
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_the_network_does_not_share_memory_with_the_supernet() -> None:
    space = ModuleSpace(Everything())
    supernet = space.supernet()
    network = space.network(next(space.domain.enumerate()), weights_of=supernet)
    theirs = {p.data_ptr() for p in supernet.parameters()}
    assert not theirs & {p.data_ptr() for p in network.parameters()}


def test_a_choice_used_in_two_places_is_decided_in_both() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = Choice({"linear": nn.Linear(3, 3), "skip": nn.Identity()})
            self.b = self.a

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.tanh(self.a(x)))

    space = ModuleSpace(Twice())
    supernet = space.supernet()
    x = torch.randn(2, 3)
    for option in ("linear", "skip"):
        network = space.network(Architecture.of("Twice", {"a": option}), weights_of=supernet)
        assert not any(isinstance(m, Decision) for m in network.modules())
        torch.testing.assert_close(network(x), supernet(x, selection(space, supernet, {"a": option})))


def test_a_choice_alone_is_a_space() -> None:
    space = ModuleSpace(Choice({"a": nn.Linear(2, 2), "b": nn.Tanh()}))
    (key,) = space.domain.edges
    supernet = space.supernet()
    x = torch.randn(3, 2)
    network = space.network(Architecture.of("Choice", {key: "b"}), weights_of=supernet)
    assert torch.equal(network(x), torch.tanh(x))
    torch.testing.assert_close(supernet(x, selection(space, supernet, {key: "b"})), torch.tanh(x))


def test_a_module_without_choices_is_refused() -> None:
    with pytest.raises(InputError, match=r"no Choice.*oche\.Choice"):
        ModuleSpace(nn.Linear(2, 2))


def test_one_key_with_different_options_is_refused() -> None:
    net = nn.Sequential(
        Choice({"a": nn.Identity(), "b": nn.Tanh()}, key="k"), Choice({"a": nn.Identity(), "c": nn.Tanh()}, key="k")
    )
    with pytest.raises(InputError, match="'k'"):
        ModuleSpace(net)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"shared": "skp"}, "did you mean 'skip'"),
        ({"width": 3}, "'width'"),
        ({"inputs": (0, 3)}, "'inputs'"),
        ({"nothing": "skip"}, "'nothing'"),
    ],
)
def test_a_network_needs_an_architecture_of_its_module(choices: dict[str, Candidate], message: str) -> None:
    space = ModuleSpace(Everything())
    good = dict(next(space.domain.enumerate()).choices)
    with pytest.raises(InputError, match=message):
        space.network(Architecture.of(space.name, good | choices))
    with pytest.raises(InputError, match="must be kept"):
        space.network(Architecture.of(space.name, {k: v for k, v in good.items() if k != "inner"}))


def test_an_architecture_of_a_module_survives_json() -> None:
    space = ModuleSpace(Everything())
    for architecture in islice(space.domain.enumerate(), 5):
        again = Architecture.from_json(architecture.to_json())
        space.domain.check(again)
        assert again == architecture


def test_everything_runs_where_its_weights_are() -> None:
    # The meta device refuses operands from elsewhere, as an accelerator would.
    space = ModuleSpace(Everything())
    supernet = space.supernet().to("meta")
    x = torch.empty(5, 4, 6, device="meta")
    mixture = {k: torch.softmax(v, 0) for k, v in logits(supernet).items()}
    assert supernet(x, mixture).device.type == "meta"
    network = space.network(next(space.domain.enumerate()), weights_of=supernet)
    assert network(x).shape == (5, 3)
