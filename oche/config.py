"""Everything that can be set for a run, as plain values. Imports no torch, so that `--help` is quick.

None means "decide from the device and the data"; what was decided is written into the run directory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from oche.data.options import DataOptions
from oche.errors import InputError


@dataclass(frozen=True)
class Duration:
    """A length of time.

    Attributes:
        seconds: more than 0.
    """

    seconds: float

    UNITS: ClassVar[dict[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86400}

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read `90`, `90s`, `5m`, `2h`, `1d` or a combination such as `1h30m`.

        Raises:
            InputError: the text has another form, or the time is zero.
        """
        parts = re.fullmatch(r"(?:[\d.]+[smhd])+|[\d.]+", text.strip())
        try:
            pieces = re.findall(r"([\d.]+)([smhd]?)", text) if parts else []
            seconds = sum(float(number) * cls.UNITS[unit or "s"] for number, unit in pieces)
        except ValueError:
            seconds = 0.0
        if not seconds > 0:
            raise InputError(f"a duration is a positive time such as 90s, 5m, 2h or 1h30m, but got {text!r}")
        return cls(seconds)

    def __str__(self) -> str:
        return f"{self.seconds:g}s"


@dataclass(frozen=True)
class Baseline:
    """Random architectures to train beside the found one.

    Attributes:
        count: how many.
    """

    count: int

    @classmethod
    def parse(cls, text: str) -> Baseline:
        """Read `random:3`.

        Raises:
            InputError: the text has another form.
        """
        match = re.fullmatch(r"random:(\d+)", text.strip())
        if not match or int(match[1]) < 1:
            raise InputError(f"a baseline is random:COUNT with COUNT >= 1, such as random:3, but got {text!r}")
        return cls(int(match[1]))

    def __str__(self) -> str:
        return f"random:{self.count}"


@dataclass(frozen=True, kw_only=True)
class NamedData(DataOptions):
    """A data set and how to find, cut and change it."""

    name: str = field(
        default="digits", metadata={"help": "data set name, .npz or .csv file, or image directory (see: oche data)"}
    )


@dataclass(frozen=True, kw_only=True)
class SpaceOptions:
    """What may be chosen, and the size of the supernet."""

    name: str = field(default="darts", metadata={"help": "search space (see: oche spaces)"})
    nodes: int | None = field(default=None, metadata={"help": "intermediate nodes of a cell (default: the space's)"})
    cells: int | None = field(default=None, metadata={"help": "cells of the supernet (default: by preset)"})
    channels: int | None = field(default=None, metadata={"help": "channels of the supernet (default: by preset)"})
    reductions: int | None = field(
        default=None, metadata={"help": "reduction cells (default: as many as the resolution allows, at most 2)"}
    )


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How long the search lasts."""

    epochs: int | None = field(default=None, metadata={"help": "epochs of the search (default: by preset)"})
    batch: int | None = field(default=None, metadata={"help": "images per step (default: the method's)"})
    logit_lr: float | None = field(
        default=None,
        metadata={
            "help": "rate of the logits (default: the method's, raised in searches shorter than the paper's so that "
            "the logits can travel as far)"
        },
    )

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"a search needs {name} >= 1, but got --search.{name} {value}")
        if self.logit_lr is not None and self.logit_lr < 0:
            raise InputError(f"a rate is >= 0, but got --search.logit_lr {self.logit_lr}")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How the discrete network is trained."""

    name: str | None = field(
        default=None, metadata={"help": "training protocol: tiny, small or darts-cifar (default: by preset)"}
    )
    epochs: int | None = field(default=None, metadata={"help": "epochs of the training (default: the protocol's)"})
    batch: int | None = field(default=None, metadata={"help": "images per step (default: the protocol's)"})
    cells: int | None = field(default=None, metadata={"help": "cells of the network (default: the protocol's)"})
    channels: int | None = field(default=None, metadata={"help": "channels of the network (default: the protocol's)"})
    reductions: int | None = field(
        default=None, metadata={"help": "reduction cells (default: by resolution, at most 2)"}
    )
    optimizer: Literal["sgd", "adamw"] | None = field(
        default=None, metadata={"help": "sgd or adamw (default: the protocol's)"}
    )
    lr: float | None = field(default=None, metadata={"help": "first learning rate, falling to 0 along a cosine"})
    cutout: int | None = field(default=None, metadata={"help": "side of the Cutout square in pixels, 0 for none"})
    drop_path: float | None = field(default=None, metadata={"help": "drop-path probability in the last epoch"})
    auxiliary: float | None = field(default=None, metadata={"help": "weight of the auxiliary head's loss, 0 for none"})
    label_smoothing: float | None = field(
        default=None, metadata={"help": "share of the target spread over all classes"}
    )
    balance_classes: bool | None = field(default=None, metadata={"help": "weight the loss by inverse class frequency"})
    validation: float | None = field(
        default=None,
        metadata={"help": "share of the training images that chooses the best epoch, 0 for the last epoch"},
    )

    def __post_init__(self) -> None:
        if self.lr is not None and not self.lr > 0:
            raise InputError(f"a learning rate is more than 0, but got --train.lr {self.lr}")


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Where and how to compute."""

    run: str | None = field(default=None, metadata={"help": "the run directory to make (default: runs/TIME-METHOD)"})
    seed: int = field(default=0, metadata={"help": "fixes every random number"})
    device: str | None = field(
        default=None, metadata={"help": "cpu, cuda, cuda:1, ... (default: cuda where there is one)"}
    )
    threads: int | None = field(default=None, metadata={"help": "CPU threads (default: PyTorch's choice)"})
    preset: Literal["tiny", "small", "paper"] | None = field(
        default=None,
        metadata={"help": "sizes: tiny (a laptop), small (one GPU) or paper (default: small on a GPU, tiny elsewhere)"},
    )
    time_limit: Duration | None = field(
        default=None, metadata={"help": "end after this time with a trained network, such as 90s, 5m or 2h"}
    )


@dataclass(frozen=True, kw_only=True)
class SearchCommand(CommonOptions):
    """`oche search`: search and select."""

    data: NamedData = field(default_factory=NamedData)
    space: SpaceOptions = field(default_factory=SpaceOptions)
    search: SearchOptions = field(default_factory=SearchOptions)
    method: str = field(default="darts", metadata={"help": "search method (see: oche methods)"})


@dataclass(frozen=True, kw_only=True)
class RunCommand(SearchCommand):
    """`oche run`: search, select, train, test."""

    train: TrainOptions = field(default_factory=TrainOptions)
    baseline: Baseline | None = field(
        default=None, metadata={"help": "train random architectures the same way for comparison, such as random:3"}
    )


@dataclass(frozen=True, kw_only=True)
class TrainCommand(CommonOptions):
    """`oche train`: train and test a given architecture."""

    data: NamedData = field(default_factory=NamedData)
    train: TrainOptions = field(default_factory=TrainOptions)
