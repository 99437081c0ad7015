"""The named spaces and the known architectures."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from oche.architecture import Architecture
from oche.errors import InputError
from oche.registry import Registry
from oche.spaces import rdarts
from oche.spaces.allegro import allegro
from oche.spaces.amended import sepskip20
from oche.spaces.bench125 import bench125
from oche.spaces.cell_space import CellSpace, edge_key
from oche.spaces.darts import darts, darts_without_none, idarts_s2
from oche.spaces.nasbench201 import nasbench201
from oche.spaces.recurrent import KIND as RECURRENT
from oche.spaces.recurrent import RecurrentSpace, recurrent
from oche.spaces.space import Space
from oche.spaces.staged_space import StagedSpace


def _maker(name: str, given: Any) -> Callable[..., Space]:
    """A package gives a space, or a function that makes one, which may take `nodes`."""
    if isinstance(given, Space):
        return lambda: given
    if not callable(given):
        raise InputError(f"a Space, or a function that makes one, is needed, but this is a {type(given).__name__}")
    return given  # type: ignore[no-any-return]


def _type_of_space(name: str, given: Any) -> type[Space]:
    if not (isinstance(given, type) and issubclass(given, Space)) or given.__name__ != name:
        raise InputError(f"a subclass of Space that is called {name} is needed, but this is {given!r}")
    return given


SPACES = Registry[Callable[..., Space]](
    "space",
    "oche.spaces",
    {
        "darts": darts,
        "darts-without-none": darts_without_none,
        "rdarts-s1": rdarts.s1,
        "rdarts-s2": rdarts.s2,
        "rdarts-s3": rdarts.s3,
        "rdarts-s4": rdarts.s4,
        "idarts-s2": idarts_s2,
        "sepskip20": sepskip20,
        "allegro": allegro,
        "nasbench201": nasbench201,
        "bench125": bench125,
        "recurrent": recurrent,
    },
    made=_maker,
)

TYPES = Registry[type[Space]](
    "type of space",
    "oche.space_types",
    {t.__name__: t for t in (CellSpace, StagedSpace, RecurrentSpace)},
    made=_type_of_space,
)
"""The types of spaces that files name."""


def space(name: str, *, nodes: int | None = None) -> Space:
    """A space by name.

    Args:
        name: one of `SPACES`.
        nodes: intermediate nodes of a cell; None: the space's own.

    Raises:
        InputError: the name is unknown, or the space is defined for one number of nodes only.
    """
    make = SPACES.named(name)
    if nodes is not None and not takes_nodes(name):
        raise InputError(f"space {name!r} is defined for its own number of nodes only; leave out nodes")
    made = make() if nodes is None else make(nodes=nodes)
    if not isinstance(made, Space) or made.name != name:
        # Architectures and runs refer to their space by name, so they could not be read again.
        raise InputError(f"space {name!r} is registered under this name, but what it makes is {made!r}")
    return made


def takes_nodes(name: str) -> bool:
    """Whether the space with this name is defined for any number of nodes."""
    return "nodes" in inspect.signature(SPACES[name]).parameters


def space_from_json(text: str) -> Space:
    """Read what `Space.to_json` wrote.

    Raises:
        InputError: the text is something else.
    """
    try:
        values = json.loads(text)
        kind = values.pop("type", CellSpace.__name__)  # oche 0.1 knew one type, and did not name it
        return TYPES.named(kind).from_values(values)
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"this is no space as to_json() writes it: {type(error).__name__}: {error}") from None


@dataclass(frozen=True)
class KnownArchitecture:
    """A published architecture, with the exact sizes of its networks on the data sets that it is for.

    Attributes:
        architecture: the cells.
        cifar_parameters: of the network for CIFAR-10 (20 cells, 36 channels), without auxiliary head.
        imagenet_parameters: of the network for ImageNet (14 cells, 48 channels), without auxiliary head.
        ptb_parameters: of the language model for Penn Treebank (10,000 words, width 850).
    """

    architecture: Architecture
    cifar_parameters: int | None = None
    imagenet_parameters: int | None = None
    ptb_parameters: int | None = None


def known_architectures() -> dict[str, KnownArchitecture]:
    """Published architectures by name."""
    table = json.loads((files("oche.spaces") / "known_architectures.json").read_text(encoding="utf-8"))
    return {name: _known(entry) for name, entry in table.items()}


def _known(entry: dict[str, Any]) -> KnownArchitecture:
    if RECURRENT in entry:
        nodes = enumerate(entry[RECURRENT], start=1)
        cell = {edge_key(RECURRENT, node, source): candidate for node, (candidate, source) in nodes}
        return KnownArchitecture(Architecture.of("recurrent", cell), ptb_parameters=entry["ptb_parameters"])
    cells = {
        edge_key(kind, node, source): candidate
        for kind in ("normal", "reduction")
        for node, pairs in enumerate(entry[kind], start=2)
        for candidate, source in pairs
    }
    return KnownArchitecture(Architecture.of("darts", cells), entry["cifar_parameters"], entry["imagenet_parameters"])
