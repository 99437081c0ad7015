"""Random numbers as a function of what they are for."""

from __future__ import annotations

import hashlib

import torch


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator that depends on the key alone: a purpose, then seed, epoch, batch and so on.

    The key is hashed, so that neighbouring seeds and epochs give unrelated streams and two purposes never
    share one. Everything is drawn on the CPU: the numbers are then the same for every device.
    """
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))
