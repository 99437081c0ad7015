"""Whether the running statistics of batch normalization move: only the weight step of a search moves them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def moving(module: nn.Module) -> list[_BatchNorm]:
    """Every batch normalization inside `module` whose next call would move its running statistics."""
    return [
        norm
        for norm in module.modules()
        if isinstance(norm, _BatchNorm) and norm.training and norm.track_running_stats and norm.running_mean is not None
    ]


@contextmanager
def at_rest(module: nn.Module) -> Iterator[None]:
    """Normalize by the batch as usual inside, but leave all running statistics as they are.

    In training mode `track_running_stats` decides about the running statistics alone, so switching it off is the same
    as calling with copies of them that are thrown away, without the copies: a supernet has thousands.
    """
    norms = moving(module)
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
