"""Sets of edges that compete, against Eq. 16 written out."""

import itertools

import pytest
import torch
from torch import Tensor

from oche.errors import InputError
from oche.mixture.groups import EdgeGroups
from oche.nn.mixture import SparseMixture
from oche.remaining import Remaining
from oche.spaces.registry import space

DOMAIN = space("darts").domain
GROUPS = EdgeGroups.of(DOMAIN)


def rows() -> dict[str, Tensor]:
    torch.manual_seed(0)
    sizes = dict.fromkeys(DOMAIN.edges, 8) | {key: len(sets) for key, sets in GROUPS.sets.items()}
    return {key: torch.rand(n, dtype=torch.float64).softmax(0) for key, n in sizes.items()}


def test_there_are_as_many_pairs_as_the_paper_says() -> None:
    assert [len(sets) for sets in GROUPS.sets.values()] == 2 * [1, 3, 6, 10]


def test_a_node_is_the_weighted_sum_over_pairs_of_mixed_edges() -> None:
    mixing = rows()
    outputs = {key: torch.randn(8, 5, dtype=torch.float64) for key in DOMAIN.edges}  # of every candidate
    weighted = GROUPS.apply(mixing)
    assert weighted.keys() == DOMAIN.edges.keys()
    for node, (group, sets) in zip(DOMAIN.nodes, GROUPS.sets.items(), strict=True):
        keys = [edge.key for edge in node.edges]
        mixed = {key: mixing[key] @ outputs[key] for key in keys}
        pairs = list(itertools.combinations(keys, 2))
        assert list(sets) == pairs
        expected = sum(p * (mixed[i] + mixed[j]) for p, (i, j) in zip(mixing[group], pairs, strict=True))  # Eq. 16
        torch.testing.assert_close(sum(weighted[key] @ outputs[key] for key in keys), expected)


def test_a_sparse_mixture_stays_one() -> None:
    mixing = rows()
    weighted = GROUPS.apply(SparseMixture(mixing, {"normal/2<-0": (3,)}))
    assert isinstance(weighted, SparseMixture)
    assert weighted.live == {"normal/2<-0": (3,)}


def test_the_strongest_set_is_kept_and_the_others_are_dropped() -> None:
    strengths = {key: torch.zeros(len(sets)) for key, sets in GROUPS.sets.items()}
    strengths["normal/3<-0*"][2] = 1.0  # the last of three pairs
    left = GROUPS.decide(Remaining(), strengths)
    kept = {edge.key for node in left.domain(DOMAIN).nodes for edge in node.edges}
    assert len(kept) == 16
    assert {key for key in kept if key.startswith("normal/3")} == {"normal/3<-1", "normal/3<-2"}
    assert {key for key in kept if key.startswith("normal/4")} == {"normal/4<-0", "normal/4<-1"}, "ties: the first"
    assert not left.narrow(strengths), "the sets themselves are no decisions any more"


def test_a_space_that_keeps_all_edges_is_refused() -> None:
    with pytest.raises(InputError, match="keeps all"):
        EdgeGroups.of(space("nasbench201").domain)
