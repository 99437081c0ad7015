import json
import math

from oche.methods import DARTS
from oche.plain import described, finite


def test_a_part_is_described_with_its_class():
    plain = described(DARTS)
    assert plain["part"] == "Method"
    assert plain["logit_optimizer"]["part"] == "Adam"
    assert plain["logit_optimizer"]["betas"] == [0.5, 0.999]
    assert json.loads(json.dumps(plain)) == plain


def test_what_is_not_plain_is_described_by_its_type():
    assert described({"a": (1, None, "x", 2.5, True), 3: math.sin}) == {
        "a": [1, None, "x", 2.5, True],
        "3": "builtin_function_or_method",
    }


def test_finite_leaves_numbers_alone():
    value = {"a": [1, 2.5, math.nan], "b": {"c": -math.inf}, "d": (True, "nan", None)}
    assert finite(value) == {"a": [1, 2.5, None], "b": {"c": None}, "d": [True, "nan", None]}
