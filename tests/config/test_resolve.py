"""Resolving: what is filled in changes nothing that is built, and nothing that was given."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oche.config.options import (
    CommonOptions,
    NamedData,
    RunCommand,
    SearchCommand,
    SearchOptions,
    SpaceOptions,
    TrainCommand,
    TrainOptions,
    option_values,
)
from oche.config.resolve import LATER, resolve, resolve_method, resolve_protocol, resolve_space, sizes_of
from oche.errors import InputError
from oche.medium import TEXT
from oche.methods import METHODS
from oche.presets import PRESETS, preset
from oche.schedule import ExponentialCosine
from oche.spaces.registry import SPACES, space
from oche.training.protocol import PROTOCOLS

CPU = torch.device("cpu")


def maybe(strategy):
    return st.none() | strategy


FOR_IMAGES = sorted(name for name, rules in PROTOCOLS.items() if rules.language is None)
FOR_TEXT = sorted({*PROTOCOLS} - {*FOR_IMAGES})
WORDS = NamedData(name="python-help")
TRAIN = st.builds(
    TrainOptions,
    name=maybe(st.sampled_from(FOR_IMAGES)),
    epochs=maybe(st.integers(1, 99)),
    cells=maybe(st.integers(1, 9)),
    channels=maybe(st.integers(1, 99)),
    optimizer=maybe(st.sampled_from(["sgd", "adamw"])),
    lr=maybe(st.floats(1e-6, 1)),
    cutout=maybe(st.integers(0, 9)),
    drop_path=maybe(st.floats(0, 0.9)),
    balance_classes=maybe(st.booleans()),
    validation=maybe(st.floats(0, 0.9)),
)
COMMON = {"preset": maybe(st.sampled_from(sorted(PRESETS))), "threads": maybe(st.integers(1, 3)), "train": TRAIN}
SPACE = st.builds(
    SpaceOptions,
    name=st.sampled_from(["darts", "rdarts-s2"]),
    nodes=maybe(st.integers(1, 5)),
    cells=maybe(st.integers(1, 9)),
    channels=maybe(st.integers(1, 9).map(lambda n: 12 * n)),  # some methods refuse others
)
PARTS = {
    "mixture": maybe(st.sampled_from(["softmax", "softmax:temperature=0.5", "batch-mixed:t_sparse=1e-3,p_up=0.9"])),
    "terms": st.just("none"),
    "selection": maybe(st.sampled_from(["magnitude", "decorrelation"])),
}
OTHER_METHODS = sorted({*METHODS} - {"drnas", "drnas-progressive"})  # which do not go with all of these parts
RUNS = st.builds(
    RunCommand,
    **COMMON,
    space=SPACE,
    method=st.sampled_from(OTHER_METHODS),
    **PARTS,
)
TRAININGS = st.builds(TrainCommand, **COMMON, architecture=st.just("darts-v2"))

TEXT_TRAIN = st.builds(
    TrainOptions,
    name=maybe(st.sampled_from(FOR_TEXT)),
    epochs=maybe(st.integers(1, 99)),
    bptt=maybe(st.integers(1, 99)),
    channels=maybe(st.integers(1, 99)),
    lr=maybe(st.floats(1e-6, 99)),
    auxiliary=maybe(st.floats(0, 9)),
)
TEXT_COMMON = COMMON | {"train": TEXT_TRAIN, "data": st.just(WORDS)}
TEXT_RUNS = st.builds(
    RunCommand,
    **TEXT_COMMON,
    space=st.builds(
        SpaceOptions, name=st.just("recurrent"), nodes=maybe(st.integers(1, 9)), channels=maybe(st.integers(1, 99))
    ),
    search=st.builds(SearchOptions, epochs=maybe(st.integers(1, 99)), bptt=maybe(st.integers(1, 99))),
    method=st.sampled_from(["darts", "sp-darts", "drnas", "amended", "sgas", "darts+pt"]),
    regularization=maybe(st.sampled_from(["as-trained"])),
)
TEXT_TRAININGS = st.builds(TrainCommand, **TEXT_COMMON, architecture=st.just("darts-rnn-v2"))


def parts(options: CommonOptions, device: torch.device = CPU) -> list[object]:
    """What a run is made of, before the data are known."""
    sizes = sizes_of(options, device)
    built: list[object] = [sizes]
    if isinstance(options, SearchCommand):
        epochs = options.search.epochs or sizes.epochs or resolve_method(options).epochs
        built += [resolve_space(options.space, sizes, resolve_method(options)), epochs]
    if isinstance(options, RunCommand | TrainCommand):
        rules = resolve_protocol(options.train, sizes)
        if isinstance(options, RunCommand):  # cells that do not share are as many as the supernet's
            rules = replace(
                rules, stack=resolve_space(options.space, sizes, resolve_method(options)).fitting(rules.stack)
            )
        if isinstance(options, RunCommand) and options.train.auxiliary is None:
            has_head = space(options.space.name).has_auxiliary
            rules = replace(rules, auxiliary=rules.auxiliary if has_head else 0.0)
        built.append(rules)
    return built


def check(options: CommonOptions, device: torch.device = CPU) -> None:
    resolved, origins = resolve(options, device)
    assert parts(resolved, device) == parts(options, device)
    assert resolve(resolved, device)[0] == resolved
    before, after = option_values(options), option_values(resolved)
    assert all(after[name] == value for name, value in before.items() if value is not None)
    assert all(before[name] is None for name in origins)
    assert {name for name in after if after[name] != before[name]} <= origins.keys()
    assert {name for name in origins if after[name] is None} <= LATER.keys()


REFUSED = {("drnas-progressive", "allegro"), ("drnas-progressive", "recurrent"), ("idarts", "recurrent")}


@pytest.mark.parametrize(("size", "name", "space"), list(product((None, *PRESETS), METHODS, SPACES)))
def test_filling_in_changes_nothing(size, name, space):
    options = RunCommand(preset=size, method=name, space=SpaceOptions(name=space), data=data_for(space))
    if (name, space) in REFUSED:
        with pytest.raises(InputError, match="needs"):
            resolve(options, CPU)
        return
    check(options)
    assert options.search.epochs is None


def data_for(name: str) -> NamedData:
    return WORDS if space(name).medium is TEXT else NamedData()


@given(RUNS | TRAININGS | TEXT_RUNS | TEXT_TRAININGS)
def test_filling_in_changes_nothing_whatever_is_given(options):
    check(options)


def test_only_the_data_leave_something_open():
    values = option_values(resolve(RunCommand(), CPU)[0])
    open_still = {name for name, value in values.items() if value is None}
    assert open_still == LATER.keys() | {
        "run",
        "time_limit",
        "baseline",
        "tries",
        "tries_epochs",
        "data.root",
        "data.limit",
        "data.vocabulary",
        "data.size",
        "search.bptt",
        "train.bptt",
    }
    words = option_values(resolve(RunCommand(space=SpaceOptions(name="recurrent"), data=WORDS), CPU)[0])
    assert {name for name, value in words.items() if value is None} == open_still - {"search.bptt", "train.bptt"}
    fixed = option_values(resolve(RunCommand(space=SpaceOptions(name="rdarts-s1")), CPU)[0])
    assert fixed["space.nodes"] is None  # this space refuses to be told


def test_origins_name_who_decided():
    _, origins = resolve(RunCommand(seed=3), CPU)
    assert origins["preset"] == "the device cpu"
    assert origins["threads"] == origins["device"] == "the machine"
    assert origins["space.cells"] == origins["search.epochs"] == origins["train.name"] == "preset tiny"
    assert origins["space.nodes"] == "space darts"
    assert origins["train.epochs"] == "protocol tiny"
    assert origins["data.flip"] == "the data"
    assert "seed" not in origins
    words, of = resolve(RunCommand(space=SpaceOptions(name="recurrent"), data=WORDS), CPU)
    assert (words.search.bptt, of["search.bptt"]) == (35, "method darts")
    assert (words.train.bptt, of["train.bptt"]) == (35, "protocol text-tiny")
    assert (words.space.channels, of["space.channels"]) == (64, "preset tiny")
    _, paper = resolve(RunCommand(preset="paper", train=TrainOptions(optimizer="adamw")), CPU)
    assert paper["search.epochs"] == "method darts"
    assert paper["space.cells"] == "space darts"
    assert paper["train.lr"] == "optimizer adamw"
    assert "preset" not in paper


def test_a_method_may_search_at_a_size_of_its_own():
    def of(preset: str, space: str) -> tuple[int | None, int | None, str]:
        options = SearchCommand(preset=preset, method="drnas-progressive", space=SpaceOptions(name=space))
        resolved, origins = resolve(options, CPU)
        assert origins["space.cells"] == origins["space.channels"]
        return resolved.space.cells, resolved.space.channels, origins["space.cells"]

    assert of("paper", "darts") == of("small", "darts") == (20, 36, "method drnas-progressive")
    assert of("tiny", "darts") == (3, 12, "preset tiny")  # 8 channels, raised to a multiple of 6 and 4
    assert of("paper", "nasbench201") == (15, 16, "space nasbench201")
    assert of("tiny", "nasbench201") == (3, 8, "preset tiny")


def test_a_rate_keeps_the_schedule_of_its_protocol():
    usual = TrainOptions(name="allegro-cifar")
    for asked, start in ((usual, 0.025), (replace(usual, lr=0.1), 0.1)):
        resolved, _ = resolve(TrainCommand(architecture="a", train=asked), CPU)
        assert resolved.train.lr == start
        assert resolve_protocol(resolved.train, preset("tiny")).optimizer.lr == ExponentialCosine(start, 0.0)


def test_the_device_decides_the_preset():
    meta = torch.device("meta")
    resolved, _ = resolve(SearchCommand(), meta)
    assert (resolved.preset, resolved.device) == ("small", "meta")
    assert resolved.search == SearchOptions(epochs=preset("small").epochs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (RunCommand(method="dart"), "unknown method 'dart'"),
        (RunCommand(space=SpaceOptions(name="drats")), "unknown space 'drats'"),
        (RunCommand(train=TrainOptions(name="tinny")), "unknown training protocol 'tinny'"),
        (RunCommand(space=SpaceOptions(name="rdarts-s1", nodes=3)), "leave out nodes"),
        (RunCommand(method="drnas-progressive", space=SpaceOptions(channels=8)), "--space.channels 12"),
        (TrainCommand(architecture="a", train=TrainOptions(drop_path=2)), "drop_path=2"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        resolve(options, CPU)
