"""Configuration files: whatever is written reads back, whatever is wrong is named with its file."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oche.cli import parse
from oche.config.file import FORMAT, as_arguments, as_yaml, command_line, read_config, template
from oche.config.options import (
    COMMANDS,
    Baseline,
    CommonOptions,
    Duration,
    NamedData,
    RunCommand,
    SearchCommand,
    SearchOptions,
    Size,
    SpaceOptions,
    TrainCommand,
    TrainOptions,
    option_fields,
)
from oche.errors import InputError

FEW = settings(max_examples=40)

# Words that mean something to YAML or to the command line, and any others.
AWKWARD = [
    "",
    " ",
    "-",
    "--",
    "-x",
    "--seed",
    "null",
    "~",
    "none",
    "None",
    "true",
    "no",
    "1e-3",
    "1:30",
    "a: b",
    "a #b",
]
AWKWARD += [
    "[",
    "{}",
    "x=y",
    "=",
    "\u00e9",
    "\u4e24",
    "a\nb",
    "'",
    '"',
    "\\",
    "%",
    "@x",
    "*x",
    "&x",
    "!x",
    "? x",
    "- x",
]
AWKWARD += ["\t", "\u2028", "\x85", "\0"]
TEXT = st.sampled_from(AWKWARD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
COUNT = st.integers(1, 10**9)
SHARE = st.floats(0, 1, exclude_max=True)


def maybe(strategy):
    return st.none() | strategy


DATA = st.builds(
    NamedData,
    name=TEXT,
    root=maybe(TEXT),
    download=st.booleans(),
    limit=maybe(COUNT),
    size=maybe(st.tuples(COUNT, COUNT)),
    flip=maybe(st.booleans()),
    crop_padding=maybe(st.integers(0, 99)),
    stream=maybe(st.booleans()),
    workers=maybe(st.integers(0, 99)),
)
SPACE = st.builds(
    SpaceOptions,
    name=TEXT,
    nodes=maybe(COUNT),
    cells=maybe(COUNT),
    channels=maybe(COUNT),
    reductions=maybe(st.integers(-9, 9)),
)
SEARCH = st.builds(
    SearchOptions,
    epochs=maybe(COUNT),
    batch=maybe(COUNT),
    logit_lr=maybe(st.floats(0, allow_infinity=False)),
)
TRAIN = st.builds(
    TrainOptions,
    name=maybe(TEXT),
    epochs=maybe(COUNT),
    batch=maybe(COUNT),
    cells=maybe(COUNT),
    channels=maybe(COUNT),
    reductions=maybe(COUNT),
    optimizer=maybe(st.sampled_from(["sgd", "adamw"])),
    lr=maybe(st.floats(0, exclude_min=True, allow_infinity=False)),
    cutout=maybe(COUNT),
    drop_path=maybe(SHARE),
    auxiliary=maybe(SHARE),
    label_smoothing=maybe(SHARE),
    balance_classes=maybe(st.booleans()),
    validation=maybe(SHARE),
)
COMMON = {
    "run": maybe(TEXT),
    "seed": st.integers(),
    "device": maybe(TEXT),
    "threads": maybe(COUNT),
    "preset": maybe(st.sampled_from(["tiny", "small", "paper"])),
    "time_limit": maybe(st.floats(1e-6, 1e9).map(Duration)),
    "save_every": st.floats(1e-6, 1e9).map(Duration),
    "data": DATA,
}
ENGINE = st.sampled_from(["fast", "reference"])
SEARCHING = COMMON | {
    "space": SPACE,
    "search": SEARCH,
    "method": TEXT,
    "engine": ENGINE,
    "probes": st.sampled_from(["all", "cheap", "none"]),
    "keep": st.integers(0, 10**12).map(Size),
}
OPTIONS = st.one_of(
    st.builds(RunCommand, **SEARCHING, train=TRAIN, baseline=maybe(COUNT.map(Baseline))),
    st.builds(SearchCommand, **SEARCHING),
    st.builds(TrainCommand, **COMMON, train=TRAIN, architecture=TEXT),
)
NAMES = {kind: name for name, kind in COMMANDS.items()}


def read_back(arguments: list[str]) -> CommonOptions:
    _, bound = parse(arguments)
    bound.apply_defaults()
    return bound.arguments["options"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("configurations")


def refused(path: Path, text: str, *parts: str, command: str = "run") -> None:
    """The file is refused in one line that names it."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        parse([command, "--config", str(path)])
    for part in (str(path), *parts):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@FEW
