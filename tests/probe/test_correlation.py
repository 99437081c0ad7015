"""Cosines against hooks on the candidates, and edges whose weights mislead."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.evaluation import by_batch
from oche.nn.cell import MixedEdge
from oche.nn.engine import set_engine
from oche.nn.supernet import logits
from oche.probe.correlation import correlation
from oche.select.scene import Scene


def test_it_is_what_hooks_on_the_candidates_see(cell_scene: Callable[..., Scene]) -> None:
    scene = cell_scene("darts", nodes=2, images=10)
    set_engine(scene.supernet, "fast")
    found = correlation(scene)
    set_engine(scene.supernet, "reference")
    edges = [m for m in scene.supernet.modules() if isinstance(m, MixedEdge)]
    outputs: dict[tuple[int, str], Tensor] = {}
    for number, edge in enumerate(edges):
        for name, module in edge.choice.candidates.items():
            module.register_forward_hook(lambda m, i, o, at=(number, name): outputs.update({at: o.flatten()}))
    x, _ = next(iter(scene.images.epoch(0)))
    with torch.no_grad(), by_batch(scene.supernet):
        scene.supernet(x, scene.mixture)
    between: dict[str, list[float]] = {}
    along: dict[str, list[list[float]]] = {}
    strongest: dict[str, int] = {}
    for number, edge in enumerate(edges):
        row = scene.rows[edge.key]
        names = [n for n in edge.choice.candidates if n != "none"]
        vectors = [outputs[number, n] for n in names]
        a = [float(row[list(edge.choice.candidates).index(n)]) for n in names]
        mixed = sum(w * v for w, v in zip(a, vectors, strict=True))
        assert isinstance(mixed, Tensor)
        pairs = [abs(float(F.cosine_similarity(u, v, dim=0))) for u, v in combinations(vectors, 2)]
        between.setdefault(edge.key, []).append(sum(pairs) / len(pairs))
        along.setdefault(edge.key, []).append([float(F.cosine_similarity(v, mixed, dim=0)) for v in vectors])
        strongest[edge.key] = max(range(len(a)), key=a.__getitem__)
    assert found is not None
    assert found.edges == len(between) == 10
    assert found.cosine == pytest.approx(sum(sum(c) / len(c) for c in between.values()) / len(between))
    nearest = {k: torch.tensor(rows).mean(dim=0).argmax().item() for k, rows in along.items()}
    assert found.conflicts == pytest.approx(sum(nearest[k] != strongest[k] for k in nearest) / len(nearest))


def test_two_copies_outvote_a_stronger_candidate(cell_scene: Callable[..., Scene]) -> None:
    """Eq. 5: with two copies `z` of weight 0.3 and another one of weight 0.4, the mixture is most like the copies."""
    scene = cell_scene("darts", nodes=1)
    for edge in (m for m in scene.supernet.modules() if isinstance(m, MixedEdge)):
        candidates = edge.choice.candidates
        candidates["sep_conv_5x5"] = candidates["sep_conv_3x3"]
    copies, other = ("sep_conv_3x3", "sep_conv_5x5"), "dil_conv_3x3"

    def weigh(of_other: float) -> float:
        with torch.no_grad():
            for key, value in logits(scene.supernet).items():
                names = scene.whole.edges[key].candidates
                value.fill_(-50.0)
                for name, a in [*((c, 0.3) for c in copies), (other, of_other)]:
                    value[names.index(name)] = torch.tensor(a).log()
        found = correlation(scene)
        assert found is not None
        return found.conflicts

    assert weigh(0.4) == 1.0  # 0.6 of the copies against 0.4, at equal norms
    assert weigh(2.0) == 0.0


def test_a_module_without_cells_has_none(smooth_scene: Callable[..., Scene]) -> None:
    assert correlation(smooth_scene()) is None


def test_none_alone_beside_one_candidate_is_no_competition(cell_scene: Callable[..., Scene]) -> None:
    scene = cell_scene("rdarts-s3", nodes=1)
    found = correlation(scene)
    assert found is not None
    assert found.edges == 4  # skip_connect and sep_conv_3x3 on two edges of two kinds
    assert isinstance(scene.supernet, nn.Module)
