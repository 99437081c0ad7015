"""When probes look, and that nothing depends on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import oche
from oche.api import SearchResult
from oche.nn.recording import graphs
from oche.probe import probes
from oche.probe.probes import NO_PROBES, PROBES, Looked
from oche.probe.shares import none_weight, parameter_free, skip_lead
from oche.select.magnitude import Magnitude
from oche.select.scene import Scene

SPACE = oche.space("rdarts-s3", nodes=1).replace(supernet_stack=oche.Stack(cells=2, channels=4))
CHEAP = {"parameter_free", "none_weight", "skip_lead"}


def batches(seed: int) -> list[tuple[Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(seed)
    return [(torch.randn(6, 1, 8, 8, generator=draws), torch.arange(6) % 2) for _ in range(3)]


def search(name: str, **options: Any) -> SearchResult:
    task = oche.ImageTask(channels=1, height=8, width=8, classes=2)
    settings = {"train": batches(0), "valid": batches(1), "task": task, "epochs": 2, "batch": 6} | options
    return oche.search(SPACE, probes=name, **settings)


def without(record: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names | {"seconds"}}


@pytest.mark.parametrize("method", ["darts", "drnas", "idarts"])
def test_a_search_is_the_same_bit_for_bit_whatever_looks_at_it(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "STEPS_PER_PRODUCT", 1)  # the eigenvalue too
    results = {}
    states = {}
    for name in PROBES:
        torch.manual_seed(7)
        results[name] = search(name, method=method)
        states[name] = torch.get_rng_state()
    base = results["none"]
    assert base.found.looked == Looked()
    assert results["all"].found.looked.eigenvalue is not None
    assert results["all"].found.looked.unseen == {}
    for name, result in results.items():
        assert torch.equal(states[name], states["none"])
        assert result.architecture == base.architecture
        assert result.found.logits == base.found.logits
        for key, value in result.supernet.state_dict().items():
            assert torch.equal(value, base.supernet.state_dict()[key]), (name, key)
        assert all(p.grad is None for p in result.supernet.parameters())
        for ours, theirs in zip(result.found.records, base.found.records, strict=True):
            assert without(ours, CHEAP) == without(theirs, CHEAP)
            assert ours.keys() & CHEAP == (set() if name == "none" else CHEAP)


def test_the_supernet_is_left_as_it_is(cell_scene: Callable[..., Scene]) -> None:
    scene = cell_scene("darts", nodes=1)
    before = {key: value.clone() for key, value in scene.supernet.state_dict().items()}
    modes = [module.training for module in scene.supernet.modules()]
    wirings = [graph.wiring for graph in graphs(scene.supernet)]
    state = torch.get_rng_state()
    looked = PROBES["all"].of_search(scene, Magnitude().select(scene), steps=10_000)
    assert None not in (looked.eigenvalue, looked.nodes, looked.correlation, looked.gap)
    assert torch.equal(state, torch.get_rng_state())
    assert modes == [module.training for module in scene.supernet.modules()]
    assert wirings == [graph.wiring for graph in graphs(scene.supernet)]
    for key, value in scene.supernet.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert PROBES["all"].of_search(scene, Magnitude().select(scene), steps=10_000) == looked


def test_an_epoch_has_the_shares_of_its_rows(cell_scene: Callable[..., Scene]) -> None:
    scene = cell_scene("rdarts-s3", nodes=1)
    architecture = Magnitude().select(scene)
    assert PROBES["cheap"].of_epoch(scene, architecture) == {
        "parameter_free": parameter_free(architecture),
        "none_weight": none_weight(scene.domain, scene.rows),
        "skip_lead": skip_lead(scene.domain, scene.rows),
    }
    assert NO_PROBES.of_epoch(scene, architecture) == {}


def test_a_module_of_ones_own_has_fewer(smooth_scene: Callable[..., Scene]) -> None:
    scene = smooth_scene()
    architecture = Magnitude().select(scene)
    assert PROBES["all"].of_epoch(scene, architecture) == {}
    looked = PROBES["all"].of_search(scene, architecture, steps=10_000)
    assert looked.eigenvalue is not None
    assert looked.gap is not None
    assert (looked.nodes, looked.correlation, looked.unseen) == ({}, None, {})


@pytest.mark.parametrize(("steps", "products"), [(499, None), (500, 5), (1_000_000, 20)])
def test_products_are_made_as_the_search_is_long(
    cell_scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch, steps: int, products: int | None
) -> None:
    asked = []
    real = probes.dominant_eigenvalue

    def spy(scene: Scene, *, products: int) -> Any:
        asked.append(products)
        return real(scene, products=1)

    monkeypatch.setattr(probes, "dominant_eigenvalue", spy)
    scene = cell_scene("rdarts-s3", nodes=1)
    looked = PROBES["all"].of_search(scene, Magnitude().select(scene), steps=steps)
    assert asked == ([] if products is None else [products])
    assert ("eigenvalue" in looked.unseen) == (products is None)


def test_a_probe_that_fails_does_not_cost_the_search(smooth_scene: Callable[..., Scene]) -> None:
    class Once(torch.autograd.Function):
        """A loss that refuses to be differentiated twice."""

        @staticmethod
        def forward(ctx: Any, output: Tensor) -> Tensor:
            ctx.save_for_backward(output)
            return output.square().mean()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                raise RuntimeError("no second derivative\nand a second line")
            (output,) = ctx.saved_tensors
            return g * 2 * output / output.numel()

    scene = replace(smooth_scene(), loss=lambda output, target: Once.apply(output), metrics={})
    looked = PROBES["all"].of_search(scene, Magnitude().select(scene), steps=10_000)
    assert looked.eigenvalue is None
    assert looked.unseen == {"eigenvalue": "no second derivative"}
    assert looked.gap is not None


def test_no_time_is_spent_on_looking_when_the_time_is_up() -> None:
    result = search("all", time_limit=1e-3, epochs=50)
    assert result.found.stopped is not None
    assert result.found.looked == Looked()
    assert result.verdict.status != "healthy"
    assert result.found.stopped in result.verdict.report


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(oche.InputError, match="probes"):
        search("everything", loss=F.cross_entropy)