@given(OPTIONS, st.booleans())
@example(RunCommand(run="a\nb", method="a\nb"), True)
def test_options_survive_a_file(place, options, explained):
    command = NAMES[type(options)]
    path = place / "options.yaml"
    if isinstance(options, TrainCommand) and (place / options.architecture.replace("\0", "")).exists():
        options = replace(options, architecture="darts-v2")  # one that exists is another path from here
    origins = dict.fromkeys(option_fields(type(options)), "a: b # c") if explained else None
    path.write_text(as_yaml(command, options, origins), encoding="utf-8")
    assert read_back([command, "--config", str(path)]) == replace(options, run=None)
    assert read_config(path).command == command


@FEW
@given(OPTIONS)
def test_options_survive_a_command_line(options):
    command = NAMES[type(options)]
    assert read_back([command, *as_arguments(options)]) == options
    assert shlex.split(command_line(command, options)) == ["oche", command, *as_arguments(options)]


def test_a_command_line_has_what_differs_from_the_default():
    options = RunCommand(
        data=NamedData(name="a b.npz", flip=False, size=(3, 4)), train=TrainOptions(balance_classes=True)
    )
    assert command_line("run", options) == (
        "oche run --data 'a b.npz' --data.size 3 4 --data.no-flip --train.balance-classes"
    )
    assert command_line("run", RunCommand()) == "oche run"
    assert command_line("train", TrainCommand(architecture="darts-v2")) == "oche train darts-v2"


def test_a_file_is_plain_yaml_with_what_is_set():
    text = as_yaml("run", RunCommand(run="out", data=NamedData(limit=5), time_limit=Duration(5400)))
    assert yaml.safe_load(text) == {
        "format": FORMAT,
        "command": "run",
        "seed": 0,
        "time_limit": "90m",
        "save_every": "1m",
        "keep": "1GB",
        "method": "darts",
        "engine": "fast",
        "probes": "all",
        "data": {"name": "digits", "download": False, "limit": 5},
        "space": {"name": "darts"},
    }


def test_origins_are_comments_and_name_what_is_left_out():
    origins = dict.fromkeys(option_fields(SearchCommand), "default") | {"seed": "my.yaml"}
    text = as_yaml("search", SearchCommand(seed=1, run="out"), origins)
    assert any(line.split() == ["seed:", "1", "#", "my.yaml"] for line in text.splitlines())
    assert any(line.split() == ["epochs:", "null", "#", "default"] for line in text.splitlines())
    assert text.startswith("# --run out is left out")
    columns = {line.index("#") for line in text.splitlines() if "  # " in line}
    assert len(columns) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_the_template_gives_the_defaults_and_explains_every_option(command, place):
    text = template(command)
    (place / "template.yaml").write_text(text)
    plain = [command, "darts-v2"] if command == "train" else [command]
    assert read_back([command, "--config", str(place / "template.yaml")]) == read_back(plain)
    for name, option in option_fields(COMMANDS[command]).items():
        assert f"# {option.metadata['help']}" in text
        assert f"{name.rpartition('.')[2]}: " in text


