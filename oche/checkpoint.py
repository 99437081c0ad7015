"""Checkpoints: the whole changing state of a job, in files that are whole or not there.

Every draw of a job is a function of its seed, epoch and step (`oche.randomness`), and so is every batch
(`oche.data.batches`). A job that takes up its state at some step therefore goes on bit for bit as if it had never
stopped; no state of a random generator and no position of a sampler has to be kept beside the counters.

A file is read by `torch.load(file, weights_only=True)`: `format`, the `plan` (what the job is, its structure
included), the `position`, then the `state`. The name ends in a digest of the content, so that a file which was cut
short or changed is recognized, and the one before it is used.
"""

from __future__ import annotations

import hashlib
import io
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from oche.errors import InputError
from oche.files import remove_temporary, write_whole, writing
from oche.interrupt import Interrupted, Stop

FORMAT = 2

SHARE = 0.01
"""Largest share of a job's time that goes into saving, apart from its first and its last checkpoint. Within epochs it
is half of that, so that there is time left for the ends of epochs, which are kept."""

NEWEST = 2
"""Checkpoints that are always kept: the newest, and the one before it in case that one is damaged."""

LONGEST_VALUE = 60
"""Characters of a value in a message."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Position:
    """Where a job stands.

    Attributes:
        epoch: epochs done.
        step: steps done of the epoch after those.
        over: whether there is nothing left but to look at the result.
    """

    epoch: int
    step: int
    over: bool = False


class Resumable(Protocol):
    """A job that keeps everything that changes in one place."""

    @property
    def position(self) -> Position:
        """Where it stands."""
        ...

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, from which `restore` makes the same job."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        ...


class Keeper(Protocol):
    """Who keeps the state of a job."""

    def begin(self, job: Resumable, plan: Mapping[str, Any]) -> None:
        """Give a new job the state that was kept of it, if any.

        Args:
            job: as it is before its first step.
            plan: plain values that must be the same when a job goes on.

        Raises:
            InputError: what was kept is of another plan, or of a newer oche.
        """
        ...

    def offer(self, job: Resumable, *, epoch_done: bool = False) -> None:
        """Between two steps: save if it is time to.

        Raises:
            Interrupted: the user wants to stop; the state is saved.
        """
        ...

    def finish(self, job: Resumable) -> None:
        """The job is over: save it as it is."""
        ...


class Forgetful:
    """Keeps nothing."""

    def begin(self, job: Resumable, plan: Mapping[str, Any]) -> None:
        """Nothing was kept."""

    def offer(self, job: Resumable, *, epoch_done: bool = False) -> None:
        """Nothing."""

    def finish(self, job: Resumable) -> None:
        """Nothing."""


def offering(keeper: Keeper, job: Resumable, items: Iterable[Item]) -> Iterator[Item]:
    """The items; between them, in a long evaluation, the user may stop a job that does not change meanwhile."""
    for item in items:
        yield item
        keeper.offer(job)


@dataclass
class Cost:
    """What saving has cost.

    Attributes:
        count: checkpoints written.
        seconds: time spent on them.
    """

    count: int = 0
    seconds: float = 0.0


class Checkpoints:
    """The checkpoints of one job in a directory.

    The newest two are always there. Of the others, those at the end of an epoch stay as long as all of them together
    take no more than the budget; where they would, the epochs are thinned evenly.

    Args:
        directory: made when it is first written to.
        name: of the job.
        every: seconds within an epoch after which to save.
        budget: bytes for the checkpoints beside the newest two.
        interrupts: tells when the user wants to stop; None: never.
        warn: hears of damaged files.
        cost: is counted up.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        *,
        every: float = 60.0,
        budget: int = 0,
        interrupts: Stop | None = None,
        warn: Callable[[str], None] = print,
        cost: Cost | None = None,
    ) -> None:
        self._directory, self._name = directory, name
        self._every, self._budget = every, budget
        self._interrupts, self._warn = interrupts, warn
        self._cost = cost or Cost()
        self._plan: Mapping[str, Any] = {}
        self._saved_at: Position | None = None
        self._began = self._saved_time = time.monotonic()
        self._spent = 0.0

    def begin(self, job: Resumable, plan: Mapping[str, Any]) -> None:
        """See `Keeper`."""
        self._plan = plan
        if self._directory.exists():
            remove_temporary(self._directory)
        kept = self._newest_readable()
        if kept is not None:
            different = list(_differences(kept["plan"], plan))
            if different:
                raise InputError(
                    f"the checkpoints in {str(self._directory)!r} are of another {self._name}: {'; '.join(different)}. "
                    "Rates and stages follow the plan, so going on would be neither; begin anew in another directory"
                )
            job.restore(kept["state"])
            self._saved_at = job.position
        self._began = self._saved_time = time.monotonic()

    def offer(self, job: Resumable, *, epoch_done: bool = False) -> None:
        """See `Keeper`."""
        signal = self._interrupts and self._interrupts.received
        if signal or self._due(epoch_done):
            self._save(job)
        if signal:
            at = job.position
            place = "after its last epoch" if at.over else f"in epoch {at.epoch + 1} after step {at.step}"
            raise Interrupted(signal, f"{self._name} stopped {place} and is saved")

    def finish(self, job: Resumable) -> None:
        """See `Keeper`."""
        self._save(job)

    def discard(self) -> None:
        """Remove all checkpoints of the job: its result lies elsewhere."""
        with writing(self._directory):
            for file in self._files():
                file.path.unlink(missing_ok=True)

    @property
    def newest(self) -> Path | None:
        """The newest checkpoint."""
        files = self._files()
        return files[-1].path if files else None

    @property
    def epochs(self) -> list[int]:
        """Those at whose end a checkpoint is kept."""
        return [file.epoch for file in self._files() if file.step == 0]

    def after(self, epoch: int) -> Path | None:
        """The checkpoint at the end of an epoch (from 1); None: it was not kept."""
        return next((file.path for file in self._files() if (file.epoch, file.step) == (epoch, 0)), None)

    def _due(self, epoch_done: bool) -> bool:
        now = time.monotonic()
        share = SHARE if epoch_done else SHARE / 2
        return self._spent <= share * (now - self._began) and (epoch_done or now - self._saved_time >= self._every)

    def _save(self, job: Resumable) -> None:
        position = job.position
        if position == self._saved_at:
            return
        begin = time.monotonic()
        self._directory.mkdir(exist_ok=True, parents=True)
        buffer = io.BytesIO()
        where = {"epoch": position.epoch, "step": position.step, "over": position.over}
        torch.save({"format": FORMAT, "plan": dict(self._plan), "position": where, "state": job.state()}, buffer)
        content = buffer.getbuffer()
        files = self._files()
        number = files[-1].number + 1 if files else 1
        name = f"{self._slug}-{number:06d}-epoch{position.epoch}-step{position.step}-{_digest(content)}.pt"
        write_whole(self._directory / name, content)
        self._thin()
        self._saved_at, self._saved_time = position, time.monotonic()
        self._spent += self._saved_time - begin
        self._cost.count += 1
        self._cost.seconds += self._saved_time - begin

    def _thin(self) -> None:
        """Remove what neither safety nor the budget keeps."""
        files = self._files()
        older = files[:-NEWEST]
        kept = [file for file in older if file.step == 0]
        while sum(file.size for file in kept) > self._budget:
            # Multiples of the highest powers of two stay: they lie evenly however long the job becomes.
            kept.remove(min(kept, key=lambda file: (file.epoch & -file.epoch, file.epoch)))
        with writing(self._directory):
            for file in older:
                if file not in kept:
                    file.path.unlink(missing_ok=True)

    def _newest_readable(self) -> dict[str, Any] | None:
        """What the newest whole file holds; damaged ones after it are removed, or they would count as the newest.

        Raises:
            InputError: it is of a newer oche.
        """
        damaged = []
        for file in reversed(self._files()):
            try:
                kept = read_checkpoint(file.path)
            except DamagedError as error:
                damaged.append(file)
                self._warn(f"warning: {error}; it is removed, and the checkpoint before it is used")
            else:
                break
        else:
            if damaged:
                self._warn(f"warning: no checkpoint of {self._name} can be read, so it begins anew")
            kept = None
        with writing(self._directory):
            for file in damaged:
                file.path.unlink()
        return kept

    def _files(self) -> list[_File]:
        """The job's files, oldest first."""
        if not self._directory.is_dir():
            return []
        matches = (re.fullmatch(_NAME.format(self._slug), path.name) for path in self._directory.iterdir())
        found = [_File(self._directory / m[0], *map(int, m.groups())) for m in matches if m]
        return sorted(found, key=lambda file: file.number)

    @property
    def _slug(self) -> str:
        return re.sub(r"[^\w]+", "-", self._name)


