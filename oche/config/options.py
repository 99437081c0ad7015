"""Everything that can be set for a run, as plain values. Imports no torch, so that `--help` is quick.

None means "decide from the device and the data"; what was decided is written into the run directory.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from oche.data.options import DataOptions
from oche.errors import InputError
from oche.recipe import AXES, Recipe

Options = TypeVar("Options")

NAMED_GROUPS = ("data", "space", "train")
"""Groups of options with a name among them: `--data digits` and, in a file, `data: digits` mean `data.name`."""


@dataclass(frozen=True)
class Duration:
    """A length of time.

    Attributes:
        seconds: more than 0, finite.
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
        if not 0 < seconds < float("inf"):
            raise InputError(f"a duration is a positive time such as 90s, 5m, 2h or 1h30m, but got {text!r}")
        return cls(seconds)

    def __str__(self) -> str:
        """The shortest exact form, which `parse` reads back."""
        for unit, length in reversed(self.UNITS.items()):
            if self.seconds % length == 0:
                return f"{self.seconds / length:.0f}{unit}"
        return f"{Decimal(repr(self.seconds)):f}s"  # not 1e-07s


@dataclass(frozen=True)
class Size:
    """An amount of disk space.

    Attributes:
        bytes: 0 or more.
    """

    bytes: int

    UNITS: ClassVar[dict[str, int]] = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read `0`, `800kB`, `500MB` or `1.5GB`; the case of the letters does not matter.

        Raises:
            InputError: the text has another form.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?b)|0", text.strip(), re.ASCII | re.IGNORECASE)
        if not match:
            raise InputError(f"a size is a number with B, kB, MB or GB, such as 500MB, or 0, but got {text!r}")
        if match[1] is None:
            return cls(0)
        units = {unit.lower(): length for unit, length in cls.UNITS.items()}
        return cls(int(Decimal(match[1]) * units[match[2].lower()]))

    def __str__(self) -> str:
        """The shortest exact form, which `parse` reads back."""
        if self.bytes == 0:
            return "0"
        unit = next(unit for unit, length in reversed(self.UNITS.items()) if self.bytes % length == 0)
        return f"{self.bytes // self.UNITS[unit]}{unit}"


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


@dataclass(frozen=True)
class Tries:
    """Searches of which one is chosen.

    Attributes:
        count: how many, each with a seed of its own; None: those of the method's paper.
    """

    count: int | None

    OWN: ClassVar[str] = "method"

    @classmethod
    def parse(cls, text: str) -> Tries:
        """Read `4` or `method`.

        Raises:
            InputError: the text has another form, or there would be no search.
        """
        word = text.strip()
        if word == cls.OWN:
            return cls(None)
        if not re.fullmatch(r"\d{1,6}", word, re.ASCII) or int(word) < 1:
            raise InputError(
                f"tries are a number of searches from 1, such as 4, or {cls.OWN!r} for those of the method's paper, "
                f"but got {text!r}; leave --tries out for one search"
            )
        return cls(int(word))

    def __str__(self) -> str:
        return self.OWN if self.count is None else str(self.count)


@dataclass(frozen=True)
class Names:
    """Names in a list.

    Attributes:
        all: at least one, none twice.
    """

    all: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Names:
        """Read `darts,random`, or methods with parts that have numbers: `darts/mixture=m:x=1,y=2,random` is two.

        Raises:
            InputError: a name is empty or given twice.
        """
        names: tuple[str, ...] = ()
        for piece in text.split(","):
            if names and re.match(r"[^/=]+=", piece) and re.search(r"/.*:", names[-1]):  # a further number
                names = (*names[:-1], f"{names[-1]},{piece.strip()}")
            else:
                names = (*names, piece.strip())
        if not all(names):
            raise InputError(f"names are separated by single commas, such as darts,random, but got {text!r}")
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise InputError(f"{twice[0]!r} is given twice in {text!r}; leave one out")
        return cls(names)

    def __str__(self) -> str:
        return ",".join(self.all)


