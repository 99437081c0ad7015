"""Every fault that a run may meet, at the command line: it goes on with the same bits, or is refused with the reason.

A session is a process of its own, forked from this one, which has imported everything already: a fresh interpreter
needs four seconds for that. Before it starts, a fault can be planted in it, such as a signal in a certain step.
"""

import ctypes
import hashlib
import importlib
import importlib.util
import io
import json
import math
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import oche.checkpoint
from oche.checkpoint import read_checkpoint
from oche.cli import main
from oche.data.load import load
from oche.data.options import DataOptions

resource: Any = pytest.importorskip("resource", reason="sessions are forked, which only POSIX can")

CAMPAIGN = Path(__file__).parents[2] / "benchmarks" / "faults.py"

SPACE = ["--space", "rdarts-s2", "--space.nodes", "1", "--space.cells", "2", "--space.channels", "4"]
COMMON = ["--seed", "1", "--threads", "1", "--save-every", "0.05s", "--quiet"]
SEARCH = [*SPACE, *COMMON, "--search.epochs", "3", "--search.batch", "24"]
NETWORK = ["--train.epochs", "2", "--train.cells", "2", "--train.channels", "4", "--train.batch", "60"]
NETWORK += ["--train.drop-path", "0.2"]
TRAIN = [*NETWORK, *COMMON]
DIGITS = ["--data", "digits", "--data.limit", "200"]
RUN = ["run", *DIGITS, *SEARCH, *NETWORK, "--baseline", "random:1"]

STEPS = 3
"""Steps of an epoch: of the search 90 images in batches of 24, of a training 180 in batches of 60."""

LONGEST = 60.0
"""Seconds after which a session hangs."""


# -- sessions ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a session came to its end: exit status (negative: by a signal), and what it printed."""

    status: int
    out: str
    err: str


class Session:
    """A function in a forked process; its result is the exit status."""

    def __init__(self, work: Callable[[], int]) -> None:
        # Pipes, not files: the size of a file is one of the things that are limited here.
        pipes = [os.pipe(), os.pipe()]
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Later Pythons warn that threads do not come along; numpy's pool of threads is prepared for that.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _live(work, [write for _, write in pipes])
        for read, write in pipes:
            os.close(write)
            os.set_blocking(read, False)
        self._read = [read for read, _ in pipes]

    def end(self) -> Ended:
        """Wait for it; one that hangs is killed, which no test takes for a good end."""
        deadline, done, said = time.monotonic() + LONGEST, (0, 0), [b"", b""]
        while not done[0]:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            done = os.waitpid(self.pid, os.WNOHANG)
            said = [text + _available(pipe) for text, pipe in zip(said, self._read, strict=True)]
            time.sleep(0.002)
        for pipe in self._read:
            os.close(pipe)
        return Ended(os.waitstatus_to_exitcode(done[1]), said[0].decode(), said[1].decode())


def _live(work: Callable[[], int], pipes: list[int]) -> None:
    status = 1
    try:
        for number, pipe in zip((1, 2), pipes, strict=True):
            os.dup2(pipe, number)
        sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
        sys.stderr = sys.__stderr__ = os.fdopen(2, "w", closefd=False)
        # pytest collects what threads raise; here a user would see it.
        threading.excepthook, sys.unraisablehook = threading.__excepthook__, sys.__unraisablehook__
        oche.checkpoint.SHARE = 1e9  # all of the time may go into saving: there is always something to lose
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _available(pipe: int) -> bytes:
    said = b""
    try:
        while piece := os.read(pipe, 65536):
            said += piece
    except BlockingIOError:
        pass
    return said


@pytest.fixture(autouse=True)
def _away(tmp_path, monkeypatch):
    """Default run directories belong into a temporary place."""
    monkeypatch.chdir(tmp_path)


def cli(*words: object, faults: Sequence[Callable[[], object]] = ()) -> Ended:
    """A command in a session, after faults were planted in it."""
    return begun(*words, faults=faults).end()


def begun(*words: object, faults: Sequence[Callable[[], object]] = ()) -> Session:
    """The same, while it goes on."""

    def work() -> int:
        for plant in faults:
            plant()
        return main([str(word) for word in words])

    return Session(work)


def refused(ended: Ended, *parts: str) -> None:
    """It ended with status 2 and one message that has these parts."""
    assert ended.status == 2, ended.err
    lines = [line for line in ended.err.splitlines() if line]
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("oche: ")
    for part in parts:
        assert part in lines[0]


# -- faults ------------------------------------------------------------------------------------------------------------

A_SEARCH_STEP = "oche.step.SearchStep.__call__"
A_SEARCH_VALIDATION = "oche.loop.evaluate"
A_TRAINING_STEP = "oche.training.trainer.set_rate"
AN_EVALUATION = "oche.training.trainer.evaluate"


