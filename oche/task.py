"""What a network has to do: the shapes of its input and output."""

from __future__ import annotations

from dataclasses import dataclass

from oche.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ImageTask:
    """Images of `channels x height x width` (pixels) to `classes` outputs (class scores or labels).

    Raises:
        InputError: a size is not positive.
    """

    channels: int
    height: int
    width: int
    classes: int

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "classes"):
            value = getattr(self, name)
            if value < 1:
                raise InputError(f"an image task needs {name} >= 1, but got {name}={value}")

    @property
    def side(self) -> int:
        """The shorter side in pixels, which bounds how often the resolution can be halved."""
        return min(self.height, self.width)
