"""iDARTS' discretization against direct computations with the vectors themselves."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oche
from oche.data.batches import Batch
from oche.domain import Domain, Edge, Node
from oche.errors import InputError
from oche.mixture.softmax import Softmax
from oche.nn.cell import Graph, MixedEdge
from oche.nn.engine import set_engine
from oche.nn.structure import PLAIN, NodeNorm, PartialChannels, Structure
from oche.nn.supernet import initialize_logits, logits
from oche.select.decorrelation import Decorrelation
from oche.select.scene import Scene
from oche.spaces.registry import space

CPU = torch.device("cpu")
Vectors = dict[tuple[str, str], Tensor]


class Images:
    """Batches of random images, as a search has them."""

    def __init__(self, *batches: int, side: int = 8) -> None:
        self._images = [torch.randn(n, 1, side, side) for n in batches]
        self.read = 0

    def __len__(self) -> int:
        return len(self._images)

    def epoch(self, epoch: int, start: int = 0):
        for images in self._images[start:]:
            self.read += len(images)
            yield images, torch.zeros(len(images), dtype=torch.int64)


def cell(edges: dict[str, tuple[str, ...]], keep: int | None = None) -> tuple[Domain, list[Node]]:
    """Nodes by the first part of the keys: `1<-0` and `2<-0`, `2<-1` are the edges of two nodes."""
    by_node: dict[str, list[Edge]] = {}
    for key, candidates in edges.items():
        by_node.setdefault(key.partition("<-")[0], []).append(Edge(key, candidates))
    nodes = [Node(tuple(of_node), keep) for of_node in by_node.values()]
    return Domain("made-up", tuple(nodes)), nodes


def chosen(
    rule: Decorrelation, nodes: list[Node], cells: list[Vectors], weights: dict[tuple[str, str], float]
) -> list[tuple[str, str]]:
    """What the rule chooses where the outputs of the candidates are these vectors."""
    members = list(cells[0])
    stacked = [torch.stack([vectors[m] for m in members]).double() for vectors in cells]
    sums = [
        torch.tensor([weights[m] if any(m[0] == e.key for e in node.edges) else 0.0 for m in members]).double()
        for node in nodes
    ]
    return [members[i] for i in rule.choose(members, nodes, sums, [v @ v.T for v in stacked])]


def by_hand(
    nodes: list[Node], cells: list[Vectors], weights: dict[tuple[str, str], float], literal: bool
) -> list[tuple[str, str]]:
    """Algorithm 1 with the vectors themselves: least squares, or one projection after the other."""
    selected: list[tuple[str, str]] = []
    for turn in range(max(node.keep or len(node.edges) for node in nodes)):
        picks = []
        for node in nodes:
            if turn >= (node.keep or len(node.edges)):
                continue
            keys = [e.key for e in node.edges if e.key not in {m[0] for m in selected}]
            scores: dict[tuple[str, str], float] = {}
            for vectors in cells:
                mine = [m for m in vectors if m[0] in {e.key for e in node.edges}]
                residual = sum(weights[m] * vectors[m].double() for m in mine)
                assert isinstance(residual, Tensor)
                if literal:
                    for m in selected:
                        s = vectors[m].double()
                        residual = residual - (residual @ s) / (s @ s) * s
                elif selected:
                    basis = torch.stack([vectors[m].double() for m in selected], dim=1)
                    residual = residual - basis @ torch.linalg.lstsq(basis, residual, driver="gelsd").solution
                for m in mine:
                    if m[0] in keys:
                        cosine = torch.nn.functional.cosine_similarity(residual, vectors[m].double(), dim=0)
                        scores[m] = scores.get(m, 0.0) + float(cosine) / len(cells)
            picks.append(max(scores, key=scores.__getitem__))
        selected += picks
    return selected


THREE = ("a", "b", "c")


def test_orthogonal_candidates_of_equal_norm_are_chosen_by_weight() -> None:
    _, nodes = cell(dict.fromkeys(("2<-0", "2<-1", "2<-x"), THREE), keep=2)
    members = [(e.key, c) for e in nodes[0].edges for c in THREE]
    basis = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64))[0]
    vectors = {m: 3 * basis[i] for i, m in enumerate(members)}
    values = [0.1, 0.9, 0.3, 0.2, 0.25, 0.8, 0.85, 0.0, 0.5]
    weights = dict(zip(members, values, strict=True))
    # The two largest on different edges: b of the first and a of the third.
    assert chosen(Decorrelation(), nodes, [vectors], weights) == [("2<-0", "b"), ("2<-x", "a")]


def test_a_candidate_that_stands_on_two_edges_is_chosen_once() -> None:
    _, nodes = cell({"2<-0": ("copy", "weak"), "2<-1": ("copy", "other")}, keep=2)
    signal, weak, other = torch.linalg.qr(torch.randn(12, 3, dtype=torch.float64))[0].T
    vectors = {("2<-0", "copy"): signal, ("2<-0", "weak"): weak, ("2<-1", "copy"): signal, ("2<-1", "other"): other}
    weights = {("2<-0", "copy"): 0.9, ("2<-0", "weak"): 0.1, ("2<-1", "copy"): 0.8, ("2<-1", "other"): 0.2}
    first, second = chosen(Decorrelation(), nodes, [vectors], weights)
    assert first == ("2<-0", "copy")
    assert second == ("2<-1", "other"), "by magnitude it would have been the copy"


def test_a_node_avoids_what_another_node_has_chosen() -> None:
    _, nodes = cell({"1<-0": ("s", "t"), "2<-0": ("u", "v"), "2<-1": ("copy of s", "own")}, keep=None)
    s, t, u, v, own = torch.linalg.qr(torch.randn(12, 5, dtype=torch.float64))[0].T
    # Every alternative has a positive cosine with its node's sum.
    vectors = {
        ("1<-0", "s"): s,
        ("1<-0", "t"): t,
        ("2<-0", "u"): u,
        ("2<-0", "v"): v,
        ("2<-1", "copy of s"): s,
        ("2<-1", "own"): own,
    }
    weights = dict(zip(vectors, (0.9, 0.1, 0.95, 0.05, 0.7, 0.3), strict=True))
    assert chosen(Decorrelation(), nodes, [vectors], weights) == [("1<-0", "s"), ("2<-0", "u"), ("2<-1", "own")]


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_inner_products_choose_as_the_vectors_do(literal: bool, seed: int) -> None:
    torch.manual_seed(seed)
    edges = {f"{j}<-{i}": THREE for j in (2, 3, 4) for i in range(j)}
    _, nodes = cell(edges, keep=2)
    members = [(key, c) for key in edges for c in THREE]
    shared = torch.randn(4, 30)  # so that outputs are correlated
    cells = [{m: torch.randn(30) + torch.randn(4) @ shared for m in members} for _ in range(3)]
    weights = {m: float(a) for m, a in zip(members, torch.rand(len(members)), strict=True)}
    rule = Decorrelation(literal=literal)
    assert chosen(rule, nodes, cells, weights) == by_hand(nodes, cells, weights, literal)


def test_one_after_the_other_is_not_the_span() -> None:
    different = 0
    for seed in range(20):
        torch.manual_seed(seed)
        edges = {f"2<-{i}": THREE for i in range(4)}
        _, nodes = cell(edges, keep=3)
        shared = torch.randn(2, 20)
        vectors = {(key, c): torch.randn(20) + 2 * torch.randn(2) @ shared for key in edges for c in THREE}
        weights = {m: float(torch.rand(())) for m in vectors}
        both = [chosen(Decorrelation(literal=literal), nodes, [vectors], weights) for literal in (False, True)]
        different += both[0] != both[1]
    assert different


def scene(name: str, images: Images, structure: Structure = PLAIN) -> Scene:
    searched = space(name).replace(supernet_stack=oche.Stack(cells=3, channels=4))
    task = oche.ImageTask(channels=1, height=8, width=8, classes=3)
    supernet = searched.supernet(task, structure)
    initialize_logits(supernet, 1.0, torch.Generator().manual_seed(0))
    with torch.no_grad():  # running statistics that are not those of the start
        for _ in range(3):
            supernet(torch.randn(16, 1, 8, 8), Softmax().mean(logits(supernet)))
    domain = searched.domain.restrict(logits(supernet).keys())
    return Scene(
        whole=domain,
        supernet=supernet,
        relaxation=Softmax(),
        images=images,
        loss=F.cross_entropy,
        metrics={},
        seed=0,
        device=CPU,
    )


@pytest.mark.parametrize(
    ("name", "structure"), [("darts", NodeNorm()), ("bench125", PLAIN), ("bench125", PartialChannels(shares=(2,)))]
)
def test_a_supernet_gives_what_hooks_on_its_candidates_see(name: str, structure: Structure) -> None:
    images = Images(20, 13)
    here = scene(name, images, structure)
    found = Decorrelation().select(here)
    here.domain.check(found)
    assert "none" not in dict(found.items).values()

    # The same with forward hooks: outputs of all candidates over all images, and the algorithm on the vectors.
    outputs: dict[tuple[int, str, str], list[Tensor]] = {}
    graphs = [m for m in here.supernet.modules() if isinstance(m, Graph)]
    for number, graph in enumerate(graphs):
        for edge in (m for m in graph.modules() if isinstance(m, MixedEdge)):
            for candidate, module in edge.choice.candidates.items():
                if candidate != "none":
                    place = outputs.setdefault((number, edge.key, candidate), [])
                    module.register_forward_hook(lambda m, i, o, place=place: place.append(o.flatten()))
    here.supernet.eval()
    set_engine(here.supernet, "reference")
    with torch.no_grad():
        for x, _ in images.epoch(0):
            here.supernet(x, here.mixture)
    weights = {
        (key, str(c)): float(a)
        for key, row in here.mixture.items()
        for c, a in zip(here.domain.edges[key].candidates, row, strict=True)
    }
    by_type: dict[tuple[str, ...], list[Vectors]] = {}
    for number in range(len(graphs)):
        vectors = {(k, c): torch.cat(v) for (n, k, c), v in outputs.items() if n == number}
        by_type.setdefault(tuple(k for k, _ in vectors), []).append(vectors)
    expected = {}
    for keys, cells in by_type.items():
        nodes = [node for node in here.domain.nodes if any(e.key in keys for e in node.edges)]
        expected |= dict(by_hand(nodes, cells, weights, literal=False))
    assert dict(found.items) == expected


@pytest.mark.parametrize("name", ["darts", "bench125"])
def test_what_a_stage_has_decided_stays_and_counts_as_chosen(name: str) -> None:
    here = scene(name, Images(20, 13))
    node = here.domain.nodes[-1]
    first = node.edges[0]
    place = first.candidates.index("none" if name == "bench125" else "skip_connect")
    decided = replace(here, remaining=here.remaining.decide(first.key, place))
    found = Decorrelation().select(decided)
    here.domain.check(found)
    assert found.choices[first.key] == first.candidates[place]

    architecture, everything = Decorrelation().select(here), here.remaining
    for key, edge in here.domain.edges.items():
        chosen = [i for i, c in enumerate(edge.candidates) if architecture.choices.get(key) == c]
        everything = everything.prune(key, chosen)
    assert Decorrelation().select(replace(here, remaining=everything)) == architecture


def test_the_supernet_is_left_as_it_was_and_images_are_limited() -> None:
    images = Images(10, 10, 10)
    here = scene("bench125", images)
    before = {name: value.clone() for name, value in here.supernet.state_dict().items()}
    wirings = [m.wiring for m in here.supernet.modules() if isinstance(m, Graph)]
    Decorrelation(images=15).select(here)
    assert images.read == 20, "no batch is read that is not needed"
    assert here.supernet.training
    assert all(torch.equal(value, before[name]) for name, value in here.supernet.state_dict().items())
    assert [m.wiring for m in here.supernet.modules() if isinstance(m, Graph)] == wirings


def test_memory_does_not_grow_with_the_images() -> None:
    here, alive = scene("darts", Images(*[10] * 6)), []

    class Weighed:
        """Batches that weigh all tensors whenever the next one is asked for."""

        def __len__(self) -> int:
            return len(here.images)

        def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
            for batch in here.images.epoch(epoch, start):
                gc.collect()
                alive.append(sum(t.nbytes for t in gc.get_objects() if issubclass(type(t), Tensor)))
                yield batch

    Decorrelation().select(replace(here, images=Weighed()))
    assert len(alive) == 6
    assert len(set(alive[1:])) == 1  # what the first one has begun is all that stays


def test_only_the_first_images_count() -> None:
    few, many = Images(10, 5), Images(10, 10)
    many._images[0], many._images[1][:5] = few._images[0], few._images[1]
    here = scene("bench125", few)
    there = replace(here, images=many)
    assert Decorrelation().select(here) == Decorrelation(images=15).select(there)


def test_a_module_without_cells_is_refused() -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = oche.Choice({"a": nn.Conv1d(1, 1, 3), "b": nn.Conv1d(1, 1, 3)})

        def forward(self, x: Tensor) -> Tensor:
            return self.block(x)

    loaders = [[(torch.randn(4, 1, 8), torch.randn(4, 1, 6))] for _ in range(2)]
    with pytest.raises(InputError, match="module of your own"):
        oche.search(Mine(), train=loaders[0], valid=loaders[1], loss=nn.functional.mse_loss, method="idarts", epochs=4)
    with pytest.raises(InputError, match="images >= 1"):
        Decorrelation(images=0)