def at(name: str, number: int, fault: Callable[..., object]) -> Callable[[], None]:
    """Something happens when a function is called the n-th time; it is given the arguments, and may return others."""

    def plant() -> None:
        owner, _, last = name.rpartition(".")
        try:
            place: Any = importlib.import_module(owner)
        except ImportError:  # a class, or a module as another one knows it
            module, _, inner = owner.rpartition(".")
            place = getattr(importlib.import_module(module), inner)
        original, calls = getattr(place, last), 0

        def function(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            others = fault(*arguments) if calls == number else None
            return original(*(others if isinstance(others, tuple) else arguments), **options)

        setattr(place, last, function)

    return plant


def signals(*sent: int) -> Callable[..., None]:
    """These signals come."""

    def fault(*_: object) -> None:
        for one in sent:
            os.kill(os.getpid(), one)
        if len(sent) > 1:
            os._exit(99)  # the second signal stops at once: this is never reached

    return fault


def limit(path: Path, more: int) -> Callable[..., None]:
    """From now on no file can grow to more than the size of this one and some bytes: as if the disk were full then.

    What is beyond is cut off, as on a full disk, and the error is the system's own.
    """

    def fault(*_: object) -> None:
        (file,) = path.parent.glob(path.name)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + more, resource.RLIM_INFINITY))

    return fault


def diverge(step: Any, *_: object) -> None:
    """This step of a search goes so far that the next loss is no number."""
    for group in step._weight_optimizer.param_groups:
        group["lr"] = 1e30


def lose_all(step: Any, *_: object) -> None:
    """This step itself makes all weights NaN, after a loss that was well."""
    for group in step._weight_optimizer.param_groups:
        group["lr"] = math.nan


def too_fast(optimizer: Any, rate: float) -> tuple[Any, float]:
    """The same for a training."""
    return optimizer, 1e30


