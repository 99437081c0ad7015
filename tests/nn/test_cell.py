import pytest
import torch
from torch import Tensor, nn

from oche.nn.cell import Cell, DropPath, FixedEdge, MixedEdge, set_drop_path
from oche.nn.choice import Choice
from oche.nn.operations import NETWORK, SUPERNET


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_nodes_add_their_edges_and_are_concatenated() -> None:
    factors = [{0: 2.0, 1: 3.0}, {0: 5.0, 2: 7.0}, {1: 11.0, 3: 13.0}]
    cell = Cell(
        (6, 5),
        4,
        halve_first=False,
        nodes=[{i: FixedEdge(Times(f)) for i, f in node.items()} for node in factors],
        form=NETWORK,
    ).eval()
    first, second = torch.randn(2, 6, 3, 4), torch.randn(2, 5, 3, 4)
    states = [cell.preprocess[0](first), cell.preprocess[1](second)]
    for node in factors:
        states.append(sum(f * states[i] for i, f in node.items()))
    out = cell(first, second, {})
    torch.testing.assert_close(out, torch.cat(states[2:], 1))
    assert out.shape[1] == cell.channels_out == 12


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_a_larger_first_input_is_halved(size: tuple[int, int]) -> None:
    cell = Cell((3, 4), 4, halve_first=True, nodes=[{i: FixedEdge(nn.Identity()) for i in (0, 1)}], form=NETWORK)
    small = [-(-s // 2) for s in size]
    assert cell(torch.randn(2, 3, *size), torch.randn(2, 4, *small), {}).shape == (2, 4, *small)


def test_a_mixed_edge_reads_its_row_of_the_mixture() -> None:
    edge = MixedEdge(Choice({"twice": Times(2), "thrice": Times(3)}), "k")
    x = torch.randn(3)
    mixture = {"k": torch.tensor([0.25, 0.5]), "other": torch.tensor([9.0, 9.0])}
    torch.testing.assert_close(edge(x, mixture), (0.25 * 2 + 0.5 * 3) * x)


def test_preprocessing_has_the_form_of_the_network() -> None:
    for form in (SUPERNET, NETWORK):
        cell = Cell((3, 3), 4, halve_first=True, nodes=[{0: FixedEdge(nn.Identity())}], form=form)
        norms = [m for m in cell.modules() if isinstance(m, nn.BatchNorm2d)]
        assert [m.affine for m in norms] == [form.affine] * 2


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_drop_path_drops_whole_samples_and_keeps_the_mean(p: float) -> None:
    drop, n = DropPath(), 20_000
    drop.p = p
    x = torch.rand(n, 2, 3) + 0.5
    ratio = drop(x) / x
    assert torch.equal(ratio.amin(dim=(1, 2)) > 0, ratio.amax(dim=(1, 2)) > 0)
    kept = ratio[:, 0, 0] > 0
    torch.testing.assert_close(ratio[kept], torch.full_like(ratio[kept], 1 / (1 - p)))
    # Four standard errors of a share.
    assert abs(kept.double().mean().item() - (1 - p)) < 4 * (p * (1 - p) / n) ** 0.5


def test_drop_path_does_nothing_in_evaluation_or_at_zero() -> None:
    drop, x = DropPath(), torch.rand(50, 3)
    assert drop(x) is x
    drop.p = 0.5
    assert not torch.equal(drop(x), x)
    assert drop.eval()(x) is x


def test_the_identity_is_never_dropped() -> None:
    edges = nn.ModuleList([FixedEdge(nn.Identity()), FixedEdge(Times(2.0))])
    set_drop_path(edges, 0.5)
    x = torch.ones(200, 1)
    assert torch.equal(edges[0](x, {}), x)
    assert set(edges[1](x, {}).flatten().tolist()) == {0.0, 4.0}
    set_drop_path(edges, 0.0)
    assert torch.equal(edges[1](x, {}), 2 * x)