@dataclass(frozen=True)
class Seeds:
    """Seeds in a list.

    Attributes:
        all: at least one, none twice, each 0 or more.
    """

    all: tuple[int, ...]

    MOST: ClassVar[int] = 10_000
    """A larger number of seeds is a seed that lacks its comma."""

    @classmethod
    def parse(cls, text: str) -> Seeds:
        """Read `4`, which means 0 to 3, or a list such as `0,3,7`; a list of one is written `5,`.

        Raises:
            InputError: the text has another form, a seed is given twice, or a number of seeds is none that anybody
                means.
        """
        words = [word.strip() for word in text.split(",")]
        listed = words[:-1] if len(words) > 1 and not words[-1] else words
        if not all(re.fullmatch(r"\d{1,18}", word, re.ASCII) for word in listed):
            raise InputError(f"seeds are a number of them, such as 4, or a list, such as 0,3,7, but got {text!r}")
        numbers = tuple(map(int, listed))
        if len(words) == 1:
            if numbers[0] < 1:
                raise InputError("at least one seed is needed, but got 0; --seeds 4 means the seeds 0 to 3")
            if numbers[0] > cls.MOST:
                raise InputError(
                    f"{text.strip()} means that many seeds, more than {cls.MOST}; one seed is written {text.strip()},"
                )
            return cls(tuple(range(numbers[0])))
        twice = [number for number in numbers if numbers.count(number) > 1]
        if twice:
            raise InputError(f"seed {twice[0]} is given twice in {text!r}; leave one out")
        return cls(numbers)

    def __str__(self) -> str:
        return ",".join(map(str, self.all)) + ("," if len(self.all) == 1 else "")


@dataclass(frozen=True)
class LevelEpochs:
    """Epochs of the levels of a query search, in a list.

    Attributes:
        all: at least one; whether they increase is checked with the rest of the schedule.
    """

    all: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> LevelEpochs:
        """Read `5,10,20,40`.

        Raises:
            InputError: the text has another form.
        """
        words = [word.strip() for word in text.split(",")]
        if not all(re.fullmatch(r"\d{1,9}", word, re.ASCII) for word in words):
            raise InputError(f"levels are numbers of epochs, such as 5,10,20,40, but got {text!r}")
        return cls(tuple(map(int, words)))

    def __str__(self) -> str:
        return ",".join(map(str, self.all))


@dataclass(frozen=True, kw_only=True)
class DataName:
    """Which data set. A class of its own, so that help and files begin with the name."""

    name: str = field(
        default="digits",
        metadata={
            "help": "data set name, .npz, .csv or .txt file, or a directory of images or text (see: oche data); --data "
            "is short for it"
        },
    )


@dataclass(frozen=True, kw_only=True)
class NamedData(DataOptions, DataName):
    """A data set and how to find, cut and change it."""