def own_mounts() -> None:
    """Give this process mounts of its own, as the root of a user namespace: nobody else sees them.

    Raises:
        OSError: this machine does not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    new_mounts, new_user = 0x00020000, 0x10000000  # CLONE_NEWNS, CLONE_NEWUSER: Python has them from 3.12 on
    if libc.unshare(new_mounts | new_user):
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    mount("--make-rprivate", "/")


def mount(*words: object) -> None:
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr)


def mounting(*words: object) -> Callable[[], None]:
    """A fault that lies in the file system."""

    def plant() -> None:
        own_mounts()
        mount(*words)

    return plant


@pytest.fixture(scope="module")
def _mounts(tmp_path_factory) -> None:
    """Skip where processes cannot have mounts of their own (in some containers)."""
    place = tmp_path_factory.mktemp("mount")
    if sys.platform != "linux" or Session(lambda: (mounting("-t", "tmpfs", "none", place)(), 0)[1]).end().status:
        pytest.skip("this machine gives processes no mounts of their own")


# -- bits --------------------------------------------------------------------------------------------------------------


def _campaign() -> Any:
    spec = importlib.util.spec_from_file_location("faults_campaign", CAMPAIGN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


campaign = _campaign()


def bits(run: Path) -> dict[str, Any]:
    """All that must be equal: what the campaign compares, as far as the command has it."""
    if (run / "network.pt").exists() and checkpoints(run):
        return campaign.bits(run)  # type: ignore[no-any-return]
    found = {
        "metrics.jsonl": [campaign.timeless(record) for record in records(run)],
        "result.json": campaign.timeless(json.loads((run / "result.json").read_text())),
        "architecture.json": (run / "architecture.json").read_text(),
        "nothing half written": sorted(path.name for path in run.rglob("*.new")),
    }
    if (run / "network.pt").exists():
        found["network.pt"] = campaign.raw(torch.load(run / "network.pt", weights_only=True))
    else:
        state = read_checkpoint(checkpoints(run)[-1])["state"]
        found["supernet"] = campaign.raw({name: state[name] for name in ("supernet", "optimizers")})
    return found


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def checkpoints(run: Path, job: str = "search") -> list[Path]:
    """Oldest first; the number leads the name."""
    return sorted((run / "checkpoints").glob(f"{job}-[0-9]*.pt"))


def contents(run: Path, *but: str) -> dict[str, bytes]:
    """Every file with its content."""
    files = (path for path in run.rglob("*") if path.is_file())
    return {str(p.relative_to(run)): p.read_bytes() for p in files if p.relative_to(run).parts[0] not in but}


def same_bits(run: Path, whole: Path) -> None:
    found, expected = bits(run), bits(whole)
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name] == expected[name], name


# -- what they begin with ----------------------------------------------------------------------------------------------


def intact(run: Path) -> None:
    """Everything in a run directory is whole; only the last line of a log may be cut."""
    for path in run.glob("*.json"):
        json.loads(path.read_text())
    yaml.safe_load((run / "config.yaml").read_text())
    for line in (run / "metrics.jsonl").read_text().split("\n")[:-1] if (run / "metrics.jsonl").exists() else ():
        json.loads(line)
    for path in (run / "checkpoints").glob("*.pt"):
        read_checkpoint(path)
    if (run / "network.pt").exists():
        torch.load(run / "network.pt", weights_only=True)
    assert not list(run.rglob("*.new"))


# -- what they begin with ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nobody disturbed, made in this process, so that the sessions have every module that is needed."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    assert main([*RUN, "--run", str(directory)]) == 0
    return directory


@pytest.fixture(scope="module")
def whole_search(whole, tmp_path_factory) -> Path:
    """The same for `oche search`."""
    directory = tmp_path_factory.mktemp("whole") / "search"
    assert cli("search", *DIGITS, *SEARCH, "--run", directory).status == 0
    return directory


@pytest.fixture(scope="module")
def in_search(whole, tmp_path_factory) -> Path:
    """A run that was stopped in the second epoch of its search. Tests take copies."""
    directory = tmp_path_factory.mktemp("stopped") / "in-search"
    stop = at(A_SEARCH_STEP, STEPS + 1, signals(signal.SIGINT))
    assert cli(*RUN, "--run", directory, faults=[stop]).status == 128 + signal.SIGINT
    assert len(checkpoints(directory)) > 1  # there is one to fall back to
    return directory


@pytest.fixture(scope="module")
def in_training(in_search, tmp_path_factory) -> Path:
    """The same run, stopped in the second epoch of its training."""
    directory = copy(in_search, tmp_path_factory.mktemp("stopped") / "in-training")
    stop = at(A_TRAINING_STEP, STEPS + 1, signals(signal.SIGTERM))
    assert cli("resume", directory, "--quiet", faults=[stop]).status == 128 + signal.SIGTERM
    return directory


def copy(run: Path, place: Path | str) -> Path:
    shutil.copytree(run, place)
    return Path(place)


# -- kills -------------------------------------------------------------------------------------------------------------


def test_after_ten_kills_every_bit_is_the_same():
    words = [sys.executable, str(CAMPAIGN), "--kills", "10", "--seed", "3"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout[done.stdout.index("\n{") :])
    assert summary["kills"] >= 10
    assert summary["different"] == []


def test_what_a_kill_leaves_behind_is_removed_or_harmless(whole, in_search, tmp_path):
    run = copy(in_search, tmp_path / "run")
    for left in ("checkpoints/.search-000099-epoch2-step1-0123456789abcdef.pt.new", ".result.json.new"):
        (run / left).write_bytes(b"half")
    (tmp_path / ".again.abcd").mkdir()  # a run that was killed while its directory was made
    (tmp_path / ".again.abcd" / "config.yaml").write_text("format: 2\n")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "search", "epoch": 2, "tr')
    assert cli("resume", run, "--quiet").status == 0
    same_bits(run, whole)
    listed = cli("list", ".", "--json")
    assert (listed.status, listed.err) == (0, "")
    assert [Path(entry["path"]).name for entry in json.loads(listed.out)] == ["run"]


# -- signals -----------------------------------------------------------------------------------------------------------

MOMENTS = [
    (A_SEARCH_STEP, STEPS + 2, "search stopped in epoch 2 after step 2 and is saved"),
    (A_SEARCH_VALIDATION, 1, "search stopped in epoch 2 after step 3 and is saved"),
    (A_TRAINING_STEP, 2, "train stopped in epoch 1 after step 2 and is saved"),
    (AN_EVALUATION, 1, "train stopped in epoch 1 after step 3 and is saved"),
    (AN_EVALUATION, 3, "train stopped after its last epoch and is saved"),  # after two validations: the test part
    (A_TRAINING_STEP, STEPS + 1, "random 1 stopped in epoch 2 after step 1 and is saved"),
]
"""Each in the session that goes on after the one before it."""


def test_a_first_signal_saves_and_says_how_to_go_on(whole, tmp_path):
    run = tmp_path / "run"
    words = [*RUN, "--run", str(run)]
    for (place, number, message), sent in zip(MOMENTS, [signal.SIGINT, signal.SIGTERM] * 3, strict=True):
        ended = cli(*words, faults=[at(place, number, signals(sent))])
        assert ended.status == 128 + sent, ended.err
        note, hint = (line for line in ended.err.splitlines() if line)
        assert note == "oche: stopping after this step; once more stops at once"
        assert message in hint
        intact(run)
        pasted = shlex.split(hint.partition("go on with: ")[2])
        assert pasted == ["oche", "resume", str(run)]
        words = [*pasted[1:], "--quiet"]
    assert cli(*words).status == 0
    same_bits(run, whole)


def test_a_second_signal_stops_at_once_and_loses_no_more_than_the_last_steps(whole, tmp_path):
    run = tmp_path / "run"
    words = [*RUN, "--run", str(run)]
    for (place, number, _), sent in zip(MOMENTS, [signal.SIGINT, signal.SIGTERM] * 3, strict=True):
        ended = cli(*words, faults=[at(place, number, signals(sent, signal.SIGINT))])
        assert ended.status == 128 + sent, ended.err
        _, hint = (line for line in ended.err.splitlines() if line)
        assert hint.startswith("oche: stopped at once; go on ")
        assert hint.endswith(f": oche resume {run}")
        intact(run)
        words = ["resume", str(run), "--quiet"]
    assert cli(*words).status == 0
    same_bits(run, whole)


def test_a_second_signal_while_the_first_one_saves_leaves_nothing_half_written(whole, in_search, tmp_path):
    run = copy(in_search, tmp_path / "run")
    before = contents(run / "checkpoints")

    def first(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        at("oche.files.os.fsync", 1, signals(signal.SIGINT))()

    ended = cli("resume", run, faults=[at(A_SEARCH_STEP, 1, first)])
    assert ended.status == 128 + signal.SIGINT
    assert f"oche resume {run}" in ended.err
    assert contents(run / "checkpoints") == before
    assert cli("resume", run, "--quiet").status == 0
    same_bits(run, whole)


@pytest.mark.parametrize("place", ["oche.runs.session.load", "oche.runs.commands.resolve_space"])
def test_ctrl_c_before_there_is_a_directory_leaves_nothing(whole, tmp_path, place):
    ended = cli(*RUN, "--run", "run", faults=[at(place, 1, signals(signal.SIGINT))])
    assert (ended.status, ended.err) == (128 + signal.SIGINT, "oche: interrupted\n")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_while_the_directory_is_made_is_heard_once_it_is_there(whole, tmp_path):
    ended = cli(*RUN, "--run", "run", faults=[at("pathlib.Path.rename", 1, signals(signal.SIGINT))])
    assert ended.status == 128 + signal.SIGINT
    assert "oche resume run" in ended.err
    assert cli("resume", "run", "--quiet").status == 0
    same_bits(tmp_path / "run", whole)


def test_ctrl_c_right_after_the_directory_was_made_says_how_to_go_on(whole):
    now = at("oche.runs.directory.RunDirectory.log", 1, signals(signal.SIGINT))
    ended = cli(*RUN, "--run", "run", faults=[now])
    assert ended.status == 128 + signal.SIGINT
    assert "oche resume run" in ended.err


# -- two processes -----------------------------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_the_first_is_not_disturbed(whole, in_search, tmp_path):
    run = copy(in_search, tmp_path / "run")

    def wait(*_: object) -> None:
        Path("ready").touch()
        _until(Path("go").exists)

    first = begun("resume", run, "--quiet", faults=[at(A_SEARCH_STEP, 2, wait)])
    _until(Path("ready").exists)
    before = contents(run)
    refused(cli("resume", run), str(run), f"process {first.pid} on {socket.gethostname()}", "stop it first")
    refused(cli(*RUN, "--run", run), "exists already", f"oche resume {run}")
    shown = cli("show", run, "--json")
    assert json.loads(shown.out)["status"] == "running"
    assert contents(run) == before
    Path("go").touch()
    assert first.end().status == 0
    same_bits(run, whole)


def test_a_lock_that_workers_of_a_killed_process_still_hold_is_waited_for(whole, in_search, tmp_path):
    run = copy(in_search, tmp_path / "run")

    def leave_an_orphan(*_: object) -> None:
        if os.fork() == 0:  # it has inherited the lock
            time.sleep(1.5)
        os._exit(0)

    assert cli("resume", run, faults=[at(A_SEARCH_STEP, 1, leave_an_orphan)]).status == 0
    assert cli("resume", run, "--quiet").status == 0
    same_bits(run, whole)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- full disks --------------------------------------------------------------------------------------------------------

FULL = "what was saved before is whole"


@pytest.mark.usefixtures("_mounts")
@pytest.mark.parametrize(
    "size",
    [
        16,
        64,
        128,
        200,
    ],
    ids="{} kB".format,
)
def test_a_disk_that_is_too_small_damages_nothing(whole, tmp_path, size):
    """At first even the log has no room; then the first, a later, and an epoch's checkpoint have none."""
    disk, full, roomy = (tmp_path / name for name in ("disk", "full", "roomy"))
    disk.mkdir()
    run = disk / "run"

    def work() -> int:
        mounting("-t", "tmpfs", "-o", f"size={size}k", "none", disk)()
        statuses = [main([*RUN, "--run", str(run)])]
        shutil.copytree(run, full)
        statuses.append(main(["resume", str(run), "--quiet"]))  # nobody has made room
        shutil.copytree(run, tmp_path / "still-full")
        mount("-o", "remount,size=64m", disk)
        statuses.append(main(["resume", str(run), "--quiet"]))
        shutil.copytree(run, roomy)
        print(statuses)
        return 0

    ended = Session(work).end()
    assert json.loads(ended.out) == [2, 2, 0], ended.err
    first, second = (line for line in ended.err.splitlines() if line)
    for message in (first, second):
        assert f"oche: cannot write '{run}" in message
        assert "No space left on device" in message
        assert FULL in message
    assert f"oche resume {run}" in first
    intact(full)
    intact(tmp_path / "still-full")
    assert reached(full) <= reached(tmp_path / "still-full") <= reached(roomy)
    same_bits(roomy, whole)


