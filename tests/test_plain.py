import json
import math

from torch import nn

from oche.methods import DARTS
from oche.plain import described, finite


def test_a_part_is_described_with_its_class():
    plain = described(DARTS)
    assert plain["part"] == "Method"
    assert plain["logit_optimizer"]["part"] == "Adam"
    assert plain["logit_optimizer"]["betas"] == [0.5, 0.999]
    assert json.loads(json.dumps(plain)) == plain


def test_functions_are_described_by_name_and_other_things_by_type():
    assert described({"a": (1, None, "x", 2.5, True), 3: math.sin, "m": nn.ReLU(), "f": finite}) == {
        "a": [1, None, "x", 2.5, True],
        "3": "math.sin",
        "m": "torch.nn.modules.activation.ReLU",
        "f": "oche.plain.finite",
    }


def test_finite_leaves_numbers_alone():
    value = {"a": [1, 2.5, math.nan], "b": {"c": -math.inf}, "d": (True, "nan", None)}
    assert finite(value) == {"a": [1, 2.5, None], "b": {"c": None}, "d": [True, "nan", None]}
