"""Seeds: one number fixes everything, and one draw serves every evaluation within a step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *parts: int | str) -> int:
    """A seed for one purpose, a fixed function of the run's seed and the purpose's name and counters.

    Hashing keeps the streams of neighbouring seeds and epochs unrelated, which `seed + epoch` would not.
    """
    text = "/".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1  # 63 bits: torch takes int64


def generator(seed: int, *parts: int | str) -> torch.Generator:
    """A CPU generator for one purpose."""
    return torch.Generator().manual_seed(derive(seed, *parts))


@contextmanager
def frozen(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a fixed random state inside, and leave the outer state untouched.

    Two evaluations under the same seed see the same drop-path, dropout and mixture draws: finite differences over
    two different draws would measure noise.
    """
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if on_cuda else []):
        torch.default_generator.manual_seed(seed)
        if on_cuda:  # this device only: torch.manual_seed would reset the others, which are not restored
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
