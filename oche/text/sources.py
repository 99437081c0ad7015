"""Where texts come from: Penn Treebank, plain text files, and the help texts that come with Python.

Each reader returns the name, the training, validation and test text, how they become words, and notes.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from unicodedata import normalize

from oche.data.kind import PLAIN, PREPARED
from oche.errors import InputError
from oche.text import words
from oche.text.words import Splitter

SHARES = (0.8, 0.1, 0.1)
"""Of a text without parts, for training, validation and test."""

_PARAGRAPH = "\n\n"


@dataclass(frozen=True)
class Source:
    """Three texts, not yet in words.

    Attributes:
        name: for reports.
        texts: for training, validation and test.
        splitter: how they become words.
        notes: what a report should repeat.
    """

    name: str
    texts: tuple[str, str, str]
    splitter: Splitter
    notes: tuple[str, ...] = ()


def directory(path: Path, name: str | None = None) -> Source:
    """The files `ptb.train.txt`, `ptb.valid.txt` and `ptb.test.txt`, or else `train.txt`, `valid.txt` and `test.txt`.

    Args:
        path: where they are.
        name: for reports; None: the directory's.

    Raises:
        InputError: one of them is missing, or cannot be read.
    """
    prepared = name is not None or any((path / file).is_file() for file in PREPARED)
    files = PREPARED if prepared else PLAIN
    if missing := [file for file in files if not (path / file).is_file()]:
        raise InputError(
            f"a text in a directory is {', '.join(files)}, but {' and '.join(missing)} cannot be found in "
            f"{path.resolve()}; add what is missing, or name another directory"
        )
    train, valid, test = (_text(path / file) for file in files)
    return Source(name or path.resolve().name, (train, valid, test), words.SPACED if prepared else words.PLAIN)


def file(path: Path) -> Source:
    """A plain text, whose last lines become the validation and the test text.

    Raises:
        InputError: there is no such file, it cannot be read, or it has too few lines.
    """
    if not path.is_file():
        raise InputError(f"there is no such file (looked in {path.parent.resolve()}); check the path")
    lines = [line for line in _text(path).split("\n") if line.strip()]
    if len(lines) < 10:
        raise InputError(
            f"a text of its own is cut into training, validation and test part by lines and needs at least 10 of "
            f"them, but {path.name} has {len(lines)}; give a longer text, break its lines, or give a directory with "
            f"{', '.join(PLAIN)}"
        )
    first, second, _ = (round(share * len(lines)) for share in accumulate(SHARES))
    parts = lines[:first], lines[first:second], lines[second:]
    train, valid, test = ("\n".join(part) for part in parts)
    return Source(
        path.stem,
        (train, valid, test),
        words.PLAIN,
        (
            f"of {len(lines):,} lines the first 80% are the training text, the next 10% the validation text and the "
            "last 10% the test text",
        ),
    )


def python_help() -> Source:
    """The English help texts of Python's `help()`, split by whole topics.

    Many topics repeat parts of others. So each paragraph counts once, in the first topic by name that has it: what is
    tested has not been trained on. The topics go, by name, to the part that is furthest behind its share.

    Raises:
        InputError: this Python was installed without them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise InputError(
            "the help texts of Python (pydoc_data.topics) are not installed here; install the complete standard "
            "library, or give a text of your own"
        ) from error
    seen: set[str] = set()
    parts: tuple[list[str], ...] = ([], [], [])
    due = [0.0, 0.0, 0.0]
    for topic in sorted(topics):
        new = []
        for paragraph in topics[topic].split(_PARAGRAPH):
            same = " ".join(paragraph.split())
            if same not in seen:
                seen.add(same)
                new.append(paragraph)
        text = _PARAGRAPH.join(new)
        due = [behind + share * len(text) for behind, share in zip(due, SHARES, strict=True)]
        part = due.index(max(due))
        due[part] -= len(text)
        parts[part].append(text)
    train, valid, test = (_PARAGRAPH.join(part) for part in parts)
    return Source(
        "python-help",
        (train, valid, test),
        words.PLAIN,
        (f"the help texts of Python {platform.python_version()}; those of other versions differ",),
    )


def _text(path: Path) -> str:
    """A file as text.

    Raises:
        InputError: it cannot be read, is empty, or is no UTF-8 text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    try:
        # Spreadsheets and editors write a byte-order mark. Letters and their accents become one character.
        text = normalize("NFC", data.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name} is not encoded as UTF-8: byte {data[error.start]:#04x} at offset {error.start:,} cannot be "
            f"decoded; convert it, for example by: iconv -f latin1 -t utf-8 {path.name} > new.txt"
        ) from error
    if "\0" in text:
        raise InputError(
            f"{path.name} is no text: it has a zero at byte {data.index(0):,}; save it as text encoded as UTF-8"
        )
    if not text.strip():
        raise InputError(f"{path.name} has no words; give a longer text")
    return text.replace("\r\n", "\n").replace("\r", "\n")
