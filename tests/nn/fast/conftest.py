import pytest

from oche.nn.fast import planning
from oche.nn.fast.compiled.library import library


@pytest.fixture(params=["pure", "side by side", "batched", "compiled"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By PyTorch alone, on a CPU and as on a GPU in two ways, and with compiled kernels where there is a compiler."""
    if request.param != "compiled":
        monkeypatch.setattr(planning, "library_for", lambda x: None)
    elif library() is None:
        pytest.skip("no compiler here")
    if request.param == "side by side":
        monkeypatch.setattr(planning, "APART", ())
    if request.param == "batched":
        monkeypatch.setattr(planning, "ONE_BY_ONE", ())
    return request.param
