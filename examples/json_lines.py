"""A logger of one's own: every epoch as a line of JSON, for `tail -f`, jq or a dashboard.

    python examples/json_lines.py epochs.jsonl &
    tail -f epochs.jsonl | jq '.valid_accuracy'

The same few lines send the numbers to any other service: `start` opens it, `epoch` writes, `finish` closes.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import oche


class JsonLines(oche.Listener):
    """Appends what happens to a file; only what it wants to hear is defined."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def start(self, job: oche.Job) -> None:
        """A job begins; `job.records` has the epochs of earlier sessions, if it goes on."""
        self._file = self._path.open("a", encoding="utf-8")
        self._write({"job": job.name, "epochs": job.epochs, "steps": job.steps, "done": job.done})

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is done; the record is plain values."""
        self._write({key: value for key, value in record.items() if key != "logits"})

    def finish(self) -> None:
        """The job is over, or has stopped."""
        assert self._file is not None
        self._file.close()

    def _write(self, value: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(value) + "\n")
        self._file.flush()


if __name__ == "__main__":
    path = Path(sys.argv[1])
    data = oche.load("digits", oche.DataOptions(limit=300))
    result = oche.search("rdarts-s2", data=data, epochs=3, listeners=[JsonLines(path), oche.TensorBoard("events")])
    print(result.verdict)
