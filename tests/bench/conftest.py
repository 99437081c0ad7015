"""The script that embeds the table, as a module."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def script() -> ModuleType:
    """benchmarks/embed_nasbench201.py as a module."""
    spec = importlib.util.spec_from_file_location("embed_nasbench201", ROOT / "benchmarks" / "embed_nasbench201.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
