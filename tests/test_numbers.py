"""Parts by name with numbers: read, refused, and written again."""

from dataclasses import dataclass
from typing import Any

import pytest

from oche.axes import AXES
from oche.consistency import REGULARIZATIONS, Regularization
from oche.errors import InputError
from oche.methods import METHODS
from oche.mixture.batch_mixed import BatchMixed
from oche.mixture.perturbation import AdversarialPerturbation, UniformPerturbation
from oche.mixture.registry import MIXTURES, PERTURBATIONS
from oche.mixture.softmax import Softmax
from oche.numbers import part_named, readers, spelled
from oche.objective.amended import Amended, ExactProducts
from oche.objective.asymptotic import Asymptotic
from oche.objective.registry import OBJECTIVES, TERMS
from oche.objective.terms import ConcentrationAnchor
from oche.registry import Registry
from oche.schedule import Constant, Cosine, Epochs, Length, Linear, Schedule, Share
from oche.select.decorrelation import Decorrelation
from oche.select.registry import SELECTIONS


@dataclass(frozen=True)
class Sample:
    """A part with a field of every type."""

    x: float = 1.0
    n: int = 2
    on: bool = False
    word: str = "a"
    most: float | None = None
    least: int | None = None
    first: Length = Epochs(1)
    rate: Schedule = Constant(1.0)
    inner: object = None


SAMPLES = Registry[Sample]("sample", "oche.nobodys", {"sample": Sample(), "other": Sample(x=5.0)}, made=lambda n, x: x)


@pytest.mark.parametrize(
    ("registry", "text", "part"),
    [
        (SAMPLES, "sample:most=0.5,least=none", Sample(most=0.5)),
        (REGULARIZATIONS, "none:cutout=2,weight_decay=none,width=300", Regularization(cutout=2, width=300)),
        (REGULARIZATIONS, "none:weight_decay=1e-3", Regularization(weight_decay=1e-3)),
        (MIXTURES, "softmax", Softmax()),
        (MIXTURES, "softmax:temperature=5e-1", Softmax(temperature=0.5)),
        (
            MIXTURES,
            "batch-mixed:t_sparse=1e-3,p_up=0.9,warm_up=3",
            BatchMixed(t_sparse=1e-3, p_up=0.9, warm_up=Epochs(3)),
        ),
        (MIXTURES, "batch-mixed: t-sparse = 5e-4, warm-up=0.1", BatchMixed(t_sparse=5e-4, warm_up=Share(0.1))),
        (PERTURBATIONS, "uniform:radius=0.1", UniformPerturbation(radius=Constant(0.1))),
        (PERTURBATIONS, "adversarial:radius=0..0.2,steps=3", AdversarialPerturbation(radius=Linear(0, 0.2), steps=3)),
        (OBJECTIVES, "amended-exact:eta=0.2", Amended(eta=0.2, products=ExactProducts())),
        (OBJECTIVES, "asymptotic:horizon=10", Asymptotic(horizon=Epochs(10))),
        (TERMS, "concentration-anchor:weight=1e+1", ConcentrationAnchor(weight=10.0)),
        (SELECTIONS, "decorrelation:images=64,literal=true", Decorrelation(images=64, literal=True)),
        (
            SAMPLES,
            "sample:x=2,n=-3,on=true,word=b,most=0.5,least=4,first=1.0,rate=0.1..-0.2",
            Sample(2.0, -3, True, "b", 0.5, 4, Share(1.0), Linear(0.1, -0.2)),
        ),
    ],
)
def test_numbers_are_read_by_their_type_and_written_again(registry: Registry[Any], text: str, part: object) -> None:
    assert part_named(registry, text) == part
    assert part_named(registry, spelled(registry, part)) == part


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sampel", ["unknown sample 'sampel'", "did you mean 'sample'"]),
        ("sample:", ["sample:NAME=VALUE"]),
        ("sample:x", ["sample:NAME=VALUE", "'x'"]),
        ("sample:x=", ["sample:NAME=VALUE"]),
        ("sample:x=1,,n=2", ["sample:NAME=VALUE"]),
        ("sample:frist=1", ["unknown number", "'frist'", "did you mean 'first'"]),
        ("sample:inner=1", ["unknown number", "'inner'"]),
        ("sample:x=1,x=2", ["x is given twice"]),
        ("sample:x=one", ["x of the sample 'sample' is a number, but got 'one'"]),
        ("sample:n=1.5", ["a whole number", "'1.5'"]),
        ("sample:on=yes", ["true or false", "'yes'"]),
        ("sample:first=1.5", ["0 <= share of the epochs <= 1", "1.5"]),
        ("sample:first=soon", ["a whole number of epochs, or a share"]),
        ("sample:rate=1..", ["0.03..0.3"]),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        part_named(SAMPLES, text)
    for part in parts:
        assert part in str(caught.value)


def test_a_part_without_numbers_takes_none() -> None:
    with pytest.raises(InputError, match="'dirichlet' has no numbers to give, but got 'x=1'"):
        part_named(MIXTURES, "dirichlet:x=1")
    with pytest.raises(InputError, match=r"temperature > 0, but got -1.0"):
        part_named(MIXTURES, "softmax:temperature=-1")


def test_what_no_text_means_is_called_by_its_class() -> None:
    assert spelled(SAMPLES, Sample(rate=Cosine(1.0))) == "Sample"
    assert spelled(SAMPLES, Sample(inner=3)) == "Sample"
    assert spelled(MIXTURES, Sample()) == "Sample"
    assert "inner" not in readers(Sample())


@pytest.mark.parametrize("name", METHODS)
def test_every_part_of_every_method_can_be_written(name: str) -> None:
    for axis in AXES.values():
        value = getattr(METHODS[name], axis.field)
        assert axis.read(axis.text(value)) == value
