"""Tests for parts, methods and spaces, ours and those of other packages (docs/extending.md).

    from oche.testing import SPACES, check_effect, check_engines, check_search

    def test_my_method_searches(tmp_path):
        check_search(composed("darts", mixture=Mine()), SPACES["darts"](), tmp_path)

Each check raises `AssertionError` with what is wrong.
"""

from oche.testing.battery import check_engines, check_search
from oche.testing.effects import check_effect
from oche.testing.pairs import covering
from oche.testing.settings import images, text
from oche.testing.spaces import SPACES

__all__ = ["SPACES", "check_effect", "check_engines", "check_search", "covering", "images", "text"]
