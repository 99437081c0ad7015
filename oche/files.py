"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from oche.errors import InputError


class WriteError(InputError):
    """Something cannot be written; what was there before is whole."""


TEMPORARY = ".{}.new"
"""The name of a file while it is written; a kill may leave it behind."""

LONGEST_SLUG = 150
"""Characters; file systems allow 255, and names get numbers and endings."""


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that whatever happens, even a power failure, the old or the new content is there.

    Raises:
        WriteError: it cannot be written; the file that was there is as it was.
    """
    temporary = path.with_name(TEMPORARY.format(path.name))
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file.

    Raises:
        WriteError: it cannot be written; a part of the line may be.
    """
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def remove_temporary(directory: Path) -> None:
    """Remove what a kill in the middle of `write_whole` has left."""
    with writing(directory):
        for file in directory.glob(TEMPORARY.format("*")):
            file.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of the file system inside, such as a full disk, as errors for people."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"cannot write {str(path)!r}: {error.strerror or error}; what was saved before is whole. "
            "Make room, or make the place writable, and go on"
        ) from error


def sync(path: Path) -> None:
    """Make what was written to a file, or renamed in a directory, survive a power failure; only POSIX can."""
    if os.name != "posix":
        return
    with writing(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def slug(text: str) -> str:
    """A text as a name of a file, on every system: `darts/mixture=softmax:x=1` is `darts~mixture=softmax@x=1`.

    Different texts have different names, also long ones, which are cut.
    """
    plain = quote(text, safe="/:,=+ ").replace("~", "%7E").replace("/", "~").replace(":", "@")
    return plain if len(plain) <= LONGEST_SLUG else f"{plain[:LONGEST_SLUG]}-{sha256(text.encode()).hexdigest()[:8]}"