def reached(run: Path) -> list[tuple[int, int]]:
    """Epoch and step of the newest checkpoint of the search; nothing sorts before all of them."""
    positions = [read_checkpoint(path)["position"] for path in checkpoints(run)]
    return [(position["epoch"], position["step"]) for position in positions[-1:]]


@pytest.mark.usefixtures("_mounts")
def test_no_room_for_even_a_directory_leaves_nothing(whole, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()

    def work() -> int:
        mounting("-t", "tmpfs", "-o", "size=8k", "none", disk)()
        status = main([*RUN, "--run", str(disk / "run")])
        print(list(disk.iterdir()))
        return status

    ended = Session(work).end()
    refused(ended, "cannot make the directory", "No space left on device", "--run DIR")
    assert ended.out == "[]\n"


WRITES = {
    "metrics.jsonl": ("in_search", "oche.runs.directory.RunDirectory.epoch", 1, "metrics.jsonl", 10),
    "log.txt": ("in_search", "oche.listeners.console.PlainLines.epoch", 1, "log.txt", 10),
    "architecture.json": ("in_search", "oche.runs.directory.RunDirectory.write_text", 3, "space.json", -400),
    "network.pt": ("in_training", "oche.runs.commands.save_network", 1, "space.json", 0),
    "result.json": ("in_training", "oche.runs.directory.RunDirectory.add_result", 1, "space.json", 0),
    "manifest.json": ("in_training", "oche.runs.directory.RunDirectory.write_json", 1, "space.json", 0),
}
"""By the file that has no room: the run that goes on, and since which call no file can be larger than another one."""


@pytest.mark.parametrize("name", WRITES)
def test_wherever_the_room_ends_nothing_saved_is_damaged(request, whole, tmp_path, name):
    stopped, place, number, measure, more = WRITES[name]
    run = copy(request.getfixturevalue(stopped), tmp_path / "run")
    before = contents(run, "checkpoints", "tensorboard", "log.txt")
    full = at(place, number, limit(run / measure, more))
    ended = cli("resume", run, "--quiet", faults=[full])
    refused(ended, f"cannot write '{run}/", "File too large", FULL)
    if name != "manifest.json":  # then it has not begun to go on
        assert f"oche resume {run}" in ended.err
    assert f"/{name}'" in ended.err
    intact(run)
    after = contents(run)
    # What the session has written since is longer than it was; all else is as it was.
    grown = ("metrics.jsonl", "manifest.json", "result.json")
    assert all(after[file] == content for file, content in before.items() if file not in grown)
    assert cli("resume", run, "--quiet").status == 0
    same_bits(run, whole)


@pytest.mark.parametrize(
    ("place", "measure", "more"),
    [
        ("oche.listeners.tensorboard.TensorBoard.start", "log.txt", 20),
        ("oche.listeners.tensorboard.TensorBoard.epoch", "tensorboard/search/*", 10),
    ],
    ids=["start", "epoch"],
)
def test_no_room_for_tensorboard_is_said_like_any_other(whole, in_search, tmp_path, place, measure, more):
    run = copy(in_search, tmp_path / "run")
    ended = cli("resume", run, "--quiet", faults=[at(place, 1, limit(run / measure, more))])
    intact(run)
    refused(ended, "cannot write", "File too large", f"oche resume {run}")
    assert cli("resume", run, "--quiet").status == 0
    same_bits(run, whole)


def test_even_where_tensorboard_fails_going_on_gives_the_same_bits(whole, in_search, tmp_path):
    run = copy(in_search, tmp_path / "run")
    full = at("oche.listeners.tensorboard.TensorBoard.epoch", 1, limit(run / "tensorboard" / "search" / "*", 10))
    assert cli("resume", run, "--quiet", faults=[full]).status != 0
    intact(run)
    assert cli("resume", run, "--quiet").status == 0
    same_bits(run, whole)


def test_a_run_that_was_cut_off_right_after_its_directory_was_made_becomes_whole(whole, tmp_path):
    stop = at("oche.runs.directory.RunDirectory.log", 1, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    assert cli(*RUN, "--run", "run", faults=[stop]).status == -signal.SIGKILL
    assert cli("resume", "run", "--quiet").status == 0
    same_bits(tmp_path / "run", whole)
    assert {path.name for path in whole.iterdir()} <= {path.name for path in Path("run").iterdir()}


# -- read-only directories ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_mounts")
def test_a_read_only_directory_can_be_looked_at_but_not_be_worked_in(in_search, tmp_path):
    place = tmp_path / "place"
    run = copy(in_search, place / "run")
    before = contents(run)

    def work() -> int:
        mounting("--bind", place, place)()
        mount("-o", "remount,bind,ro", place)
        asked = [["show", str(run), "--json"], ["resume", str(run)], ["resume", str(run)], [*RUN, "--run", "place/new"]]
        statuses = [main(words) for words in asked]
        print(f"\n{statuses}")
        return 0

    ended = Session(work).end()
    assert ended.status == 0, ended.err
    assert json.loads(ended.out.splitlines()[-1]) == [0, 2, 2, 2]
    assert '"status": "interrupted"' in ended.out
    going_on, again, making = ended.err.splitlines()
    assert going_on == again
    assert f"cannot write '{run}'" in going_on
    assert "cannot make the directory 'place/new'" in making
    for message in (going_on, making):
        assert "Read-only file system" in message
    assert contents(run) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_directory_without_permission_is_refused(in_search, tmp_path):
    run = copy(in_search, tmp_path / "place" / "run")
    for path in (run, run.parent):
        path.chmod(0o555)
    try:
        refused(cli("resume", run), f"cannot write '{run}'", "Permission denied")
        refused(cli(*RUN, "--run", run.parent / "new"), "cannot make", "Permission denied")
        assert cli("show", run).status == 0
    finally:
        for path in (run, run.parent):
            path.chmod(0o755)


# -- what has changed meanwhile ----------------------------------------------------------------------------------------


def npz(path: Path, change: int = 0) -> Path:
    """Digits in a file; the change goes to one pixel of one image."""
    digits = load("digits", DataOptions(limit=200))
    arrays = {}
    for name, part in (("train", digits.train), ("test", digits.test)):
        images = part.read(torch.arange(len(part.labels)))[:, 0].numpy()
        arrays |= {f"x_{name}": images, f"y_{name}": part.labels.numpy()}
    arrays["x_train"][3, 4, 4] ^= change
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def on_a_file(whole, tmp_path_factory) -> tuple[Path, Path]:
    """Searches on a file in their directory, given by a relative path: a whole one, and one that was stopped."""
    place = tmp_path_factory.mktemp("file")
    npz(place / "a.npz")
    words = ["search", "--data", "a.npz", *SEARCH]
    inside = partial(os.chdir, place)
    assert cli(*words, "--run", "whole", faults=[inside]).status == 0
    stop = at(A_SEARCH_STEP, STEPS + 2, signals(signal.SIGINT))
    assert cli(*words, "--run", "stopped", faults=[inside, stop]).status == 128 + signal.SIGINT
    return place / "whole", place / "stopped"


def test_changed_data_behind_the_same_path_are_refused_and_moved_data_are_not(on_a_file, tmp_path):
    whole, run = on_a_file[0], copy(on_a_file[1], tmp_path / "run")
    file = whole.parent / "a.npz"
    old = load(str(file), DataOptions()).fingerprint
    moved = file.rename(tmp_path / "moved.npz")
    try:
        new = load(str(npz(file, change=1)), DataOptions()).fingerprint
        before = contents(run)
        refused(cli("resume", run), "the data are not the 'a'", old[:16], new[:16], "--data PATH")
        assert contents(run) == before
        refused(cli("resume", run, "--data", "nowhere.npz"), "nowhere.npz", "no such file")
        assert cli("resume", run, "--data", "moved.npz", "--quiet").status == 0
        same_bits(run, whole)
    finally:
        moved.replace(file)


def test_changed_versions_and_threads_are_warned_of_by_name(whole, in_search, tmp_path):
    run = copy(in_search, tmp_path / "run")
    elsewhere(run)
    ended = cli("resume", run, "--quiet")
    assert ended.status == 0
    assert [line.partition(";")[0] for line in ended.err.splitlines()] == [
        "warning: threads 7, now 1",
        f"warning: torch 1.0.1, now {version('torch')}",
        f"warning: pillow 2.0, now {version('pillow')}",
    ]
    assert all("numbers may differ" in line for line in ended.err.splitlines())
    # What each session ran on is kept.
    sessions = json.loads((run / "manifest.json").read_text())["sessions"]
    assert [session["threads"] for session in sessions] == [7, 1]
    same_bits(run, whole)


def test_changed_versions_are_in_the_log(in_training, tmp_path):
    run = copy(in_training, tmp_path / "run")
    elsewhere(run)
    ended = cli("resume", run, "--quiet")
    assert len(ended.err.splitlines()) == 3
    assert (run / "log.txt").read_text().count("warning: ") == 3


def elsewhere(run: Path) -> None:
    """Say that the run has begun with other versions and threads."""
    manifest = json.loads((run / "manifest.json").read_text())
    first = manifest["sessions"][0]
    first |= {"threads": 7, "packages": first["packages"] | {"torch": "1.0.1", "pillow": "2.0"}}
    (run / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("command", ["resume", "show", "run"])
def test_a_configuration_of_a_newer_format_is_refused(in_search, tmp_path, command):
    run = copy(in_search, tmp_path / "run")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("format: 2", "format: 3"))
    before = contents(run)
    words = ["run", "--config", config, "--run", "new"] if command == "run" else [command, run]
    refused(cli(*words), str(config), "newer oche", "format 3", "update oche")
    assert contents(run) == before
    assert not Path("new").exists()


def test_a_checkpoint_of_a_newer_format_is_refused_and_not_passed_over(in_search, tmp_path):
    run = copy(in_search, tmp_path / "run")
    newest = checkpoints(run)[-1]
    content = io.BytesIO()
    torch.save(read_checkpoint(newest) | {"format": 9}, content)
    digest = hashlib.sha256(content.getvalue()).hexdigest()[:16]
    newer = newest.with_name(f"{newest.name.rpartition('-')[0]}-{digest}.pt")
    newest.unlink()
    newer.write_bytes(content.getvalue())
    kept = contents(run / "checkpoints")
    refused(cli("resume", run, "--quiet"), str(newer), "format 9", "reads format 2", "manifest.json has its version")
    assert contents(run / "checkpoints") == kept
    assert cli("show", run).status == 0


# -- losses that are no numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stopped_before", [False, True], ids=["at once", "going on"])
def test_a_search_that_diverges_keeps_its_last_good_state_and_names_it(whole, in_search, tmp_path, stopped_before):
    run = tmp_path / "run"
    if stopped_before:  # the good state lies in the checkpoint then
        ended = cli("resume", copy(in_search, run), faults=[at(A_SEARCH_STEP, 1, diverge)])
    else:
        words = [word for word in RUN if word != "--quiet"]
        ended = cli(*words, "--run", run, faults=[at(A_SEARCH_STEP, STEPS + 1, diverge)])
    assert ended.status == 0, ended.err
    (said,) = (line for line in (ended.out + ended.err).splitlines() if "search stopped" in line)
    assert "search stopped: the loss became nan in epoch 2; the state after epoch 1 is in " in said
    assert said in (run / "log.txt").read_text()
    kept = torch.load(said.partition(" is in ")[2], weights_only=True)  # the file that was named
    assert kept["position"]["over"]
    # It is that of the first epoch, which nobody had disturbed.
    (epoch,) = (path for path in checkpoints(in_search) if "epoch1-step0" in path.name)
    assert campaign.raw(kept["state"]["supernet"]) == campaign.raw(read_checkpoint(epoch)["state"]["supernet"])
    assert all(tensor.isfinite().all() for tensor in kept["state"]["supernet"].values())
    (first, *_), (undisturbed, *_) = records(run), records(whole)
    assert campaign.timeless(first) == campaign.timeless(undisturbed)
    assert kept["state"]["records"] == [first]
    # And it was worth a network.
    result = json.loads((run / "result.json").read_text())
    assert result["complete"]
    assert "epoch 2" in result["search"]["stopped"]
    assert json.loads((run / "architecture.json").read_text())["choices"] == first["architecture"]
    assert finite_network(run)


def test_that_a_loss_is_no_number_is_said_even_quietly(whole):
    ended = cli("search", *DIGITS, *SEARCH, "--run", "run", faults=[at(A_SEARCH_STEP, STEPS + 1, diverge)])
    assert ended.status == 0
    assert "the loss became nan in epoch 2" in ended.err


def test_a_search_that_loses_its_weights_in_the_last_step_of_an_epoch_keeps_those_before(whole, tmp_path):
    run = tmp_path / "run"
    assert cli("search", *DIGITS, *SEARCH, "--run", run, faults=[at(A_SEARCH_STEP, 2 * STEPS, lose_all)]).status == 0
    state = read_checkpoint(checkpoints(run)[-1])["state"]
    assert state["stopped"]
    assert all(tensor.isfinite().all() for tensor in state["supernet"].values())


def test_a_training_that_diverges_delivers_its_best_epoch_and_says_so(whole, in_training, tmp_path):
    run = copy(in_training, tmp_path / "run")
    ended = cli("resume", run, faults=[at(A_TRAINING_STEP, 1, too_fast)])
    assert ended.status == 0, ended.err
    assert "train stopped: the loss became nan in epoch 2; the network is that of epoch 1" in ended.out + ended.err
    network = json.loads((run / "result.json").read_text())["network"]
    assert (network["best_epoch"], network["epochs"]) == (1, 1)
    assert finite_network(run)


@pytest.mark.parametrize(
    ("rate", "parts"),
    [
        ("--search.logit-lr", ("the loss became nan in epoch 1", "nothing to select", "smaller rate")),
        ("--train.lr", ("the loss became nan in epoch 1", "no network to keep", "smaller learning rate")),
    ],
)
def test_if_already_the_first_epoch_diverges_there_is_nothing_to_keep(whole, rate, parts):
    refused(cli(*RUN, rate, "1e38", "--run", "run"), *parts)
    intact(Path("run"))
    assert cli("show", "run").status == 0


def finite_network(run: Path) -> bool:
    weights = torch.load(run / "network.pt", weights_only=True)["weights"]
    return all(bool(tensor.isfinite().all()) for tensor in weights.values())


# -- damaged checkpoints -----------------------------------------------------------------------------------------------


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def change(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("stopped", ["in_search", "in_training"])
@pytest.mark.parametrize("damage", [cut, change])
def test_a_damaged_checkpoint_is_named_and_the_one_before_gives_the_same_bits(
    request, whole, tmp_path, stopped, damage
):
    run = copy(request.getfixturevalue(stopped), tmp_path / "run")
    newest = checkpoints(run, "search" if stopped == "in_search" else "train")[-1]
    damage(newest)
    ended = cli("resume", run, "--quiet")
    assert ended.status == 0
    (warning,) = ended.err.splitlines()
    assert f"warning: the checkpoint '{newest}' was cut short or changed" in warning
    assert "the checkpoint before it is used" in warning
    assert warning in (run / "log.txt").read_text()
    same_bits(run, whole)


def test_a_missing_checkpoint_is_made_up_for_by_the_one_before(whole, in_search, tmp_path):
    run = copy(in_search, tmp_path / "run")
    checkpoints(run)[-1].unlink()
    assert cli("resume", run, "--quiet").status == 0
    same_bits(run, whole)


def test_if_all_checkpoints_are_damaged_the_job_begins_anew(whole, in_search, tmp_path):
    run = copy(in_search, tmp_path / "run")
    damaged = checkpoints(run)
    for file in damaged:
        cut(file)
    ended = cli("resume", run, "--quiet")
    assert ended.status == 0
    *warnings, last = ended.err.splitlines()
    assert all(file.name in line for file, line in zip(reversed(damaged), warnings, strict=True))
    assert "no checkpoint of search can be read, so it begins anew" in last
    same_bits(run, whole)


def test_after_a_damaged_checkpoint_there_are_two_good_ones_again(whole, in_training, tmp_path):
    run = copy(in_training, tmp_path / "run")
    checkpoints(run, "train")[-1].write_bytes(b"")
    stop = at(A_TRAINING_STEP, 1, signals(signal.SIGINT))
    assert cli("resume", run, faults=[stop]).status == 128 + signal.SIGINT
    assert len([file for file in checkpoints(run, "train") if file.stat().st_size]) >= 2


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("oche.checkpoint._digest", OSError(5, "Input/output error")),
        ("oche.checkpoint.torch.load", RuntimeError("DefaultCPUAllocator: can't allocate memory")),
    ],
    ids=["disk", "memory"],
)
def test_a_checkpoint_that_cannot_be_read_at_the_moment_is_not_removed(in_training, tmp_path, place, error):
    run = copy(in_training, tmp_path / "run")
    newest = checkpoints(run, "train")[-1]

    def fail(*_: object) -> None:
        raise error

    cli("resume", run, faults=[at(place, 1, fail), at(A_TRAINING_STEP, 1, signals(signal.SIGINT))])
    assert newest.exists()


# -- more epochs, and no more ------------------------------------------------------------------------------------------


def test_more_epochs_are_refused_with_a_command_for_a_new_run_and_the_same_number_is_accepted(
    whole, in_search, tmp_path
):
    run = copy(in_search, tmp_path / "run")
    before = contents(run)
    ended = cli("resume", run, "--search.epochs", "99")
    refused(ended, "planned with 3 epochs", "rates and stages follow the plan", "99")
    refused(cli("resume", run, "--train.epochs", "4"), "planned with 2 epochs", "--train.epochs 4")
    assert contents(run) == before
    assert pasted(ended, "start a new one with: ")["search"]["epochs"] == "99"
    assert cli("resume", run, "--search.epochs", "3", "--train.epochs", "2", "--quiet").status == 0
    same_bits(run, whole)


@pytest.mark.parametrize("command", ["search", "train"])
def test_the_command_for_more_epochs_is_that_of_the_run(whole, whole_search, command):
    run = whole_search
    if command == "train":
        run = Path("training")
        assert cli("train", whole, *DIGITS, *TRAIN, "--run", run).status == 0
    words = {"search": "--search.epochs", "train": "--train.epochs"}
    ended = cli("resume", run, words[command], "4")
    assert pasted(ended, "start a new one with: ")["command"] == command


@pytest.mark.parametrize("name", ["two words", "it's"])
def test_what_is_said_can_be_pasted_whatever_the_directory_is_called(in_search, name):
    run = copy(in_search, name)
    ended = cli("resume", run, faults=[at(A_SEARCH_STEP, 1, signals(signal.SIGINT))])
    assert shlex.split(ended.err.splitlines()[-1].partition("go on with: ")[2]) == ["oche", "resume", str(run)]
    assert pasted(cli("resume", run, "--search.epochs", "9"), "start a new one with: ")["seed"] == "1"


def pasted(ended: Ended, before: str) -> dict[str, Any]:
    """What a command that a message ends with would do, as the configuration that it prints."""
    words = shlex.split(ended.err.strip().partition(before)[2])
    assert words[0] == "oche"
    printed = cli(*words[1:], "--print-config")
    assert printed.status == 0, printed.err
    return yaml.load(printed.out, Loader=yaml.BaseLoader)


def test_a_complete_run_says_so_and_stays_as_it_is(whole, tmp_path):
    run = copy(whole, tmp_path / "run")
    before = contents(run)
    ended = cli("resume", run)
    assert ended.status == 0
    assert f"{run} is complete already" in ended.out
    assert contents(run) == before


# -- from a configuration alone ----------------------------------------------------------------------------------------


def test_a_run_is_repeated_from_its_configuration_in_another_place(whole, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    config = shutil.copy(whole / "config.yaml", tmp_path / "only.yaml")  # not even beside the rest of the run
    assert cli("run", "--config", config, "--quiet", faults=[partial(os.chdir, "elsewhere")]).status == 0
    (again,) = Path("elsewhere/runs").iterdir()
    same_bits(again, whole)
    assert (again / "config.yaml").read_bytes() == (whole / "config.yaml").read_bytes()


def test_a_search_on_a_relative_path_is_repeated_in_another_place(on_a_file):
    whole, _ = on_a_file
    assert cli("search", "--config", whole / "config.yaml", "--quiet", "--run", "again").status == 0
    same_bits(Path("again"), whole)


def test_a_training_is_repeated_even_from_a_directory_that_was_moved(whole, tmp_path):
    assert cli("train", whole, *DIGITS, *TRAIN, "--run", "first").status == 0
    (tmp_path / "far").mkdir()
    moved = Path("first").rename("far/away")
    assert cli("train", "--config", moved / "config.yaml", "--quiet", "--run", "again").status == 0
    same_bits(Path("again"), moved)
    # The seed is that of the run, and so is the network: `oche run` trains as `oche train` does.
    trained, of_run = (torch.load(run / "network.pt", weights_only=True)["weights"] for run in (moved, whole))
    assert campaign.raw(trained) == campaign.raw(of_run)


def test_a_training_that_was_stopped_goes_on(whole, tmp_path):
    assert cli("train", whole, *DIGITS, *TRAIN, "--run", "whole").status == 0
    stop = at(A_TRAINING_STEP, STEPS + 2, signals(signal.SIGTERM))
    assert cli("train", whole, *DIGITS, *TRAIN, "--run", "run", faults=[stop]).status == 128 + signal.SIGTERM
    moved = Path("run").rename("moved")
    assert cli("resume", moved, "--quiet").status == 0
    same_bits(moved, Path("whole"))
