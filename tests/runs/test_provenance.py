import os
import subprocess
from pathlib import Path

import torch

from oche.runs.provenance import changes, git_state, this_process

WHO = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


def git(directory: Path, *words: str) -> str:
    done = subprocess.run(
        ("git", *words), cwd=directory, env=os.environ | WHO, capture_output=True, check=True, text=True
    )
    return done.stdout.strip()


def test_git_state_knows_the_commit_and_whether_files_differ(tmp_path):
    assert git_state(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) is None  # no commit yet
    (tmp_path / "file").write_text("a")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("a")
    assert git_state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "file").write_text("b")
    assert git_state(tmp_path) == {"commit": commit, "dirty": True}


def test_without_git_there_is_no_state(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_changes_name_what_can_change_a_result():
    now = this_process(torch.device("cpu"))
    assert changes(now, now | {"pid": 1, "started": "", "command_line": [], "host": "h", "git": None}) == []
    packages = {name: version for name, version in now["packages"].items() if name != "numpy"} | {"torch": "9"}
    found = changes(now, now | {"threads": 99, "packages": packages})
    assert found == [
        f"threads {now['threads']}, now 99",
        f"torch {now['packages']['torch']}, now 9",
        f"numpy {now['packages']['numpy']}, now None",
    ]
