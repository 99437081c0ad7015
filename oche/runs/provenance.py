"""Where and with what a session computes: what a manifest says of it."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from oche.version import __version__

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "pillow")
"""Whose versions can change a result."""


def this_process(device: torch.device) -> dict[str, Any]:
    """This process, its machine and its packages, as plain values."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "command_line": sys.argv,
        "threads": torch.get_num_threads(),
        **this_machine(device),
        "git": git_state(Path.cwd()),
    }


def this_machine(device: torch.device) -> dict[str, Any]:
    """What can change the numbers of a job; nothing that belongs to one process or place."""
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {"oche": __version__} | {name: version(name) for name in PACKAGES},
    }


def cpu_name() -> str:
    """The model of the processor and the instructions that PyTorch uses of it, which decide how sums are rounded."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(models, platform.processor())}, {torch.backends.cpu.get_cpu_capability()}"


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two sessions and can change the last bits of a result, one phrase each."""
    same = ("device", "device_name", "threads", "python", "platform")
    pairs = {name: (before[name], now[name]) for name in same}
    names = before["packages"] | now["packages"]
    pairs |= {name: (before["packages"].get(name), now["packages"].get(name)) for name in names}
    return [f"{name} {old}, now {new}" for name, (old, new) in pairs.items() if old != new]


def git_state(directory: Path) -> dict[str, Any] | None:
    """The commit that is checked out, and whether tracked files differ from it; None outside of a repository."""
    try:
        commit, status = (
            subprocess.run(("git", "-C", directory, *words), capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):  # no git, no repository, or no commit in it
        return None
    return {"commit": commit, "dirty": bool(status)}
