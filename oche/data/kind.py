"""Whether data are images or a text. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from oche.data.options import TEXTS

PREPARED = ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")
"""The files of a text whose words are separated by spaces already, as Penn Treebank is distributed."""

PLAIN = ("train.txt", "valid.txt", "test.txt")
"""The files of any other text."""


def is_text(name: str) -> bool:
    """Whether this name or path means a text: a known one, a `.txt` file, or a directory with one of the files.

    A directory with classes of images may have a `train.txt` too, which lists them; it remains images.
    """
    if name in TEXTS:
        return True
    path = Path(name).expanduser()
    if not path.is_dir():
        return path.suffix.lower() == ".txt"
    if any((path / file).is_file() for file in PREPARED):
        return True
    plain = [(path / file).is_file() for file in PLAIN]
    folders = any(entry.is_dir() and not entry.name.startswith(".") for entry in path.iterdir())
    return all(plain) or (any(plain) and not folders)