@dataclass(frozen=True, kw_only=True)
class SpaceOptions:
    """What may be chosen, and the size of the supernet."""

    name: str = field(default="darts", metadata={"help": "search space (see: oche spaces); --space is short for it"})
    nodes: int | None = field(default=None, metadata={"help": "intermediate nodes of a cell (default: the space's)"})
    cells: int | None = field(default=None, metadata={"help": "cells of the supernet (default: by preset)"})
    channels: int | None = field(
        default=None,
        metadata={"help": "channels of the supernet, or width of a recurrent one (default: by preset)"},
    )
    reductions: int | None = field(
        default=None, metadata={"help": "reduction cells (default: as many as the resolution allows, at most 2)"}
    )


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How long the search lasts."""

    epochs: int | None = field(default=None, metadata={"help": "epochs of the search (default: by preset)"})
    batch: int | None = field(
        default=None, metadata={"help": "images, or lanes of a text, per step (default: the method's)"}
    )
    bptt: int | None = field(
        default=None, metadata={"help": "words of a lane per step, of a text (default: the method's)"}
    )
    logit_lr: float | None = field(
        default=None,
        metadata={
            "help": "rate of the logits (default: the method's, raised in searches shorter than the paper's so that "
            "the logits can travel as far)"
        },
    )

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "bptt"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"a search needs {name} >= 1, but got --search.{name} {value}")
        if self.logit_lr is not None and not self.logit_lr >= 0:
            raise InputError(f"a rate is >= 0, but got --search.logit_lr {self.logit_lr}")


@dataclass(frozen=True, kw_only=True)
class QueryOptions:
    """Of searches that train architectures one by one, such as rank-nosh; others have no use for them."""

    budget: int | None = field(
        default=None, metadata={"help": "epochs of training in all (default: those of 25 full trainings)"}
    )
    levels: LevelEpochs | None = field(
        default=None, metadata={"help": "epochs of the levels, such as 5,10,20,40 (default: by table or training)"}
    )
    width: int | None = field(default=None, metadata={"help": "architectures that a round adds (default: by levels)"})
    ratio: float | None = field(
        default=None, metadata={"help": "one in so many goes up a level (default: all levels cost about the same)"}
    )
    proxy: str | None = field(
        default=None,
        metadata={
            "help": "label untrained architectures by synflow, jacob-cov, naswot, grad-norm, parameters or madds "
            "(default: none)"
        },
    )
    untrained: int | None = field(default=None, metadata={"help": "how many --query.proxy labels (default: 200)"})
    train: bool | None = field(
        default=None,
        metadata={"help": "train architectures although there is a table of them (default: ask the table)"},
    )
    workers: int | None = field(
        default=None, metadata={"help": "trainings at a time, each in a process (default: one, with all threads)"}
    )
    executor: Literal["local", "ray"] | None = field(
        default=None, metadata={"help": "local processes (default), or a Ray cluster (pip install 'oche[ray]')"}
    )

    def __post_init__(self) -> None:
        for name in ("budget", "width", "untrained", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"a query search needs {name} >= 1, but got --query.{name} {value}")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How the discrete network is trained."""

    name: str | None = field(
        default=None,
        metadata={
            "help": "training protocol: tiny, small, darts-cifar, allegro-cifar or nasbench201, of text text-tiny, "
            "text-small or ptb (default: by preset); --train is short for it"
        },
    )
    epochs: int | None = field(default=None, metadata={"help": "epochs of the training (default: the protocol's)"})
    batch: int | None = field(
        default=None, metadata={"help": "images, or lanes of a text, per step (default: the protocol's)"}
    )
    bptt: int | None = field(
        default=None, metadata={"help": "words of a lane per step, of a text (default: the protocol's)"}
    )
    cells: int | None = field(default=None, metadata={"help": "cells of the network (default: the protocol's)"})
    channels: int | None = field(default=None, metadata={"help": "channels of the network (default: the protocol's)"})
    reductions: int | None = field(
        default=None, metadata={"help": "reduction cells (default: by resolution, at most 2)"}
    )
    optimizer: Literal["sgd", "adamw"] | None = field(
        default=None, metadata={"help": "sgd or adamw (default: the protocol's)"}
    )
    lr: float | None = field(default=None, metadata={"help": "first learning rate, falling as in the protocol"})
    cutout: int | None = field(default=None, metadata={"help": "side of the Cutout square in pixels, 0 for none"})
    auto_augment: bool | None = field(
        default=None, metadata={"help": "change training images by CIFAR-10's AutoAugment policy"}
    )
    drop_path: float | None = field(default=None, metadata={"help": "drop-path probability in the last epoch"})
    auxiliary: float | None = field(
        default=None,
        metadata={"help": "weight of the auxiliary head's loss, or of a language model's penalty, 0 for none"},
    )
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
    save_every: Duration = field(
        default=Duration(60),
        metadata={
            "help": "save a checkpoint at least this often within an epoch, as long as that takes less than 1 % of "
            "the time"
        },
    )

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise InputError(f"--threads must be at least 1, but got {self.threads}")


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """Which method, and parts that take the place of its own. Numbers stand behind a name: `uniform:radius=0.1`."""

    method: str = field(
        default="darts",
        metadata={"help": "search method (see: oche methods), with other parts as in sp-darts/selection=decorrelation"},
    )
    structure: str | None = field(default=None, metadata={"help": "what is added to the supernet (see: oche parts)"})
    mixture: str | None = field(default=None, metadata={"help": "how logits become mixing weights"})
    regularization: str | None = field(
        default=None, metadata={"help": "what weights are trained with: none, as-trained (as after the search)"}
    )
    perturbation: str | None = field(default=None, metadata={"help": "of the mixing weights in the weight step"})
    objective: str | None = field(default=None, metadata={"help": "which gradient moves the logits"})
    terms: str | None = field(
        default=None, metadata={"help": "what is added to the loss of the logits: none, one, or several as in a+b"}
    )
    stages: str | None = field(default=None, metadata={"help": "what happens when: none, one, or several as in a+b"})
    selection: str | None = field(default=None, metadata={"help": "how the supernet becomes an architecture"})

    @property
    def recipe(self) -> str:
        """The method with its parts as one text.

        Raises:
            InputError: it cannot be read, or a part is given twice.
        """
        return str(Recipe.of(self.method, {axis: getattr(self, axis) for axis in AXES}))


