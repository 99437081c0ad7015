import re
from dataclasses import dataclass
from typing import ClassVar

import pytest

from oche.citations import BIBTEX, bibliography, cited
from oche.methods import DARTS, METHODS, Method
from oche.nosh.search import SEARCHES
from oche.objective.asymptotic import Asymptotic
from oche.predict.proxies import proxy

PAPERS = {
    "darts": "darts",
    "darts-2nd": "darts",
    "sp-darts": "sp-darts",
    "drnas": "drnas",
    "drnas-progressive": "drnas",
    "amended": "amended",
    "sdarts-rs": "sdarts",
    "sdarts-adv": "sdarts",
    "sgas": "sgas",
    "idarts": "idarts",
    "allegro": "allegro",
}
ALL = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def test_every_entry_is_complete() -> None:
    keys = [re.match(r"@(\w+)\{(\w+),", entry) for entry in BIBTEX.values()]
    assert all(keys)
    assert len({key[2] for key in keys if key}) == len(BIBTEX)
    for entry in BIBTEX.values():
        assert entry.count("{") == entry.count("}")
        for name in ("title", "author", "year"):
            assert f"\n  {name}={{" in entry
        assert entry.endswith("\n}")


@ALL
def test_every_part_cites_known_papers(method: Method) -> None:
    names = list(cited(method))
    assert names
    assert set(names) <= BIBTEX.keys()


@ALL
def test_a_method_has_its_paper_and_that_of_darts(method: Method) -> None:
    found = bibliography(method)
    assert {PAPERS[method.name], "darts"} <= found.keys()
    assert all(found[name] == BIBTEX[name] for name in found)
    # In the order in which the parts are met, each once.
    assert list(found) == list(dict.fromkeys(cited(method)))


def test_a_paper_that_was_not_used_is_not_cited() -> None:
    assert list(bibliography(DARTS)) == ["darts"]
    assert list(bibliography(METHODS["amended"])) == ["amended", "darts"]
    assert list(bibliography(METHODS["sp-darts"])) == ["sp-darts", "darts"]
    assert "pc-darts" not in bibliography(METHODS["drnas"])
    assert {"pc-darts", "net2net"} <= bibliography(METHODS["drnas-progressive"]).keys()


def test_searches_by_query_cite_what_they_are_made_of() -> None:
    assert list(bibliography(SEARCHES["rank-nosh"])) == ["rank-nosh", "wang-2021", "gates"]
    assert list(bibliography(SEARCHES["successive-halving"])) == ["halving", "random-search"]
    assert list(bibliography(SEARCHES["evolution"])) == ["evolution"]
    assert list(bibliography(proxy("synflow"))) == ["synflow", "zero-cost"]
    for search in SEARCHES.values():
        assert set(cited(search)) <= BIBTEX.keys()


def test_parts_within_parts_and_several_parts_are_met_in_order() -> None:
    @dataclass(frozen=True)
    class Whole:
        CITES: ClassVar[tuple[str, ...]] = ("rdarts",)
        parts: tuple[object, ...]
        number: int = 3

    whole = Whole((Asymptotic(), DARTS))
    assert list(bibliography(whole, METHODS["sdarts-rs"])) == ["rdarts", "allegro", "darts", "sdarts"]
    assert bibliography(3, "text", None) == {}
