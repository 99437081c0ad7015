"""Building the kernels, and what they promise beside the right numbers (tests/nn/fast/test_engines.py)."""

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from oche.nn.engine import FAST, set_engine
from oche.nn.fast.compiled import library as module
from oche.nn.fast.compiled.library import library
from oche.nn.network import Stack
from oche.nn.supernet import Supernet, logits, weights
from oche.spaces.registry import space
from oche.task import ImageTask

needs_compiler = pytest.mark.skipif(library() is None, reason="no compiler here")


def gradients(net: Supernet, x: Tensor) -> list[Tensor]:
    mixture = {key: torch.full_like(a, 0.25).requires_grad_() for key, a in logits(net).items()}
    loss = net(x, mixture).square().sum()
    return list(
        torch.autograd.grad(loss, [*mixture.values(), *weights(net)], allow_unused=True, materialize_grads=True)
    )


@needs_compiler
def test_the_number_of_threads_changes_no_bit() -> None:
    stack = Stack(cells=2, channels=16)
    net = (
        space("darts", nodes=2)
        .replace(supernet_stack=stack)
        .supernet(ImageTask(channels=3, height=32, width=32, classes=3))
    )
    set_engine(net, FAST)
    x = torch.randn(8, 3, 32, 32)
    found = []
    for threads in (1, 3):
        # Only the kernels' own threads: PyTorch's reductions do depend on their number.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module.torch, "get_num_threads", lambda threads=threads: threads)
            found.append(gradients(net, x))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@needs_compiler
def test_the_library_is_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert library() is not None
            (built,) = (tmp_path / "oche").iterdir()
            made = built.stat().st_mtime_ns
            library.cache_clear()
            assert library() is not None
        assert built.stat().st_mtime_ns == made
        assert [record.message for record in caplog.records] == [module.NOTICE]
    finally:
        library.cache_clear()


@pytest.mark.parametrize("broken", ["a compiler that fails", "no compiler", "switched off"])
def test_without_kernels_the_engine_goes_on(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if broken == "switched off":
        monkeypatch.setenv(module.SWITCH, "0")
    elif broken == "no compiler":
        monkeypatch.setattr(module, "COMPILERS", ("no-such-compiler",))
    else:
        monkeypatch.setattr(module, "COMPILERS", ("false",))
    library.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert library() is None
        assert any("cannot be built" in record.message for record in caplog.records) == (
            broken == "a compiler that fails"
        )
        assert not any(tmp_path.rglob("*.so"))
    finally:
        library.cache_clear()