class DamagedError(Exception):
    """A checkpoint was cut short or changed."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, its tensors on the CPU.

    Raises:
        DamagedError: it is not what was written.
        InputError: it cannot be read at the moment, or a newer oche has written it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}; nothing was changed") from error
    if _digest(content) != path.stem.rpartition("-")[2]:
        raise DamagedError(f"the checkpoint {str(path)!r} was cut short or changed")
    kept: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if kept["format"] != FORMAT:
        raise InputError(
            f"the checkpoint {str(path)!r} has format {kept['format']}, but this oche reads format {FORMAT}; "
            "go on with the oche that wrote it (manifest.json has its version)"
        )
    return kept


_NAME = r"{}-(\d+)-epoch(\d+)-step(\d+)-[0-9a-f]{{16}}\.pt"


@dataclass(frozen=True)
class _File:
    path: Path
    number: int
    epoch: int
    step: int

    @property
    def size(self) -> int:
        return self.path.stat().st_size


def _digest(content: bytes | memoryview) -> str:
    """64 bits of SHA-256: enough against accidents and edits, short enough for a name."""
    return hashlib.sha256(content).hexdigest()[:16]


def structure(module: nn.Module) -> dict[str, Any]:
    """The shape of everything that a module's state holds, by name; None where it is not known yet, or no tensor."""
    return {
        name: list(value.shape) if isinstance(value, Tensor) and not is_lazy(value) else None
        for name, value in module.state_dict().items()
    }


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """What two plans differ in, one phrase for each entry; of a large one only the first difference."""
    for key in {**new, **old}:
        a, b = old.get(key), new.get(key)
        if a == b:
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            first, *more = _differences(a, b, f"{prefix}{key}.")
            yield f"{first} (and {len(more)} more)" if more else first
        else:
            yield f"{prefix}{key} {_short(a)}, now {_short(b)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
