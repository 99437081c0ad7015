"""Building and loading the kernels: one source file, one call of the compiler, no dependency.

The library is built when it is first needed, with the instructions of the very machine it runs on, and kept in the
user's cache directory under a name made of everything that it depends on. Building takes about five seconds and is
said in one line. Without a compiler, or where the build fails, `library()` is None and the pure PyTorch parts compute
the same, slower; the environment variable `OCHE_COMPILED=0` asks for that.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oche.nn.fast.depthwise import Geometry

LOG = logging.getLogger(__name__)

SWITCH = "OCHE_COMPILED"
COMPILERS = ("c++", "g++", "clang++")
FLAGS = (
    "-O3", "-march=native", "-std=c++17", "-ffp-contract=fast", "-fno-math-errno", "-fopenmp", "-fPIC", "-shared",
    "-Wno-psabi",
)  # fmt: skip
"""No `-ffast-math`: linked into a library, it changes how the whole process computes."""

NOTICE = "compiling the kernels of the fast engine, once on this machine (about five seconds)"

PATIENCE = 120
"""Seconds after which a build counts as failed; it takes about five."""

SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}

WIDTH = 4
"""The kernels work on vectors of at least so many channels."""


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("n", "h", "w", "c", "ho", "wo", "kernel", "stride", "padding", "dilation")
    ]  # fmt: skip


class Library:
    """The kernels by name, called with tensors.

    Args:
        path: of the shared library.
    """

    def __init__(self, path: Path) -> None:
        self._functions = {
            (name, dtype): getattr(ctypes.CDLL(str(path)), f"{name}_{suffix}")
            for name in SIGNATURES
            for dtype, suffix in SUFFIXES.items()
        }
        for (name, _), function in self._functions.items():
            function.argtypes, function.restype = [*SIGNATURES[name], ctypes.c_int64], None

    def __call__(self, name: str, dtype: torch.dtype, *arguments: object) -> None:
        """Call a kernel; tensors become pointers, lists of tensors arrays of pointers, None a null pointer."""
        passed = (_passed(argument, dtype) for argument in arguments)
        self._functions[name, dtype](*passed, torch.get_num_threads())


_POINTER, _INTEGER = ctypes.c_void_p, ctypes.c_int64

SIGNATURES: dict[str, list[Any]] = {
    "round_forward": [_POINTER] * 6 + [ctypes.c_double] + [_POINTER] * 4,
    "round_backward": [_POINTER] * 13 + [_INTEGER] + [_POINTER] * 3,
    "depthwise_backward": [_POINTER] * 6,
    "combine": [_INTEGER] * 3 + [_POINTER] * 5,
    "products": [_INTEGER] * 3 + [_POINTER] * 6,
    "measure": [_INTEGER] * 3 + [_POINTER, ctypes.c_double] + [_POINTER] * 3,
    "move": [_INTEGER] * 2 + [ctypes.c_double] + [_POINTER] * 5,
    "pull": [_INTEGER] * 3 + [_POINTER] * 7,
    "pool_forward": [_POINTER] * 2 + [ctypes.c_double] + [_POINTER] * 5,
    "pool_backward": [_POINTER, _INTEGER] + [_POINTER] * 8,
    "node_forward": [_INTEGER] * 3 + [_POINTER] * 6 + [_INTEGER, ctypes.c_double] + [_POINTER] * 5,
    "node_backward": [_INTEGER] * 3 + [_POINTER] * 3 + [_INTEGER] + [_POINTER] * 8,
    "log_sums": [_INTEGER] * 2 + [_POINTER] * 2,
    "shares": [_INTEGER] * 2 + [_POINTER] * 2 + [ctypes.c_double, _POINTER],
}
"""Arguments as in `kernels.cpp`, without the number of threads, which comes last everywhere."""


def _passed(argument: object, dtype: torch.dtype) -> object:
    if isinstance(argument, Tensor):
        return _address(argument, dtype)
    if isinstance(argument, list):
        addresses = (None if tensor is None else _address(tensor, dtype) for tensor in argument)
        return (ctypes.c_void_p * len(argument))(*addresses)
    return ctypes.byref(argument) if isinstance(argument, _Shape) else argument


def _address(tensor: Tensor, dtype: torch.dtype) -> int:
    """Where the data lie. A kernel would read other types as nonsense, so they do not get there."""
    assert tensor.dtype == dtype or not tensor.is_floating_point()
    assert tensor.device.type == "cpu"
    return tensor.data_ptr()


@lru_cache(maxsize=1024)
def shape(size: torch.Size, geometry: Geometry) -> _Shape:
    """Sizes of a convolution or pooling of an `N x C x H x W` tensor."""
    n, c, h, w = size
    sides = (geometry.output(h), geometry.output(w))
    return _Shape(n, h, w, c, *sides, geometry.kernel, geometry.stride, geometry.padding, geometry.dilation)


@lru_cache(maxsize=1)
def library() -> Library | None:
    """The kernels, built if need be; None: they are switched off or cannot be had here."""
    if os.environ.get(SWITCH) == "0":
        return None
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return None
    try:
        return Library(_built(compiler))
    except (OSError, subprocess.SubprocessError) as error:
        LOG.warning("the compiled kernels cannot be built, so the fast engine runs without them: %s", error)
        return None


def library_of(x: Tensor) -> Library | None:
    """The kernels, where they can compute with numbers of this type and place."""
    return library() if x.device.type == "cpu" and x.dtype in SUFFIXES else None


def library_for(x: Tensor) -> Library | None:
    """The kernels, where they can compute with a state (`N x C x H x W`) and parameters of its type."""
    return library_of(x) if x.shape[1] % WIDTH == 0 else None


def _built(compiler: str) -> Path:
    """The library's file; whole or not there, since it is moved into place."""
    source = files(__package__).joinpath("kernels.cpp").read_bytes()
    key = hashlib.sha256(source + repr((compiler, FLAGS, _processor())).encode()).hexdigest()[:16]
    directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "oche"
    path = directory / f"kernels-{key}.so"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        LOG.warning(NOTICE)
        with tempfile.TemporaryDirectory(dir=directory) as work:
            built = Path(work) / path.name
            command = [compiler, *FLAGS, "-x", "c++", "-", "-o", str(built)]
            subprocess.run(command, input=source, capture_output=True, check=True, timeout=PATIENCE)
            built.replace(path)
    return path


def _processor() -> str:
    """What `-march=native` depends on: a home directory may be shared by different machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
