"""Options as values: the words they are written as, and the flat view of nested options."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oche.config.options import (
    COMMANDS,
    Baseline,
    BuildCommand,
    CampaignOptions,
    Duration,
    Names,
    RunCommand,
    SearchCommand,
    SearchOptions,
    Seeds,
    Size,
    TrainCommand,
    TrainOptions,
    option_fields,
    option_values,
    with_values,
)
from oche.data.options import DataOptions
from oche.errors import InputError
from oche.recipe import AXES


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("2h", 7200), ("1h30m", 5400), ("0.5m", 30), ("1d", 86400)],
)
def test_durations(text, seconds):
    assert Duration.parse(text).seconds == seconds


@pytest.mark.parametrize("text", ["", "0s", "-5m", "2 hours", "h", "1.2.3s", "9" * 400])
def test_bad_durations(text):
    with pytest.raises(InputError, match="duration"):
        Duration.parse(text)


@pytest.mark.parametrize(("seconds", "text"), [(90, "90s"), (300, "5m"), (5400, "90m"), (7200, "2h"), (0.25, "0.25s")])
def test_durations_are_written_short(seconds, text):
    assert str(Duration(seconds)) == text


@given(st.floats(min_value=0, max_value=1e12, exclude_min=True) | st.integers(1, 10**12).map(float))
def test_durations_survive_writing(seconds):
    assert Duration.parse(str(Duration(seconds))) == Duration(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("0GB", 0), ("5B", 5), ("800kB", 800_000), ("500 MB", 5 * 10**8), ("1.5gb", 1_500_000_000)],
)
def test_sizes(text, size):
    assert Size.parse(text).bytes == size


@pytest.mark.parametrize("text", ["", "5", "-1GB", "1 TB", "GB", "1.2.3MB", "1e3MB"])
def test_bad_sizes(text):
    with pytest.raises(InputError, match=r"kB, MB or GB.*500MB.*got"):
        Size.parse(text)


@given(st.integers(0, 10**15))
def test_sizes_survive_writing(size):
    assert Size.parse(str(Size(size))) == Size(size)


def test_baselines():
    assert Baseline.parse("random:3").count == 3
    assert str(Baseline(3)) == "random:3"
    for text in ("random:0", "best:3", "3"):
        with pytest.raises(InputError, match="random:3"):
            Baseline.parse(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("darts", ("darts",)),
        ("darts,random", ("darts", "random")),
        (" a ,b ", ("a", "b")),
        ("a/mixture=m:x=1,y=2,b", ("a/mixture=m:x=1,y=2", "b")),
        ("a/mixture=m:x=1,y=2/terms=n,b/mixture=m:x=3, y=4", ("a/mixture=m:x=1,y=2/terms=n", "b/mixture=m:x=3,y=4")),
        ("a/selection=s,b/mixture=m,c", ("a/selection=s", "b/mixture=m", "c")),
        ("x=1.npz,y=2.npz", ("x=1.npz", "y=2.npz")),
    ],
)
def test_names(text, names):
    assert Names.parse(text).all == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "single commas"),
        (" ", "single commas"),
        ("a,", "single commas"),
        ("a,,b", "single commas.*'a,,b'"),
        ("a,b, a", "'a' is given twice in 'a,b, a'; leave one out"),
    ],
)
def test_bad_names(text, message):
    with pytest.raises(InputError, match=message):
        Names.parse(text)


@given(st.lists(st.text("abc-_./0 é", min_size=1).filter(lambda name: name == name.strip()), min_size=1, unique=True))
def test_names_survive_writing(names):
    assert Names.parse(str(Names(tuple(names)))) == Names(tuple(names))


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("4", (0, 1, 2, 3)),
        ("1", (0,)),
        (" 2 ", (0, 1)),
        ("0,3,7", (0, 3, 7)),
        ("7, 3", (7, 3)),
        ("5,", (5,)),
        ("0,", (0,)),
        ("0,3,", (0, 3)),
        ("20261126,", (20261126,)),
    ],
)
def test_seeds(text, seeds):
    assert Seeds.parse(text).all == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "such as 4, or a list"),
        (",", "such as 4, or a list"),
        (",1", "such as 4, or a list"),
        ("a", "got 'a'"),
        ("1.5", "such as 4, or a list"),
        ("-1", "such as 4, or a list"),
        ("-1,2", "such as 4, or a list"),
        ("1,,2", "such as 4, or a list"),
        ("1 2", "such as 4, or a list"),
        ("\u0664", "such as 4, or a list"),
        ("9" * 5000, "such as 4, or a list"),
        ("0", "at least one seed is needed, but got 0"),
        ("1,1", "seed 1 is given twice in '1,1'"),
        ("1,01", "seed 1 is given twice"),
        ("20261126", "one seed is written 20261126,$"),
    ],
)
def test_bad_seeds(text, message):
    with pytest.raises(InputError, match=message):
        Seeds.parse(text)


@given(st.lists(st.integers(0, 10**17), min_size=1, unique=True))
def test_seeds_survive_writing(seeds):
    assert Seeds.parse(str(Seeds(tuple(seeds)))) == Seeds(tuple(seeds))


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (SearchOptions, {"epochs": 0}, "--search.epochs 0"),
        (SearchOptions, {"logit_lr": float("nan")}, "--search.logit_lr nan"),
        (TrainOptions, {"lr": 0.0}, r"--train.lr 0.0"),
        (RunCommand, {"threads": 0}, "--threads must be at least 1, but got 0"),
        (DataOptions, {"limit": 0}, "--data.limit"),
        (CampaignOptions, {"workers": 0}, "a campaign needs workers >= 1, but got --workers 0"),
        (BuildCommand, {"threads": -1}, "--threads -1"),
    ],
)
def test_numbers_out_of_range(kind, wrong, message):
    with pytest.raises(InputError, match=message):
        kind(**wrong)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_is(command):
    for name, option in option_fields(COMMANDS[command]).items():
        assert option.metadata["help"], name


def test_the_flat_view_reads_and_changes_nested_options():
    options = TrainCommand(architecture="darts-v2", seed=3)
    changed = with_values(options, {"data.limit": 5, "data.root": "there", "train.lr": 0.5, "threads": 2})
    values = option_values(changed)
    assert (values["data.limit"], values["data.root"], values["train.lr"], values["threads"]) == (5, "there", 0.5, 2)
    assert (changed.data.root, changed.seed, changed.architecture) == ("there", 3, "darts-v2")
    assert {name for name, value in option_values(options).items() if values[name] != value} == {
        "data.limit", "data.root", "train.lr", "threads",
    }  # fmt: skip
    assert list(values) == list(option_fields(TrainCommand))


def test_groups_stand_together_and_begin_with_their_name():
    names = list(option_fields(RunCommand))
    groups = [name.partition(".")[0] if "." in name else "" for name in names]
    assert groups == sorted(groups, key=["", "data", "space", "search", "query", "train"].index)
    assert {"data.name", "space.name", "train.name"} == {names[groups.index(g)] for g in ("data", "space", "train")}


def test_a_recipe_is_the_method_with_the_parts_that_are_given():
    assert SearchCommand().recipe == "darts"
    given = SearchCommand(method="drnas/terms=none", mixture="softmax", selection="decorrelation")
    assert given.recipe == "drnas/mixture=softmax/terms=none/selection=decorrelation"
    with pytest.raises(InputError, match="the selection of 'darts' is given twice: a and b"):
        assert SearchCommand(method="darts/selection=a", selection="b").recipe
    # Every axis has its option, and files and command lines keep it.
    assert set(AXES) < set(option_fields(SearchCommand))
