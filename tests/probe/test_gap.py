"""The discretization gap against evaluations by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from oche.architecture import Architecture
from oche.evaluation import by_batch
from oche.metrics import Metric, top1
from oche.nn.supernet import logits, one_hot
from oche.probe.gap import Gap, discretization_gap
from oche.select.magnitude import Magnitude
from oche.select.scene import Scene


def accuracy(scene: Scene, mixture: dict[str, torch.Tensor], images: int) -> float:
    x, y = next(iter(scene.images.epoch(0)))
    with torch.no_grad(), by_batch(scene.supernet):
        return float(top1(scene.supernet(x[:images], mixture), y[:images]))


@pytest.mark.parametrize("images", [7, 1000])
def test_it_is_measured_on_the_first_images(cell_scene: Callable[..., Scene], images: int) -> None:
    scene = cell_scene("darts", nodes=2, images=30)
    architecture = Magnitude().select(scene)
    found = discretization_gap(scene, architecture, images=images)
    places = {k: scene.whole.edges[k].candidates.index(c) for k, c in architecture.items}
    assert found.mixed == pytest.approx(accuracy(scene, dict(scene.mixture), images))
    assert found.decided == pytest.approx(accuracy(scene, one_hot(scene.supernet, places), images))
    assert found.metric == "accuracy"
    assert found.lost == pytest.approx(found.mixed - found.decided)


def test_a_decided_supernet_has_no_gap(smooth_scene: Callable[..., Scene]) -> None:
    scene = smooth_scene()
    with torch.no_grad():
        for value in logits(scene.supernet).values():
            value.copy_(torch.eye(len(value), dtype=value.dtype)[0] * 1000)
    assert discretization_gap(scene, Magnitude().select(scene)).lost == 0


def test_chance_is_that_of_the_data(smooth_scene: Callable[..., Scene]) -> None:
    """Outputs that do not depend on the input have the same accuracy whatever the order of the targets."""
    scene = smooth_scene(images=40)
    with torch.no_grad():
        for name, parameter in scene.supernet.body.named_parameters():
            if "head" in name:
                parameter.zero_()
    found = discretization_gap(scene, Magnitude().select(scene))
    _, y = next(iter(scene.images.epoch(0)))
    assert found.chance == found.decided == pytest.approx(float((y == 0).double().mean()))
    assert found.retained is None


def test_without_a_metric_it_is_the_loss(smooth_scene: Callable[..., Scene]) -> None:
    scene = replace(smooth_scene(), metrics={})
    found = discretization_gap(scene, Magnitude().select(scene))
    assert (found.metric, found.higher_is_better) == ("loss", False)
    assert found.lost == found.decided - found.mixed


def test_a_metric_of_which_less_is_better(smooth_scene: Callable[..., Scene]) -> None:
    error = Metric(lambda output, target: 1 - top1(output, target), higher_is_better=False)
    scene = smooth_scene()
    architecture = Magnitude().select(scene)
    lower = discretization_gap(replace(scene, metrics={"error": error}), architecture)
    higher = discretization_gap(scene, architecture)
    assert lower.lost == pytest.approx(higher.lost)
    assert lower.mixed == pytest.approx(1 - higher.mixed)


@pytest.mark.parametrize(
    ("higher", "mixed", "decided", "chance", "retained"),
    [
        (True, 0.9, 0.9, 0.1, 1.0),
        (True, 0.9, 0.1, 0.1, 0.0),
        (True, 0.9, 0.5, 0.1, 0.5),
        (True, 0.1, 0.1, 0.1, None),
        (True, 0.1, 0.1, 0.2, None),
        (False, 0.2, 1.2, 2.2, 0.5),
    ],
)
def test_what_is_retained(higher: bool, mixed: float, decided: float, chance: float, retained: float | None) -> None:
    gap = Gap(metric="m", higher_is_better=higher, mixed=mixed, decided=decided, chance=chance)
    assert gap.retained == (None if retained is None else pytest.approx(retained))


def test_the_architecture_belongs_to_the_scene(cell_scene: Callable[..., Scene]) -> None:
    scene = cell_scene("bench125")
    architecture = Architecture.of("bench125", dict.fromkeys(scene.whole.edges, "none"))
    found = discretization_gap(scene, architecture)  # constant outputs
    assert found.decided == found.chance
