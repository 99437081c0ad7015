import pytest

from oche.nn.fast import planning
from oche.nn.fast.compiled.library import library


@pytest.fixture(params=["pure", "compiled"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything by PyTorch alone, and everything with compiled kernels where there is a compiler."""
    if request.param == "pure":
        monkeypatch.setattr(planning, "library_for", lambda x: None)
    elif library() is None:
        pytest.skip("no compiler here")
    return request.param