@dataclass(frozen=True, kw_only=True)
class SearchCommand(MethodOptions, CommonOptions):
    """`oche search`: search and select."""

    keep: Size = field(
        default=Size(10**9),
        metadata={
            "help": "disk for the checkpoints of earlier epochs of a search, beside the newest two of each job, such "
            "as 500MB; 0 keeps none"
        },
    )
    data: NamedData = field(default_factory=NamedData)
    space: SpaceOptions = field(default_factory=SpaceOptions)
    search: SearchOptions = field(default_factory=SearchOptions)
    query: QueryOptions = field(default_factory=QueryOptions)
    engine: Literal["fast", "reference"] = field(
        default="fast",
        metadata={"help": "how the supernet is evaluated: fast, or by readable code (reference)"},
    )
    probes: Literal["all", "cheap", "none"] = field(
        default="all",
        metadata={"help": "what looks at the search for its verdict: all, cheap (only what costs nothing) or none"},
    )


@dataclass(frozen=True, kw_only=True)
class RunCommand(SearchCommand):
    """`oche run`: search, select, train, test."""

    train: TrainOptions = field(default_factory=TrainOptions)
    baseline: Baseline | None = field(
        default=None, metadata={"help": "train random architectures the same way for comparison, such as random:3"}
    )
    tries: Tries | None = field(
        default=None,
        metadata={
            "help": "search several times and keep the best by validation after a short training: 4 for four seeds, "
            "method for the searches of the method's paper (default: one search, with --preset paper the method's)"
        },
    )
    tries_epochs: int | None = field(
        default=None, metadata={"help": "epochs of those short trainings (default: a sixth of the training's)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tries_epochs is not None and self.tries_epochs < 1:
            raise InputError(f"a short training needs an epoch at least, but got --tries-epochs {self.tries_epochs}")


@dataclass(frozen=True)
class ArchitectureArgument:
    """What `oche train` trains. A class of its own, because only the first field can be a positional argument."""

    architecture: str = field(
        metadata={
            "help": "an architecture.json, a run directory, or a known name such as darts-v2 (see: oche spaces)",
            "example": "darts-v2",
        }
    )


@dataclass(frozen=True, kw_only=True)
class TrainCommand(CommonOptions, ArchitectureArgument):
    """`oche train`: train and test a given architecture."""

    data: NamedData = field(default_factory=NamedData)
    train: TrainOptions = field(default_factory=TrainOptions)


@dataclass(frozen=True, kw_only=True)
class CampaignOptions:
    """Where the cells of a campaign are computed."""

    workers: int | None = field(
        default=None, metadata={"help": "cells at a time, each in a process (default: CPU cores / --threads)"}
    )
    threads: int = field(default=1, metadata={"help": "CPU threads of each cell; the same in the whole campaign"})
    executor: Literal["local", "ray"] = field(
        default="local", metadata={"help": "local processes, or a Ray cluster (needs pip install 'oche[ray]')"}
    )
    device: str | None = field(
        default=None, metadata={"help": "cpu, cuda, cuda:1, ... (default: cuda where there is one)"}
    )
    retry_failed: bool = field(default=False, metadata={"help": "compute cells again that have failed"})

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"a campaign needs {name} >= 1, but got --{name} {value}")


@dataclass(frozen=True, kw_only=True)
class TableSpace(SpaceOptions):
    """The space of a table."""

    name: str = field(default="bench125", metadata={"help": "space to train whole; --space is short for it"})


@dataclass(frozen=True, kw_only=True)
class TableTraining(TrainOptions):
    """How the networks of a table are trained."""

    name: str | None = field(default="bench125", metadata={"help": "training protocol; --train is short for it"})


@dataclass(frozen=True, kw_only=True)
class BuildCommand(CampaignOptions):
    """`oche bench build`: a table of a whole space."""

    seeds: int = field(default=3, metadata={"help": "trainings of each architecture"})
    data: NamedData = field(default_factory=NamedData)
    space: TableSpace = field(default_factory=TableSpace)
    train: TableTraining = field(default_factory=TableTraining)


@dataclass(frozen=True, kw_only=True)
class ComparedData(DataOptions):
    """The data sets of a comparison, and how to find, cut and change them."""

    name: Names | None = field(
        default=None, metadata={"help": "data sets, such as digits,images.npz; --data is short for it"}
    )


@dataclass(frozen=True, kw_only=True)
class ComparedSpaces:
    """The spaces of a comparison, and the size of their supernets."""

    name: Names | None = field(
        default=None, metadata={"help": "spaces, such as nasbench201,bench125; --space is short for it"}
    )
    cells: int | None = field(default=None, metadata={"help": "cells of the supernet (default: by preset)"})
    channels: int | None = field(default=None, metadata={"help": "channels of the supernet (default: by preset)"})
    reductions: int | None = field(default=None, metadata={"help": "reductions of the supernet (default: by space)"})


@dataclass(frozen=True, kw_only=True)
class CompareCommand(CampaignOptions):
    """`oche compare`: methods x spaces x data x seeds. What is None is as in the results file, or a default."""

    methods: Names | None = field(
        default=None,
        metadata={"help": "methods, such as darts,darts-2nd,random (see: oche methods); random is random search"},
    )
    seeds: Seeds | None = field(default=None, metadata={"help": "4 means the seeds 0 to 3; 0,3,7 is a list"})
    data: ComparedData = field(default_factory=ComparedData)
    space: ComparedSpaces = field(default_factory=ComparedSpaces)
    search: SearchOptions = field(default_factory=SearchOptions)
    preset: Literal["tiny", "small", "paper"] | None = field(
        default=None, metadata={"help": "sizes of supernets and trainings (default: tiny)"}
    )
    engine: Literal["fast", "reference"] | None = field(
        default=None, metadata={"help": "how supernets are evaluated (default: fast)"}
    )
    random_epochs: int | None = field(
        default=None, metadata={"help": "epochs of each architecture in a random search (default: --search.epochs)"}
    )
    references: int | None = field(
        default=None,
        metadata={"help": "random architectures trained to tell collapse, in spaces without a table (default: 8)"},
    )
    truth: str | None = field(
        default=None, metadata={"help": "what a table calls the data, where they are a file: cifar10, digits, ..."}
    )
    table: Path | None = field(
        default=None,
        metadata={"help": "a table of yours: a CSV file like NAS-Bench-201's, or a directory of oche bench build"},
    )
    keep_supernets: bool = field(
        default=False, metadata={"help": "keep the last checkpoint of every search beside the results"}
    )
    baseline: str | None = field(
        default=None, metadata={"help": "the method to compare with (default: random, or the first)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search.bptt is not None:
            raise InputError(
                f"--search.bptt {self.search.bptt} is the length of sequences of text, but comparisons are of image "
                "networks; leave it out"
            )
        for name in ("random_epochs", "references"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} must be at least 1, but got {value}")


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Files that a comparison is written to."""

    csv: Path | None = field(default=None, metadata={"help": "write one line per cell to this CSV file"})
    markdown: Path | None = field(default=None, metadata={"help": "write the tables to this Markdown file"})
    figure: Path | None = field(
        default=None, metadata={"help": "draw accuracies along the searches to this file (.png, .svg or .pdf)"}
    )


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """What to look at in a searched supernet."""

    edges: int = field(default=3, metadata={"help": "random undecided edges whose candidates are compared"})
    epochs: float = field(default=5.0, metadata={"help": "epochs of training on with each of those candidates"})
    shuffles: int = field(default=5, metadata={"help": "how often two random edges of every cell are exchanged"})
    figure: Path | None = field(default=None, metadata={"help": "draw it to this file (.png, .svg or .pdf)"})

    def __post_init__(self) -> None:
        for name in ("edges", "epochs", "shuffles"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must be 0 or more, but got --{name} {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """What a language model writes."""

    words: int = field(default=100, metadata={"help": "how many to write"})
    start: str = field(
        default="\n", metadata={"help": "words that are there already, with spaces between them (default: a new line)"}
    )
    temperature: float = field(
        default=1.0, metadata={"help": "divides the scores of words: below 1 likely words become likelier"}
    )
    seed: int = field(default=0, metadata={"help": "fixes the draws"})

    def __post_init__(self) -> None:
        if self.words < 1:
            raise InputError(f"at least one word is written, but got --words {self.words}")
        if not self.temperature > 0:
            raise InputError(f"a temperature is more than 0, but got --temperature {self.temperature}")
        if not self.start:
            raise InputError("a text needs a word to begin with, but --start is empty; leave it out for a new line")


COMMANDS: dict[str, type[CommonOptions]] = {"run": RunCommand, "search": SearchCommand, "train": TrainCommand}
"""The commands that a configuration file can be for, and their options."""


@dataclass(frozen=True, kw_only=True)
class PlannedEpochs:
    """Epochs that a resumed run is asked to have. They cannot be changed; asking for it gets the reason."""

    epochs: int | None = None


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """What may differ from the run that is resumed; None: as recorded.

    Attributes:
        device: where to compute.
        threads: CPU threads.
        data: where the same data lie now.
        root: the directory of downloaded data.
        search: epochs of the search.
        train: epochs of the training.
    """

    device: str | None = None
    threads: int | None = None
    data: str | None = None
    root: str | None = None
    search: PlannedEpochs = PlannedEpochs()
    train: PlannedEpochs = PlannedEpochs()


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """What a command prints; no part of a run's configuration."""

    quiet: bool = field(
        default=False, metadata={"help": "print only the essential, and of a run only warnings and errors"}
    )
    json: bool = field(
        default=False, metadata={"help": "print the result as JSON on standard output, and nothing else there"}
    )


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """Configuration files in and out."""

    config: Path | None = field(
        default=None,
        metadata={"help": "a YAML file with options (see: oche config); the command line goes before it"},
    )
    print_config: bool = field(
        default=False, metadata={"help": "print every option with its value and origin as such a file, and stop"}
    )


def option_fields(command: type[CommonOptions]) -> dict[str, Field[Any]]:
    """The options of a command by dotted name (`data.root`), those without a group first."""
    found: dict[str, Field[Any]] = {}
    for option in fields(command):
        group = option.default_factory
        inner = fields(group) if group is not MISSING and is_dataclass(group) else None
        found |= {option.name: option} if inner is None else {f"{option.name}.{f.name}": f for f in inner}
    return dict(sorted(found.items(), key=lambda item: "." in item[0]))


def option_values(options: CommonOptions) -> dict[str, Any]:
    """The values of a command's options by dotted name."""
    values = {}
    for name in option_fields(type(options)):
        group, _, last = name.rpartition(".")
        values[name] = getattr(getattr(options, group) if group else options, last)
    return values


def with_values(options: Options, values: dict[str, Any]) -> Options:
    """The options with other values, given by dotted name."""
    changes = {name: value for name, value in values.items() if "." not in name}
    for group in {name.partition(".")[0] for name in values if "." in name}:
        inner = {name.partition(".")[2]: v for name, v in values.items() if name.startswith(f"{group}.")}
        changes[group] = replace(getattr(options, group), **inner)
    return replace(options, **changes)  # type: ignore[type-var]
