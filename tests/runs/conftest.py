"""What a run leaves behind, for comparisons of two runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in ("seconds", "probe_seconds", "checkpoints")}
    return [timeless(v) for v in value] if isinstance(value, list) else value


@pytest.fixture(scope="session")
def kept() -> Callable[[Path], Any]:
    """Everything of a run that a seed fixes: metrics, result, architecture and the trained weights."""

    def read(run: Path) -> Any:
        lines = [timeless(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]
        result = timeless(json.loads((run / "result.json").read_text()))
        network = torch.load(run / "network.pt", weights_only=True)["weights"]
        return lines, result, (run / "architecture.json").read_text(), {k: v.tolist() for k, v in network.items()}

    return read
