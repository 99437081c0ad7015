"""From the name or path of a text to its words."""

from __future__ import annotations

from pathlib import Path

from oche.data.kind import PREPARED
from oche.data.options import DataOptions
from oche.errors import InputError
from oche.text import sources, words
from oche.text.corpus import Corpus
from oche.text.sources import Source

_IMAGE_ONLY = ("size", "flip", "crop_padding", "stream", "workers")
"""Options that mean nothing to a text."""


def load_text(name: str, options: DataOptions | None = None) -> Corpus:
    """The text with this name, or at this path, checked from end to end.

    Args:
        name: for which `oche.data.kind.is_text` holds.
        options: how to find and cut the text; None: the defaults.

    Raises:
        InputError: the text cannot be found, read or used; the message names it, says why and what to do.
    """
    options = options or DataOptions()
    try:
        _refuse_ignored(name, options)
        source = _read(name, options)
        return words.corpus(
            source.name,
            source.texts,
            source.splitter,
            limit=options.limit,
            vocabulary=options.vocabulary,
            notes=source.notes,
        )
    except InputError as error:
        raise InputError(f"data {name!r}: {error}") from error


def _read(name: str, options: DataOptions) -> Source:
    if name == "python-help":
        return sources.python_help()
    if name == "ptb":
        if options.root is None:
            raise InputError(f"the directory of {', '.join(PREPARED)} is not given; give it as --data.root DIR")
        return sources.directory(Path(options.root).expanduser(), name)
    path = Path(name).expanduser()
    return sources.directory(path) if path.is_dir() else sources.file(path)


def _refuse_ignored(name: str, options: DataOptions) -> None:
    for option in _IMAGE_ONLY:
        if getattr(options, option) is not None:
            flag = f"--data.{option.replace('_', '-')}"
            raise InputError(f"{flag} is for images and would be ignored for a text; leave it out")
    if options.root is not None and name != "ptb":
        raise InputError(
            f"--data.root {options.root} is for data known by name, such as ptb, and would be ignored here; leave it "
            "out, and give a file or a directory by its path"
        )
    if options.download:
        raise InputError(
            "--data.download is for images; no text is downloaded, because those of Penn Treebank are not free to "
            "pass on; leave it out"
        )
