import pytest

from oche.errors import InputError
from oche.task import ImageTask


def test_the_side_is_the_shorter_one() -> None:
    assert ImageTask(channels=1, height=5, width=16, classes=2).side == 5
    assert ImageTask(channels=1, height=16, width=5, classes=2).side == 5


@pytest.mark.parametrize("name", ["channels", "height", "width", "classes"])
def test_sizes_must_be_positive(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} >= 1.*{name}=0"):
        ImageTask(**{"channels": 1, "height": 1, "width": 1, "classes": 1} | {name: 0})
