"""Names and what they stand for, on one axis: ours, a program's own, and those of installed packages.

A package adds an entry with an entry point in the group of the registry (docs/extending.md). Nothing of it is imported
before its name is looked up or listed, and one that does not work leaves all other names alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, Generic, TypeVar

from typing_extensions import get_protocol_members

from oche.errors import InputError, unknown
from oche.plain import is_part

Entry = TypeVar("Entry")

OURS = "oche"


class Registry(MutableMapping[str, Entry], Generic[Entry]):
    """Entries by name.

    Looking up an entry of a package loads it, so `values()` and `items()` fail where one of them is broken; `working`
    does not. Setting and deleting is for names of the running program; what packages give stays as it is.

    Args:
        kind: what an entry is, in words.
        group: of the entry points that packages add.
        own: ours.
        made: turns what an entry point gives into an entry, or raises `InputError` with what is wrong with it.

    Attributes:
        kind: see above.
        group: see above.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, Entry], *, made: Callable[[str, Any], Entry]) -> None:
        self.kind, self.group = kind, group
        self._own, self._made = dict(own), made

    def __getitem__(self, name: str) -> Entry:
        """The entry with this name.

        Raises:
            KeyError: there is none.
            InputError: several packages give it, or the one that does is broken.
        """
        found = self._of_packages().get(name, [])
        if len(found) + (name in self._own) > 1:
            givers = [*([OURS] if name in self._own else []), *map(_giver, found)]
            raise InputError(
                f"the {self.kind} {name!r} is given by {' and by '.join(givers)}; uninstall all but one of them"
            )
        return self._loaded(found[0]) if found else self._own[name]

    def __setitem__(self, name: str, entry: Entry) -> None:
        self._own[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._own[name]

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*self._own, *self._of_packages()])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        """Whether there is such a name, broken or not; nothing is loaded."""
        return name in self._own or name in self._of_packages()

    def named(self, name: str) -> Entry:
        """The entry with this name, for people.

        Raises:
            InputError: there is none, with the nearest names; or see `__getitem__`.
        """
        if name not in self:
            raise unknown(self.kind, name, self)
        return self[name]

    def working(self) -> tuple[dict[str, Entry], tuple[InputError, ...]]:
        """The entries that can be loaded, and what is wrong with the others."""
        entries: dict[str, Entry] = {}
        errors = []
        for name in self:
            try:
                entries[name] = self[name]
            except InputError as error:
                errors.append(error)
        return entries, tuple(errors)

    def _of_packages(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in _installed(self.group, tuple(sys.path)):
            found.setdefault(point.name, []).append(point)
        return found

    def _loaded(self, point: EntryPoint) -> Entry:
        where = f"the {self.kind} {point.name!r} of the package {_giver(point)}"
        try:
            return self._made(point.name, point.load())
        except InputError as error:
            raise InputError(f"{where} cannot be used: {error}; update or uninstall the package") from error
        except Exception as error:  # whatever the code of somebody else does, the other names must work
            reason = " ".join(str(error).split())
            raise InputError(
                f"{where} cannot be loaded: {type(error).__name__}: {reason}; update or uninstall the package"
            ) from error


def part_of(protocol: type) -> Callable[[str, Any], Any]:
    """What makes entries of parts: a part is taken as it is, a class or a function without arguments makes one.

    Args:
        protocol: the interface of the axis.
    """

    def made(name: str, given: Any) -> Any:
        part = given if is_part(given) else given() if callable(given) else given
        if not is_part(part):
            raise InputError(f"a part is a frozen dataclass, or what makes one, but this is a {type(part).__name__}")
        missing = sorted(get_protocol_members(protocol) - set(dir(part)))
        if missing:
            raise InputError(f"{type(part).__name__} lacks {', '.join(missing)}, which {protocol.__name__} has")
        return part

    return made


def named_value(kind: type[Entry]) -> Callable[[str, Any], Entry]:
    """What makes entries that know their own name: a value is taken as it is, a function without arguments makes one.

    Args:
        kind: their class.
    """

    def made(name: str, given: Any) -> Entry:
        value = given if isinstance(given, kind) else given() if callable(given) else given
        if not isinstance(value, kind):
            raise InputError(f"a {kind.__name__}, or what makes one, is needed, but this is a {type(value).__name__}")
        own_name = value.name  # type: ignore[attr-defined]
        if own_name != name:
            raise InputError(f"it calls itself {own_name!r}, and both names must be one")
        return value

    return made


@lru_cache(maxsize=64)
def _installed(group: str, path: tuple[str, ...]) -> EntryPoints:
    """The entry points of a group; looking through a search path takes a hundredth of a second."""
    return entry_points(group=group)


def _giver(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
