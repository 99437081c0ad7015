"""Norms of nodes against hooks on the cells, and against a closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from oche.evaluation import by_batch
from oche.mixture.softmax import Softmax
from oche.nn.cell import Cell, MixedEdge
from oche.nn.engine import set_engine
from oche.nn.structure import NodeNorm
from oche.nn.supernet import logits, one_hot
from oche.probe.nodes import node_norms
from oche.select.scene import Scene


def test_they_are_what_hooks_on_the_cells_see(cell_scene: Callable[..., Scene]) -> None:
    scene = cell_scene("darts", nodes=2)
    set_engine(scene.supernet, "fast")
    found = node_norms(scene, images=100)
    seen: dict[str, list[list[Tensor]]] = {"normal": [], "reduction": []}
    cells = [m for m in scene.supernet.modules() if isinstance(m, Cell)]
    for cell in cells:
        kind = next(m.key for m in cell.modules() if isinstance(m, MixedEdge)).split("/")[0]
        inputs: list[Tensor] = []
        cell.preprocess[0].register_forward_hook(lambda m, i, o, inputs=inputs: inputs.append(o))

        def keep(m: Cell, i: tuple[Tensor, ...], o: Tensor, inputs: list[Tensor] = inputs, kind: str = kind) -> None:
            seen[kind].append([inputs[-1], *o.chunk(2, dim=1)])

        cell.register_forward_hook(keep)
    x, _ = next(iter(scene.images.epoch(0)))
    with torch.no_grad(), by_batch(scene.supernet):
        scene.supernet(x, scene.mixture)
    for kind, of_cells in seen.items():
        size = [[float(t.square().mean().sqrt()) for t in tensors] for tensors in of_cells]
        expected = [sum(s[j] / s[0] for s in size) / len(size) for j in (1, 2)]
        assert found[kind] == pytest.approx(expected)


def test_skip_connections_from_the_first_input_hand_on_its_norm(cell_scene: Callable[..., Scene]) -> None:
    scene = cell_scene("rdarts-s3", nodes=1)
    with torch.no_grad():  # skip connections on the first edge, none on the second: node = first input
        for value in logits(scene.supernet).values():
            value.fill_(-100.0)
        for key, value in logits(scene.supernet).items():
            value[scene.whole.edges[key].candidates.index("skip_connect" if key.endswith("<-0") else "none")] = 100.0
    assert node_norms(scene)["normal"] == pytest.approx((1.0,), rel=1e-9)


def test_none_makes_nodes_fade_and_normalization_keeps_them(cell_scene: Callable[..., Scene]) -> None:
    found = {}
    for structure in (None, NodeNorm()):
        scene = cell_scene("rdarts-s3", nodes=2, **({} if structure is None else {"structure": structure}))
        with torch.no_grad():
            for key, value in logits(scene.supernet).items():
                value[scene.whole.edges[key].candidates.index("none")] = 4.0
        found[structure is None] = min(min(norms) for norms in node_norms(scene).values())
    assert found[True] < 0.1
    assert found[False] > 0.5


def test_a_module_without_cells_has_none(smooth_scene: Callable[..., Scene]) -> None:
    assert node_norms(smooth_scene()) == {}


def test_a_one_hot_mixture_can_be_looked_at(cell_scene: Callable[..., Scene]) -> None:
    scene = cell_scene("bench125")

    class Fixed(Softmax):
        def mean(self, values):  # type: ignore[no-untyped-def]
            return one_hot(scene.supernet, dict.fromkeys(values, 0))  # none everywhere

    assert node_norms(replace(scene, relaxation=Fixed()))["cell"] == (0.0, 0.0)
