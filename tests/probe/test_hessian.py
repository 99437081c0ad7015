"""The dominant eigenvalue against the whole Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.functional import hessian

from oche.evaluation import by_batch
from oche.mixture.dirichlet import Dirichlet
from oche.mixture.softmax import Softmax
from oche.nn.engine import set_engine
from oche.nn.supernet import weights
from oche.probe.hessian import dominant_eigenvalue
from oche.remaining import Remaining
from oche.select.scene import Scene


def whole(scene: Scene) -> Tensor:
    """The Hessian of the validation loss in all logits that remain, entry by entry."""
    sizes = {key: len(value) for key, value in scene.logits.items()}
    x, y = next(iter(scene.images.epoch(0)))
    fixed = [w.detach() for w in weights(scene.supernet)]

    def loss(flat: Tensor) -> Tensor:
        values = dict(zip(sizes, flat.split(list(sizes.values())), strict=True))
        mixture = scene.widened(scene.relaxation.mean(values))
        return scene.loss(scene.supernet.with_weights(fixed, mixture, x), y)

    with by_batch(scene.supernet):
        return hessian(loss, torch.cat(list(scene.logits.values())))  # type: ignore[no-any-return,no-untyped-call]


def dominant(matrix: Tensor) -> float:
    values = np.linalg.eigvalsh(matrix.numpy())
    return float(max(values, key=abs))


@pytest.mark.parametrize("relaxation", [Softmax(), Softmax(temperature=0.3), Dirichlet()])
def test_it_is_the_eigenvalue_of_the_whole_hessian(scene: Scene, relaxation: Softmax | Dirichlet) -> None:
    scene = replace(scene, relaxation=relaxation)
    set_engine(scene.supernet, "reference")
    found = dominant_eigenvalue(scene, products=60, tolerance=1e-6)
    assert found.value == pytest.approx(dominant(whole(scene)), rel=1e-6)
    assert abs(found.value) > 1e-4
    assert found.converged


def test_an_eigenvalue_lies_within_the_residual(scene: Scene) -> None:
    values = np.linalg.eigvalsh(whole(scene).numpy())
    for products in (1, 2, 3, 5):
        found = dominant_eigenvalue(scene, products=products, tolerance=0.0)
        assert found.products == products
        assert np.abs(values - found.value).min() <= found.residual + 1e-12
        assert abs(found.value) <= np.abs(values).max() + 1e-12


def test_an_iteration_that_is_cut_short_says_so(smooth_scene: Callable[..., Scene]) -> None:
    assert not dominant_eigenvalue(smooth_scene(), products=1).converged


def test_it_is_about_what_remains(smooth_scene: Callable[..., Scene]) -> None:
    scene = smooth_scene()
    key = next(iter(scene.logits))
    less = replace(scene, remaining=Remaining().prune(key, (0, 2)))
    assert whole(less).shape[0] == whole(scene).shape[0] - 1
    found = dominant_eigenvalue(less, products=60, tolerance=1e-6)
    assert found.value == pytest.approx(dominant(whole(less)), rel=1e-6)


def test_the_fast_engine_is_looked_at_by_the_reference(cell_scene: Callable[..., Scene]) -> None:
    scene = cell_scene("darts", nodes=1)
    expected = dominant(whole(scene))
    set_engine(scene.supernet, "fast")
    assert dominant_eigenvalue(scene, products=40, tolerance=1e-4).value == pytest.approx(expected, rel=1e-6)


def test_a_loss_that_does_not_depend_on_the_logits_has_none(smooth_scene: Callable[..., Scene]) -> None:
    scene = replace(smooth_scene(), loss=lambda output, target: 0 * output.square().sum())
    found = dominant_eigenvalue(scene)
    assert (found.value, found.residual, found.products) == (0.0, 0.0, 1)
