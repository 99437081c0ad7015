"""Widening: candidates with copied channels compute copies of what they computed."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import oche
from oche.errors import InputError
from oche.mixture.softmax import Softmax
from oche.nn.cell import MixedEdge
from oche.nn.operations import NETWORK, OPERATIONS, SUPERNET, FactorizedReduce, NormForm, operation
from oche.nn.structure import PartialChannels, Plain, SkipNorm
from oche.nn.supernet import Supernet, initialize_logits, logits, weights
from oche.nn.widening import can_widen, index_map, widen, widen_module
from oche.optim import SGD, follow
from oche.spaces.registry import space

TASK = oche.ImageTask(channels=2, height=8, width=8, classes=3)
BARE = NormForm(affine=False, after_pooling=False)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lively(module: nn.Module) -> nn.Module:
    """In float64, with running statistics and affine weights that differ between channels."""
    module.double()
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(generator=draws(1))
        norm.running_var.uniform_(0.5, 2, generator=draws(2))
        for parameter in norm.parameters():
            nn.init.normal_(parameter, generator=draws(3))
    return module


def norms(module: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        yield norm.running_mean, norm.running_var


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("form", [SUPERNET, NETWORK, BARE], ids=["supernet", "network", "bare"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", sorted(name for name in OPERATIONS if name != "noise" and "allegro" not in name))
def test_a_widened_candidate_copies_its_channels(name: str, stride: int, form: NormForm, training: bool) -> None:
    for before, after in ((6, 9), (4, 8), (3, 5), (2, 3), (5, 5), *([(1, 2), (1, 3)] if stride == 1 else [])):
        op = lively(operation(name, before, stride, form)).train(training)
        assert can_widen(op)
        wide, r = copy.deepcopy(op), index_map(before, after, draws(before), halves=stride == 2)
        list(widen_module(wide, r))
        x = torch.randn(3, before, 7, 6, dtype=torch.float64)
        torch.testing.assert_close(wide(x[:, r]), op(x)[:, r], rtol=1e-10, atol=1e-10)
        for theirs, ours in zip(norms(op), norms(wide), strict=True):
            for one, other in zip(theirs, ours, strict=True):
                torch.testing.assert_close(other, one[r])  # after they have moved, where they do


def test_a_skip_with_a_normalization_behind_it_is_widened_too() -> None:
    op = lively(SkipNorm().candidate("skip_connect", 4, operation("skip_connect", 4, 2, SUPERNET)))
    wide, r = copy.deepcopy(op), index_map(4, 6, draws(), halves=True)
    list(widen_module(wide, r))
    x = torch.randn(3, 4, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(wide(x[:, r]), op(x)[:, r])


def test_without_the_division_the_outputs_would_differ() -> None:
    """What the public code does."""
    op = lively(operation("nor_conv_1x1", 3, 1, BARE)).eval()
    wide, r = copy.deepcopy(op), index_map(3, 6, draws(), halves=False)
    (replaced,) = widen_module(wide, r)
    x = torch.randn(3, 3, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        replaced.new.copy_(replaced.old[r][:, r])
        assert not torch.allclose(wide(x[:, r]), op(x)[:, r])


@pytest.mark.parametrize(("before", "after"), [(6, 9), (12, 18), (2, 3), (3, 7), (5, 5)])
def test_every_old_channel_is_kept_and_each_half_keeps_to_itself(before: int, after: int) -> None:
    r = index_map(before, after, draws(), halves=False)
    assert r[:before].tolist() == list(range(before))
    assert r.shape == (after,)
    halved = index_map(before, after, draws(), halves=True).tolist()
    first, second = halved[: after // 2], halved[after // 2 :]
    assert set(first) == set(range(before // 2))
    assert set(second) == set(range(before // 2, before))
    assert index_map(before, after, draws(), halves=True).tolist() == halved
    assert set(r.tolist()) == set(range(before))


def supernet_of(name: str, shares: tuple[int, ...], channels: int = 12) -> Supernet:
    torch.manual_seed(0)
    searched = space(name, nodes=2 if name == "darts" else None).replace(
        supernet_stack=oche.Stack(cells=3, channels=channels)
    )
    made = searched.supernet(TASK, PartialChannels(shares=shares))
    initialize_logits(made, 1.0, draws())
    return made


CASES = pytest.mark.parametrize(("name", "shares"), [("darts", (6, 4)), ("nasbench201", (4, 2)), ("rdarts-s1", (3, 1))])


@CASES
def test_a_widened_supernet_has_the_shapes_of_one_that_was_built_so(name: str, shares: tuple[int, int]) -> None:
    supernet = supernet_of(name, shares)
    widen(supernet, shares[1], draws())
    searched = space(name, nodes=2 if name == "darts" else None).replace(
        supernet_stack=oche.Stack(cells=3, channels=12)
    )
    built = searched.supernet(TASK, PartialChannels(shares=shares[1:]) if shares[1] > 1 else Plain())
    found, expected = supernet.state_dict(), built.state_dict()
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}
    last = torch.channels_last
    assert all(v.is_contiguous(memory_format=last) for v in found.values() if v.dim() == 4)
    assert str(supernet) == str(built)  # channels, features, groups
    edges = [m for m in supernet.modules() if isinstance(m, MixedEdge)]
    assert {None if e.bypass is None else e.bypass.share for e in edges} == {shares[1] if shares[1] > 1 else None}


@CASES
def test_one_map_serves_all_candidates_of_an_edge(name: str, shares: tuple[int, int]) -> None:
    supernet = lively(supernet_of(name, shares)).eval()
    for buffer_name, buffer in supernet.named_buffers():
        if buffer_name.endswith("running_mean"):
            buffer.copy_(torch.arange(len(buffer)))  # so that the map can be read from a widened one
    before = copy.deepcopy(supernet)
    widen(supernet, shares[1], draws())
    seen = 0
    for old, new in zip(before.modules(), supernet.modules(), strict=True):
        if isinstance(old, MixedEdge):
            assert old.bypass is not None
            maps = [mean.long() for mean, _ in norms(new)]
            if not maps:
                continue
            r = maps[0]
            assert all(torch.equal(r, other) for other in maps)
            row = torch.rand(len(old.choice.options), dtype=torch.float64)
            x = torch.randn(2, int(r.max()) + 1, 4, 4, dtype=torch.float64)
            torch.testing.assert_close(new.choice.mix(row, x[:, r]), old.choice.mix(row, x)[:, r])
            seen += 1
    assert seen > 5


def trained(supernet: Supernet, optimizer: torch.optim.Optimizer, steps: int = 2) -> None:
    x, y = torch.randn(3, 2, 8, 8, generator=draws(4)), torch.tensor([0, 1, 2])
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.no_grad():
            mixture = Softmax().mean(logits(supernet))
        nn.functional.cross_entropy(supernet(x, mixture), y).backward()
        optimizer.step()


def test_a_step_along_the_momentum_and_widening_commute() -> None:
    supernet = supernet_of("darts", (6, 4))
    optimizer = SGD().build(weights(supernet))
    trained(supernet, optimizer)
    other = copy.deepcopy(supernet)
    others = SGD().build(weights(other))
    others.load_state_dict(copy.deepcopy(optimizer.state_dict()))

    def coast(net: Supernet, its: torch.optim.Optimizer) -> None:
        for w in weights(net):
            w.grad = torch.zeros_like(w)
        its.step()

    coast(supernet, optimizer)
    follow(optimizer, widen(supernet, 4, draws()))
    follow(others, widen(other, 4, draws()))
    coast(other, others)
    for a, b in zip(weights(supernet), weights(other), strict=True):
        torch.testing.assert_close(a, b)
    coasted = [optimizer.state[w]["momentum_buffer"] for w in weights(supernet)]
    assert any(buffer.abs().max() > 0 for buffer in coasted)


def test_the_optimizer_goes_on_with_the_new_parameters_alone() -> None:
    supernet = supernet_of("darts", (6, 4))
    optimizer = SGD().build(weights(supernet))
    trained(supernet, optimizer)
    before = weights(supernet)
    kept = {name: w for name, w in supernet.named_parameters() if ".candidates." not in name and "logits" not in name}
    buffers = {name: optimizer.state[w]["momentum_buffer"].clone() for name, w in kept.items()}
    follow(optimizer, widen(supernet, 4, draws()))
    now = weights(supernet)
    assert [id(w) for w in optimizer.param_groups[0]["params"]] == [id(w) for w in now]
    assert set(optimizer.state) == set(now)
    assert len(set(now) & set(before)) == len(kept)
    for name, w in supernet.named_parameters():
        if name in kept:
            assert w is kept[name]
            assert torch.equal(optimizer.state[w]["momentum_buffer"], buffers[name])
    assert all(optimizer.state[w]["momentum_buffer"].shape == w.shape for w in now)
    trained(supernet, optimizer)  # and no graph of before stands in its way


def test_frozen_weights_stay_frozen() -> None:
    op = operation("sep_conv_3x3", 2, 1, SUPERNET).requires_grad_(False)
    assert not any(item.new.requires_grad for item in widen_module(op, torch.tensor([0, 1, 1])))


@pytest.mark.parametrize(
    "candidate",
    [
        nn.Conv2d(4, 4, 1, groups=2, bias=False),
        nn.Conv2d(4, 4, 1),
        nn.Sequential(nn.Conv2d(4, 8, 1, bias=False), nn.Conv2d(8, 4, 1, bias=False)),
        nn.Linear(4, 4),
        nn.Sequential(nn.ReLU(), nn.GroupNorm(2, 4)),
    ],
    ids=["groups", "bias", "wider inside", "linear", "group norm"],
)
def test_what_cannot_be_widened_is_refused_while_the_supernet_is_built(candidate: nn.Module) -> None:
    with pytest.raises(InputError, match=r"'mine' cannot be widened.*drnas"):
        PartialChannels(shares=(6, 4)).candidate("mine", 4, candidate)
    assert PartialChannels(shares=(4,)).candidate("mine", 4, candidate) is candidate  # it is never widened


def test_a_factorized_reduction_has_the_halves_that_it_would_be_built_with() -> None:
    for before, after in ((5, 7), (4, 6), (3, 4)):
        op = FactorizedReduce(before, before, SUPERNET)
        list(widen_module(op, index_map(before, after, draws(), halves=True)))
        built = FactorizedReduce(after, after, SUPERNET)
        assert {k: v.shape for k, v in op.state_dict().items()} == {k: v.shape for k, v in built.state_dict().items()}
