from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oche.errors import InputError
from oche.recipe import AXES, Recipe, listed

WORD = st.from_regex(r"[a-z][a-z0-9]*(-[a-z0-9]+)?(:[a-z_]+=[0-9.]+(,[a-z_]+=[0-9e.+-]+)?)?", fullmatch=True)


@given(
    base=st.from_regex(r"[a-z]+(-[a-z]+)?([+]pt)?", fullmatch=True), parts=st.dictionaries(st.sampled_from(AXES), WORD)
)
def test_text_and_recipe_are_the_same(base, parts):
    recipe = Recipe.of(base, parts)
    assert Recipe.of(str(recipe)) == recipe
    assert dict(recipe.parts) == parts
    assert str(Recipe.of(base)) == base


def test_the_order_does_not_matter():
    pieces = ["selection=s", "mixture=m:x=1,y=2", "terms=a+b"]
    texts = {str(Recipe.of("/".join(["darts", *order]))) for order in permutations(pieces)}
    assert texts == {"darts/mixture=m:x=1,y=2/terms=a+b/selection=s"}
    assert str(Recipe.of(" darts / selection = s ", {"mixture": " m ", "terms": None})) == "darts/mixture=m/selection=s"


def test_a_part_replaces_another_one():
    assert str(Recipe.of("darts/mixture=m/terms=t").replaced({"mixture": "n", "stages": "none"})) == (
        "darts/mixture=n/terms=t/stages=none"
    )


@pytest.mark.parametrize(
    ("text", "further", "message"),
    [
        ("", {}, "begins with its name"),
        ("/selection=x", {}, "begins with its name"),
        ("darts/x", {}, "parts with their axes, such as darts/selection=decorrelation, but got 'x'"),
        ("darts/selectoin=x", {}, "unknown axis of a method 'selectoin'; did you mean 'selection'"),
        ("darts/relaxation=x", {}, "unknown axis of a method 'relaxation'"),
        ("darts/selection=", {}, "has no name behind it"),
        ("darts", {"selection": " "}, "has no name behind it"),
        ("darts/terms=a/terms=b", {}, "the terms of 'darts' is given twice: a and b"),
        ("darts/terms=a", {"terms": "b"}, "the terms of 'darts' is given twice: a and b"),
    ],
)
def test_what_is_no_recipe_is_refused(text, further, message):
    with pytest.raises(InputError, match=message):
        Recipe.of(text, further)


def test_lists():
    assert listed("none") == []
    assert listed("a") == ["a"]
    assert listed("a+b-c:x=1e+3,y=2 + d") == ["a", "b-c:x=1e+3,y=2", "d"]
    assert listed("a+") == ["a", ""]  # whose second name is then unknown
