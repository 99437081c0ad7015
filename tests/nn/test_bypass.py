"""Partial channels: which channel goes where, and that nothing else is different."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import oche
from oche.errors import InputError
from oche.methods import DARTS
from oche.mixture.softmax import Softmax
from oche.nn.bypass import Bypass
from oche.nn.cell import Graph, MixedEdge
from oche.nn.choice import Choice
from oche.nn.operations import SUPERNET, operation
from oche.nn.recording import GramRecorder
from oche.nn.structure import PartialChannels
from oche.nn.supernet import Supernet, initialize_logits, logits
from oche.select.decorrelation import Decorrelation
from oche.spaces.registry import space

TASK = oche.ImageTask(channels=2, height=8, width=8, classes=3)


def supernet_of(name: str, share: int, channels: int = 12, cells: int = 3, side: int = 8) -> Supernet:
    task = replace(TASK, height=side, width=side)
    searched = space(name, nodes=2 if name == "darts" else None).replace(
        supernet_stack=oche.Stack(cells=cells, channels=channels)
    )
    made = searched.supernet(task, PartialChannels(shares=(share,))).double()
    initialize_logits(made, 1.0, torch.Generator().manual_seed(0))
    return made


def by_hand(edge: MixedEdge, x: Tensor, row: Tensor, share: int, stride: int) -> Tensor:
    """Channel by channel, with the largest of each window sought in a loop."""
    inside = x.shape[1] // share
    mixed = sum(a * op(x[:, :inside]) for a, op in zip(row, edge.choice.candidates.values(), strict=True))
    output = torch.empty(len(x), x.shape[1], *mixed.shape[2:], dtype=x.dtype)
    for channel in range(x.shape[1]):
        group, place = divmod(channel, inside)
        if group == 0:
            found = mixed[:, channel]
        elif stride == 1:
            found = x[:, channel]
        else:
            found = torch.stack(
                [
                    torch.stack(
                        [
                            x[:, channel, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].amax((1, 2))
                            for j in range(mixed.shape[3])
                        ],
                        -1,
                    )
                    for i in range(mixed.shape[2])
                ],
                -2,
            )
        output[:, place * share + group] = found
    return output


@pytest.mark.parametrize("size", [(6, 6), (5, 8), (1, 3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("share", [2, 3, 6])
def test_every_channel_goes_where_the_text_says(share: int, stride: int, size: tuple[int, int]) -> None:
    candidates = {
        name: operation(name, 12 // share, stride, SUPERNET) for name in ("max_pool_3x3", "skip_connect", "none")
    }
    edge = MixedEdge(Choice(candidates, "k"), "k", Bypass(share=share, stride=stride)).double()
    x, row = torch.randn(2, 12, *size).double(), torch.tensor([0.5, 0.3, 0.2]).double()
    output = edge(x, {"k": row})
    torch.testing.assert_close(output, by_hand(edge, x, row, share, stride))
    channels_last = x.contiguous(memory_format=torch.channels_last)
    assert edge(channels_last, {"k": row}).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(edge(channels_last, {"k": row}), output)


def test_what_goes_around_the_candidates_has_a_gradient_and_depends_on_no_weight() -> None:
    edge = MixedEdge(Choice({"none": operation("none", 2, 1, SUPERNET)}, "k"), "k", Bypass(share=3, stride=1))
    x = torch.randn(2, 6, 4, 4, requires_grad=True)
    edge(x, {"k": torch.ones(1)}).sum().backward()
    assert x.grad is not None
    assert not x.grad[:, :2].any()
    assert (x.grad[:, 2:] == 1).all()


@pytest.mark.parametrize(("name", "share"), [("darts", 4), ("darts", 6), ("rdarts-s4", 2), ("nasbench201", 4)])
def test_candidates_are_as_wide_as_what_they_see_and_states_as_before(name: str, share: int) -> None:
    partial, whole = (
        supernet_of(name, share),
        space(name, nodes=2 if name == "darts" else None).replace(supernet_stack=oche.Stack(cells=3, channels=12)),
    )
    plain = whole.supernet(TASK).state_dict()
    for key, value in partial.state_dict().items():
        if ".candidates." not in key:
            assert value.shape == plain[key].shape
        elif value.dim():
            assert value.shape[0] * share == plain[key].shape[0]
    assert partial.state_dict().keys() == plain.keys()


def test_channels_that_cannot_be_divided_are_refused_with_the_next_ones_that_can() -> None:
    searched = space("darts").replace(supernet_stack=oche.Stack(cells=3, channels=16))
    for shares, cure in (((6,), 18), ((6, 4), 24), ((5,), 20)):
        with pytest.raises(InputError, match=rf"have 16, .*--space.channels {cure} "):
            searched.supernet(TASK, PartialChannels(shares=shares))
    with pytest.raises(InputError, match=r"1 channel in 4 .*have 18, .*--space.channels 24"):  # the second share
        searched.replace(supernet_stack=oche.Stack(cells=3, channels=18)).supernet(TASK, PartialChannels(shares=(6, 4)))
    with pytest.raises(InputError, match=r"--space.channels 8"):
        space("nasbench201").replace(supernet_stack=oche.Stack(cells=1, channels=6)).supernet(
            TASK, PartialChannels(shares=(4, 2))
        )


@pytest.mark.parametrize("shares", [(), (1,), (4, 4), (4, 6), (6, 0), (0,)])
def test_shares_fall_from_two_or_more(shares: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="shares"):
        PartialChannels(shares=shares)


def test_a_discrete_network_uses_all_channels() -> None:
    known = oche.known_architectures()["darts-v2"].architecture
    network = space("darts").network(known, TASK, oche.Stack(cells=2, channels=5))
    assert not any(isinstance(m, MixedEdge) for m in network.modules())


def test_a_search_with_partial_channels_runs_with_decorrelation_too() -> None:
    searched = space("darts", nodes=1).replace(supernet_stack=oche.Stack(cells=2, channels=4))
    method = replace(DARTS, structure=PartialChannels(shares=(4,)), selection=Decorrelation())
    result = oche.search(searched, data="digits", method=method, epochs=1, batch=400)
    result.space.domain.restrict(logits(result.supernet).keys()).check(result.architecture)


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_decorrelation_evaluates_the_same_supernet(name: str) -> None:
    net = supernet_of(name, 4, cells=2).eval()
    x, mixture = torch.randn(3, 2, 8, 8).double(), Softmax().mean(logits(net))
    expected = net(x, mixture)
    recorders = []
    for graph in (m for m in net.modules() if isinstance(m, Graph)):
        graph.wiring = GramRecorder()
        recorders.append(graph.wiring)
    torch.testing.assert_close(net(x, mixture), expected)
    for recorder in recorders:
        assert recorder.gram.shape == (len(recorder.members),) * 2
