"""Images or a text, whatever a name or path means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oche.data.kind import is_text
from oche.data.options import DataOptions

if TYPE_CHECKING:
    from oche.data.dataset import Dataset
    from oche.text.corpus import Corpus


def load(name: str, options: DataOptions | None = None, seed: int = 0) -> Dataset | Corpus:
    """The images or the text with this name, or at this path; see `load` and `load_text`, which is imported if used.

    Raises:
        InputError: the data cannot be found, read or used; the message names it, says why and what to do.
    """
    if is_text(name):
        from oche.text.load import load_text

        return load_text(name, options)
    from oche.data.load import load as load_images

    return load_images(name, options, seed)
