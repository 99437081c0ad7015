"""What a network has to do: the shapes of its input and output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from oche.errors import InputError
from oche.medium import IMAGES, TEXT, wrong_medium


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


@dataclass(frozen=True, kw_only=True)
class TextTask:
    """Words, numbered from 0, to a score for each word of the vocabulary as the next one.

    Attributes:
        vocabulary: number of words.

    Raises:
        InputError: there are fewer than two.
    """

    vocabulary: int

    def __post_init__(self) -> None:
        if self.vocabulary < 2:
            raise InputError(f"a text needs a vocabulary of 2 words or more, but got {self.vocabulary}")


Task: TypeAlias = ImageTask | TextTask
"""What a network is for."""


def image_task(space: str, task: Task) -> ImageTask:
    """The task, for a space of image networks.

    Raises:
        InputError: it is another one.
    """
    if not isinstance(task, ImageTask):
        raise wrong_medium(f"space {space!r}", IMAGES, TEXT)
    return task


def text_task(space: str, task: Task) -> TextTask:
    """The task, for a space of language models.

    Raises:
        InputError: it is another one.
    """
    if not isinstance(task, TextTask):
        raise wrong_medium(f"space {space!r}", TEXT, IMAGES)
    return task
