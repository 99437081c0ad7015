"""The examples run as they are."""

import json
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_json_lines(tmp_path):
    command = [sys.executable, "-W", "error", str(EXAMPLES / "json_lines.py"), "epochs.jsonl"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    start, *epochs = [json.loads(line) for line in (tmp_path / "epochs.jsonl").read_text().splitlines()]
    assert start["job"] == "search"
    assert [e["epoch"] for e in epochs] == [1, 2, 3]
    assert "IES" in done.stdout
    assert list((tmp_path / "events" / "search").iterdir())