def test_a_hand_written_file(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(
        "data: pictures.npz\nspace: {name: rdarts-s2, nodes: 3}\ntime-limit: 1h30m\nkeep:\nsearch:\n"
        "data.size: [32, 48]\ntrain:\n  lr: 1e-3\n  drop-path: ~\n  balance_classes: true\n"
    )
    assert read_back(["run", "--config", str(path)]) == RunCommand(
        data=NamedData(name="pictures.npz", size=(32, 48)),
        space=SpaceOptions(name="rdarts-s2", nodes=3),
        time_limit=Duration(5400),
        train=TrainOptions(lr=1e-3, balance_classes=True),
    )


def test_an_empty_file_gives_the_defaults(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert read_back(["run", "--config", str(tmp_path / "empty.yaml")]) == RunCommand()


def test_the_command_line_goes_before_the_file(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("seed: 1\nmethod: darts-2nd\ndata: {name: a.npz, size: [3, 4], flip: true}\n")
    options = read_back(
        ["run", "--seed", "2", "--data", "b.npz", "--config", str(path), "--data.size", "5", "6", "--data.no-flip"]
    )
    assert options == RunCommand(seed=2, method="darts-2nd", data=NamedData(name="b.npz", size=(5, 6), flip=False))


def test_an_architecture_beside_the_file_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("command: train\narchitecture: architecture.json\n")
    arguments = ["train", "--config", "run/config.yaml"]
    assert read_back(arguments).architecture == "architecture.json"
    (tmp_path / "run" / "architecture.json").write_text("{}")
    assert read_back(arguments).architecture == "run/architecture.json"
    assert read_back([*arguments, "darts-v1"]).architecture == "darts-v1"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("format: 3\nnew_option: 1", ["written by a newer oche", "format 3", "up to 2"]),
        ("format: 1", ["format '1'", "oche config"]),
        ("format: two", ["format 'two'"]),
        ("command: runn", ["unknown command 'runn'", "'run'"]),
        ("metod: darts", ["'metod'", "did you mean 'method'", "oche config run"]),
        ("data: {rooot: x}", ["'data.rooot'", "did you mean 'data.root'"]),
        ("metod:", ["'metod'", "did you mean 'method'"]),
        ("search: 5", ["'search'", "'search.epochs'"]),
        ("seed: {a: 1}", ["'seed.a'"]),
        ("architecture: darts-v2", ["option of `oche train`", "not of `oche run`"]),
        ("seed: one", ["seed", "'one'", "whole number"]),
        ("seed: 1.5", ["seed", "'1.5'"]),
        ("seed: ''", ["seed", "''"]),
        ("data: {size: [3, 4.5]}", ["data.size", "'4.5'"]),
        ("data: {size: 3}", ["data.size", "a list of 2 values", "one value"]),
        ("data: {size: [3, 4, 5]}", ["data.size", "a list of 3 values"]),
        ("data: {size: [3, [4]]}", ["data.size", "lists inside"]),
        ("data: {size: []}", ["data.size", "empty"]),
        ("data: {size: {a: 1}}", ["data.size", "a mapping"]),
        ("train: {lr: [0.1, 0.2]}", ["train.lr", "one value", "a list of 2 values"]),
        ("train: {lr: fast}", ["train.lr", '"fast"']),
        ("train: {balance_classes: perhaps}", ["train.balance_classes", '"perhaps"']),
        ("train: {optimizer: lion}", ["train.optimizer", '"lion"', "adamw"]),
        ("preset: tinny", ["preset", '"tinny"', '"tiny"']),
        ("time_limit: soon", ["time_limit", "'soon'", "2h"]),
        ("keep: much", ["keep", "'much'", "500MB"]),
        ("baseline: random", ["baseline", "'random'", "random:3"]),
        ("search: {epochs: 0}", ["--search.epochs 0"]),
        ("seed: 1\nseed: 2", ["seed", "twice"]),
        ("time-limit: 1h\ntime_limit: 2h", ["time_limit", "twice"]),
        ("data: digits\ndata.name: a", ["data.name", "twice"]),
        ("- seed", ["lines such as `seed: 1`"]),
        ("seed", ["lines such as `seed: 1`"]),
        ("[a, b]: 1", ["line 1", "a word"]),
        ("seed: [1", ["no YAML", "line 1"]),
        ("a: b: c", ["no YAML", "line 1"]),
        ("seed: 1\n---\nseed: 2", ["no YAML"]),
        ("seed: *x", ["no YAML", "line 1"]),
        ("seed: \x07", ["no YAML"]),
        ("quiet: true", ["'quiet'"]),
        ("config: other.yaml", ["'config'"]),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text, parts):
    refused(tmp_path / "my.yaml", text, *parts)


def test_a_file_of_another_command_is_refused_only_for_what_does_not_fit(tmp_path):
    path = tmp_path / "my.yaml"
    refused(path, "command: run\nbaseline: random:3", "baseline", "option of `oche run`", command="search")
    refused(path, "command: run\nspace: darts", "space.name", "`oche run` and `oche search`", command="train")
    path.write_text("command: run\nseed: 3\n")
    assert read_back(["search", "--config", str(path)]) == SearchCommand(seed=3)


def test_a_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(InputError, match=r"cannot read the configuration .*--config FILE"):
            parse(["run", "--config", str(path)])
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match=r"cannot read the configuration .*binary.yaml"):
        parse(["run", "--config", str(tmp_path / "binary.yaml")])
