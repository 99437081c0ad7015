from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.consistency import VARIATIONAL, AsTrained, Regularization
from oche.data.batches import IterableBatches
from oche.data.halves import SearchData
from oche.errors import InputError
from oche.loop import run_search
from oche.methods import DARTS, METHODS, TEXT_TUNING, Method, Variant, composed, method
from oche.mixture.batch_mixed import BatchMixed
from oche.mixture.dirichlet import Dirichlet
from oche.mixture.perturbation import AdversarialPerturbation, Perturbation, UniformPerturbation, Unperturbed
from oche.mixture.softmax import Softmax
from oche.moment import Moment
from oche.nn.choice import Choice
from oche.nn.network import Stack
from oche.nn.recurrent.regularization import PENALTY, SEARCH_DROPOUT
from oche.nn.structure import PartialChannels
from oche.nn.supernet import weights
from oche.objective.amended import Amended, FiniteDifferences
from oche.objective.asymptotic import Asymptotic
from oche.objective.first_order import FirstOrder
from oche.objective.terms import ConcentrationAnchor
from oche.objective.unrolled import Unrolled
from oche.optim import SGD, Adam, OptimizerSettings
from oche.schedule import Constant, Epochs
from oche.select.decorrelation import Decorrelation
from oche.select.magnitude import Magnitude
from oche.select.perturbation import PerturbationSelection
from oche.select.registry import SELECTIONS
from oche.select.removal import FirstMetric, Removal
from oche.spaces.module_space import ModuleSpace
from oche.stages.base import EpochPlan
from oche.stages.freeze_logits import FreezeLogits
from oche.stages.greedy import Greedy, Strongest
from oche.stages.progressive import Progressive


def test_darts_has_the_published_numbers() -> None:
    # methods.md, "Search".
    w = DARTS.weight_optimizer.build([torch.zeros(1)]).param_groups[0]
    assert (w["lr"], w["momentum"], w["weight_decay"]) == (0.025, 0.9, 3e-4)
    assert DARTS.weight_optimizer.lr.at(1) == pytest.approx(0.001)
    a = DARTS.logit_optimizer.build([torch.zeros(1)]).param_groups[0]
    assert (a["lr"], a["betas"], a["weight_decay"]) == (3e-4, (0.5, 0.999), 1e-3)
    assert (DARTS.logit_optimizer.lr.at(0), DARTS.logit_optimizer.lr.at(1)) == (3e-4, 3e-4)
    assert (DARTS.epochs, DARTS.batch, DARTS.clip, DARTS.logit_std) == (50, 64, 5.0, 1e-3)
    assert DARTS.steps == DARTS.epochs * (25_000 // DARTS.batch)
    assert isinstance(DARTS.objective, FirstOrder)


def test_second_order_darts_differs_in_its_objective_alone() -> None:
    second = method("darts-2nd")
    assert second.objective == Unrolled(radius=0.01)
    for name in ("relaxation", "stages", "selection", "weight_optimizer", "logit_optimizer", "epochs", "batch", "clip"):
        assert getattr(second, name) == getattr(DARTS, name)


def test_methods_are_found_by_their_names() -> None:
    assert all(method(name).name == name for name in METHODS)
    assert all(m.summary and m.reference for m in METHODS.values())
    with pytest.raises(InputError, match="did you mean 'darts"):
        method("dart")


# -- the papers' numbers (methods.md) ----------------------------------------------------------------------------------


def rates(settings: OptimizerSettings) -> tuple[float, float]:
    return settings.lr.at(0), pytest.approx(settings.lr.at(1))  # type: ignore[return-value]


def test_sp_darts_has_the_published_numbers() -> None:
    for name in ("darts", "darts-without-none", "", "rdarts-s9"):
        found = method("sp-darts").fitted(name, "cifar10")
        assert rates(found.weight_optimizer) == (0.05, 0.05)
        assert found.logit_optimizer == Adam(lr=Constant(3e-4), betas=(0.5, 0.999), weight_decay=0.0)
        assert isinstance(found.objective, FirstOrder)
        assert found.epochs == 50
    assert isinstance(method("sp-darts").fitted("darts").relaxation, BatchMixed)


@pytest.mark.parametrize(
    ("space", "data", "t_sparse", "p_up", "batch"),
    [
        ("nasbench201", "cifar10", 1.1e-3, 1.0, 256),
        ("nasbench201", "", 1.1e-3, 1.0, 256),
        ("nasbench201", "cifar100", 1.3e-3, 0.9, 256),
        ("bench125", "cifar10", 1.1e-3, 1.0, 256),
        ("darts", "cifar10", 1.0e-3, 1.0, 80),
        ("darts-without-none", "cifar100", 1.0e-3, 1.0, 80),
        ("mine", "", 1.0e-3, 1.0, 80),
        *(("rdarts-s" + str(i), "cifar10", 5e-4, 1.0, 80) for i in (1, 2, 3, 4)),
    ],
)
def test_sp_darts_is_fitted_to_spaces_and_data(space: str, data: str, t_sparse: float, p_up: float, batch: int) -> None:
    found = method("sp-darts").fitted(space, data)
    mixture = found.relaxation
    assert isinstance(mixture, BatchMixed)
    assert (mixture.t_sparse, mixture.p_low, mixture.p_up, found.batch) == (t_sparse, 0.0, p_up, batch)
    assert mixture.scale == pytest.approx(10 * t_sparse)
    assert (mixture.warm_up.of(50), found.epochs) == (1, 50)
    assert found.variants == ()
    assert found.name == "sp-darts"
    if space.startswith("rdarts"):
        assert 4e-4 <= mixture.t_sparse <= 7e-4  # one of the paper's four runs


def test_drnas_has_the_published_numbers() -> None:
    drnas = method("drnas")
    assert drnas.relaxation == Dirichlet()
    assert drnas.terms == (ConcentrationAnchor(weight=1e-3),)
    assert drnas.logit_optimizer == Adam(lr=Constant(6e-4), betas=(0.5, 0.999), weight_decay=0.0)
    assert rates(drnas.weight_optimizer) == (0.1, 0.0)
    (freeze,) = drnas.stages
    moves = [
        freeze.plan(EpochPlan(relaxation=Softmax(), end=drnas.epochs), epoch, drnas.epochs).move_logits
        for epoch in range(drnas.epochs)
    ]
    assert (moves.count(False), moves[:10]) == (10, [False] * 10)


@pytest.mark.parametrize(
    ("space", "shares", "keep", "epochs", "still", "supernet"),
    [
        ("darts-without-none", (6, 4), 4, 50, [*range(10), *range(25, 35)], Stack(cells=20, channels=36)),
        ("darts", (6, 4), 4, 50, [*range(10), *range(25, 35)], Stack(cells=20, channels=36)),
        ("nasbench201", (4, 2), 3, 100, [*range(10), *range(50, 60)], None),
        ("bench125", (4, 2), 3, 100, [*range(10), *range(50, 60)], None),
    ],
)
def test_progressive_drnas_has_the_published_numbers(
    space: str, shares: tuple[int, ...], keep: int, epochs: int, still: list[int], supernet: Stack | None
) -> None:
    found, drnas = method("drnas-progressive").fitted(space, "cifar10"), method("drnas")
    assert (found.structure, found.epochs, found.supernet) == (PartialChannels(shares=shares), epochs, supernet)
    (stage,) = found.stages
    assert isinstance(stage, Progressive)
    assert (stage.keep, stage.first.of(epochs)) == (keep, epochs // 2)
    plan = EpochPlan(relaxation=found.relaxation, end=epochs)
    assert [e for e in range(epochs) if not stage.plan(plan, e, epochs).move_logits] == still
    for name in ("relaxation", "terms", "objective", "selection", "weight_optimizer", "logit_optimizer", "batch"):
        assert getattr(found, name) == getattr(drnas, name)  # one cosine over both parts


def test_amended_has_the_published_numbers() -> None:
    amended = method("amended")
    assert amended.objective == Amended(eta=0.1, products=FiniteDifferences(radius=0.01, own_radius=False))
    assert (amended.logit_std, amended.epochs, amended.batch) == (0.0, 100, 96)  # all candidates start equal
    assert (amended.logit_optimizer, amended.weight_optimizer) == (DARTS.logit_optimizer, DARTS.weight_optimizer)
    assert amended.stages == ()


@pytest.mark.parametrize(
    ("name", "perturbation"),
    [("sdarts-rs", UniformPerturbation()), ("sdarts-adv", AdversarialPerturbation(steps=7))],
)
def test_sdarts_differs_from_darts_in_its_perturbation_alone(name: str, perturbation: Perturbation) -> None:
    assert method(name).perturbation == perturbation
    same = replace(
        method(name),
        name=DARTS.name,
        summary=DARTS.summary,
        reference=DARTS.reference,
        perturbation=DARTS.perturbation,
    )
    assert same == DARTS


def test_sgas_has_the_published_numbers_and_is_darts_otherwise() -> None:
    sgas = method("sgas")
    (greedy,) = sgas.stages
    assert isinstance(greedy, Greedy)
    assert (greedy.history, greedy.growth, greedy.rule) == (4, 8, Strongest())
    assert (sgas.batch, sgas.epochs) == (64, 50)
    same = replace(DARTS, name="sgas", summary=sgas.summary, reference=sgas.reference, stages=(greedy,))
    assert replace(sgas, variants=(), with_perturbation=None) == same
    (nasbench,) = sgas.fitted("nasbench201").stages
    assert nasbench == replace(greedy, decisions=6, last=nasbench.last)  # type: ignore[type-var]


@pytest.mark.parametrize("name", METHODS)
def test_with_perturbation_a_method_differs_in_what_decides_alone(name: str) -> None:
    plain, removed = method(name), method(f"{name}+pt")
    assert removed.name == f"{name}+pt"
    for space in ("darts", "nasbench201", "rdarts-s2"):
        a, b = plain.fitted(space, "cifar100"), removed.fitted(space, "cifar100")
        if name == "sgas":
            assert b.stages == (Greedy(rule=Removal()),)
            assert b.selection == a.selection  # no separate phase
        else:
            assert b.selection == PerturbationSelection()
            assert b.stages == a.stages
        same = {"name": a.name, "summary": a.summary, "stages": a.stages, "selection": a.selection}
        assert replace(b, **same) == a  # type: ignore[arg-type]


def test_perturbation_has_the_published_numbers() -> None:
    selection = method("darts+pt").selection
    assert isinstance(selection, PerturbationSelection)
    assert (selection.interval, selection.move_logits, selection.removal.criterion) == (5, True, FirstMetric())
    fresh = selection.optimizer.build([torch.zeros(1)]).param_groups[0]
    assert (fresh["lr"], fresh["momentum"], fresh["weight_decay"]) == (0.0025, 0.9, 3e-4)
    assert rates(selection.optimizer) == (0.0025, 0.001)


def test_allegro_has_the_published_numbers() -> None:
    allegro = method("allegro")
    assert isinstance(allegro.objective, Asymptotic)
    assert (allegro.objective.chi_min, allegro.objective.chi_max, allegro.epochs) == (0.0, 0.1, 90)
    assert (allegro.objective.horizon.of(90), allegro.objective.horizon.of(9)) == (25, 3)
    chi = [allegro.objective.chi(Moment(epoch=epoch, epochs=90)) for epoch in range(90)]
    assert chi == pytest.approx([0.1 * min(epoch / 25, 1) for epoch in range(90)])
    second = method("darts-2nd")  # "all other settings are the same as those of the DARTS method"
    same = {"name", "summary", "reference", "objective", "epochs"}
    for field in fields(Method):
        if field.name not in same:
            assert getattr(allegro, field.name) == getattr(second, field.name)


def test_the_first_variant_that_suits_counts_and_no_other_does() -> None:
    variants = (
        Variant(spaces=("a", "b-*"), data=("x",), changes={"batch": 1}),
        Variant(spaces=("a",), changes={"batch": 2, "epochs": 3}),
    )
    varied = replace(DARTS, variants=variants)
    for (space, data), batch in {
        ("a", "x"): 1,
        ("a", "y"): 2,
        ("a", ""): 2,
        ("b-1", "x"): 1,
        ("b-", "x"): 1,
        ("b", "x"): 64,
        ("b-1", "y"): 64,
        ("aa", "x"): 64,
    }.items():
        found = varied.fitted(space, data)
        assert found.batch == batch
        assert found.epochs == (3 if batch == 2 else 50)
        assert found.fitted("a", "x") == found  # fitted once and for all


# -- text --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name + end for name in METHODS for end in ("", "+pt")])
def test_every_method_has_the_published_numbers_for_recurrent_cells(name: str) -> None:
    whole = method(name)
    for data in ("", "ptb"):
        found = whole.fitted("recurrent", data)
        assert found.weight_optimizer == SGD(lr=Constant(20.0), momentum=0.0, weight_decay=5e-7)
        decay = 1e-3 if whole.logit_optimizer.weight_decay else 0.0
        assert found.logit_optimizer == Adam(lr=Constant(3e-3), betas=(0.9, 0.999), weight_decay=decay)
        assert (found.clip, found.epochs, found.batch, found.bptt) == (0.25, 50, 256, 35)
        assert found.steps == 50 * 103  # 929,589 words in 256 lanes, 35 at once
        assert found.fitted("recurrent", data) == found
        assert found.fitted("darts") == found
        kept = AsTrained() if whole.regularization == AsTrained() else VARIATIONAL
        assert found.regularization == kept
    # What makes the method is as it was.
    for field in ("name", "relaxation", "perturbation", "objective", "terms", "stages", "structure", "logit_std"):
        assert getattr(found, field) == getattr(whole, field)
    if name.endswith("+pt") and whole.selection != Magnitude():
        assert isinstance(found.selection, PerturbationSelection)
        assert isinstance(whole.selection, PerturbationSelection)
        assert replace(found.selection, optimizer=whole.selection.optimizer) == whole.selection
        assert rates(found.selection.optimizer) == (2.0, 2.0)
    else:
        assert found.selection == whole.selection


def test_the_numbers_for_images_know_nothing_of_text() -> None:
    assert Regularization(auxiliary=1.0, dropout=SEARCH_DROPOUT, penalty=PENALTY, width=300) == VARIATIONAL
    for whole in METHODS.values():
        assert whole.fitted("darts").bptt is whole.bptt is None
        assert whole.fitted("darts").regularization == whole.regularization
        assert whole.fitted("darts").steps == whole.epochs * (25_000 // whole.batch)


def test_on_text_a_part_that_was_asked_for_and_a_variant_of_the_method_stay() -> None:
    assert method("darts/regularization=none").fitted("recurrent").regularization == Regularization()
    asked = method("darts/regularization=none:auxiliary=0.5,weight_decay=1e-4").fitted("recurrent")
    assert asked.regularization == Regularization(auxiliary=0.5, weight_decay=1e-4)
    assert asked.clip == 0.25
    own = Regularization(auxiliary=1.0, penalty=PENALTY)
    assert replace(DARTS, regularization=own).fitted("recurrent").regularization == own
    varied = replace(DARTS, variants=(Variant(spaces=("recurrent",), changes={"epochs": 7}),)).fitted("recurrent")
    assert (varied.epochs, varied.batch, varied.steps) == (7, 256, 7 * 103)


# -- every part does something -----------------------------------------------------------------------------------------


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Choice({"linear": nn.Linear(3, 3), "skip": nn.Identity(), "tanh": nn.Tanh()})
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x))


def trajectory(searched: Method) -> tuple[list[float], list[Tensor]]:
    """Logits after each of four epochs, and the last weights, of a search in a small module."""
    torch.manual_seed(5)
    s = ModuleSpace(Small())
    supernet = s.supernet()
    train, valid = (
        IterableBatches([(torch.randn(6, 3), torch.arange(6) % 2) for _ in range(3)], torch.device("cpu"), i)
        for i in range(2)
    )
    found = run_search(
        supernet,
        s.domain,
        searched,
        SearchData(train=train, valid=valid, evaluation=valid),
        loss=F.cross_entropy,
        metrics={},
        epochs=4,
        seed=0,
        device=torch.device("cpu"),
    )
    return [x for table in found.logits for row in table.values() for x in row], list(weights(supernet))


def same(a: Method, b: Method) -> bool:
    (logits_a, weights_a), (logits_b, weights_b) = trajectory(a), trajectory(b)
    return logits_a == logits_b and all(torch.equal(w, v) for w, v in zip(weights_a, weights_b, strict=True))


ASYMPTOTIC = replace(method("allegro"), objective=Asymptotic(horizon=Epochs(2)))


@pytest.mark.parametrize(
    ("whole", "without"),
    [
        (method("sp-darts"), {"relaxation": BatchMixed(t_sparse=1e-3, p_up=0.0)}),
        (method("drnas"), {"terms": (ConcentrationAnchor(weight=0.0),)}),
        (method("drnas"), {"stages": ()}),
        (method("drnas"), {"relaxation": Softmax(), "terms": ()}),
        (method("sgas"), {"stages": ()}),
        (method("sdarts-rs"), {"perturbation": Unperturbed()}),
        (method("sdarts-adv"), {"perturbation": Unperturbed()}),
        (method("sdarts-adv"), {"perturbation": UniformPerturbation()}),
        (method("amended"), {"objective": FirstOrder()}),
        (method("darts-2nd"), {"objective": FirstOrder()}),
        (ASYMPTOTIC, {"objective": Asymptotic(chi_max=0.0)}),
    ],
)
def test_without_its_part_a_method_goes_another_way(whole: Method, without: dict[str, Any]) -> None:
    assert same(whole, whole)
    assert not same(whole, replace(whole, **without))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (replace(method("amended"), objective=Amended(eta=0.0)), replace(method("amended"), objective=FirstOrder())),
        (replace(ASYMPTOTIC, objective=Asymptotic(chi_max=0.0)), method("darts-2nd")),
        (
            replace(method("sp-darts"), relaxation=BatchMixed(t_sparse=1e-3, p_up=0.0)),
            replace(method("sp-darts"), relaxation=BatchMixed(t_sparse=1e-3, warm_up=Epochs(4))),
        ),
    ],
    ids=["amended with eta 0", "asymptotic with chi 0", "never sparse"],
)
def test_a_part_that_is_switched_off_is_bit_for_bit_not_there(one: Method, other: Method) -> None:
    assert same(one, other)


# -- composition -------------------------------------------------------------------------------------------------------


def test_text_and_values_compose_the_same_method() -> None:
    by_text = method("sp-darts/selection=decorrelation/objective=amended:eta=0.2/stages=freeze-logits:first=5")
    by_value = composed(
        "sp-darts", stages=(FreezeLogits(first=Epochs(5)),), objective=Amended(eta=0.2), selection=Decorrelation()
    )
    assert by_text == by_value
    assert by_text.name == "sp-darts/objective=amended:eta=0.2/stages=freeze-logits:first=5/selection=decorrelation"
    assert method(by_text.name) == by_text
    assert replace(by_text, name="sp-darts", summary=method("sp-darts").summary) == replace(
        method("sp-darts"),
        selection=Decorrelation(),
        objective=Amended(eta=0.2),
        stages=(FreezeLogits(first=Epochs(5)),),
    )


def test_the_rest_of_a_composed_method_still_suits_space_and_data_but_not_the_parts_that_were_asked_for() -> None:
    other = method("sp-darts/mixture=softmax").fitted("nasbench201", "cifar100")
    assert (other.relaxation, other.batch) == (Softmax(), 256)
    kept = method("sp-darts/selection=decorrelation").fitted("nasbench201", "cifar100")
    assert kept.relaxation == method("sp-darts").fitted("nasbench201", "cifar100").relaxation
    assert replace(method("sp-darts"), variants=method("sp-darts").variants) == method("sp-darts")


def test_composing_again_replaces_and_adds() -> None:
    again = composed(method("drnas/mixture=softmax/terms=none"), mixture="batch-mixed", selection="decorrelation")
    assert again.name == "drnas/mixture=batch-mixed/terms=none/selection=decorrelation"
    assert (again.terms, again.relaxation.scale) == ((), 10e-3)
    assert composed(DARTS, mixture=Softmax(temperature=2.0)).name == "darts/mixture=softmax:temperature=2.0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dart/selection=magnitude", "unknown method 'dart'; did you mean 'darts'"),
        ("darts/selection=magnitud", "unknown selection 'magnitud'; did you mean 'magnitude'"),
        ("drnas/mixture=softmax", "'drnas/mixture=softmax': ConcentrationAnchor .* leave it out with --terms none"),
        ("drnas/terms=none", r"Dirichlet \(mixture\) needs exactly one regularizer"),
        ("sp-darts/mixture=dirichlet", r"Dirichlet \(mixture\) needs exactly one regularizer"),
        ("darts/mixture=dirichlet/terms=concentration-anchor", "but there are 2"),
        ("darts/terms=a", "unknown term 'a'"),
        ("darts/terms=concentration-anchor+", "unknown term ''"),
    ],
)
def test_what_does_not_fit_together_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        method(text)


def test_an_axis_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="unknown axis of a method 'mixtur'; did you mean 'mixture'"):
        composed("darts", mixtur="softmax")


@dataclass(frozen=True, kw_only=True)
class Perturbing(Magnitude):
    """Stands for the selection of this name."""


def test_plus_pt_is_any_method_with_a_selection_by_perturbation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SELECTIONS, "perturbation", Perturbing())  # type: ignore[misc]
    for name in set(METHODS) - {"sgas"}:  # sgas says itself what changes
        found = method(f"{name}+pt")
        assert found.name == f"{name}+pt"
        assert found.selection == Perturbing()
        assert (
            replace(found, name=name, summary=METHODS[name].summary, selection=METHODS[name].selection) == METHODS[name]
        )
    assert method("sdarts-rs+pt/objective=amended").name == "sdarts-rs+pt/objective=amended"
    assert method("darts+pt/selection=magnitude").selection == Magnitude()
    with pytest.raises(InputError, match="unknown method 'dart'"):
        method("dart+pt")


def test_without_such_a_selection_plus_pt_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SELECTIONS, "perturbation", raising=False)  # type: ignore[misc]
    with pytest.raises(InputError, match=r"'darts\+pt' selects by perturbation: unknown selection 'perturbation'"):
        method("darts+pt")


def test_a_method_may_say_what_plus_pt_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = (FreezeLogits(first=Epochs(1)),)
    monkeypatch.setitem(METHODS, "own", replace(DARTS, name="own", with_perturbation={"stages": stages}))  # type: ignore[misc]
    assert method("own+pt").stages == stages
    assert method("own+pt").selection == DARTS.selection
    # A method that is registered under the whole name goes before the rule.
    monkeypatch.setitem(METHODS, "own+pt", replace(DARTS, name="own+pt", epochs=3))  # type: ignore[misc]
    assert method("own+pt").epochs == 3


def test_what_was_given_to_a_registered_method_stays_on_text() -> None:
    own = SGD(lr=Constant(5.0), momentum=0.0)
    found = replace(method("darts"), weight_optimizer=own, clip=1.0).fitted("recurrent")
    assert (found.weight_optimizer, found.clip) == (own, 1.0)
    assert (found.epochs, found.batch, found.bptt) == (50, 256, 35)  # the rest is the method's on text
    tuning = PerturbationSelection(optimizer=own)
    assert replace(method("darts"), selection=tuning).fitted("recurrent").selection == tuning


@pytest.mark.parametrize("name", ["darts+pt", "darts/selection=perturbation:interval=2"])
def test_a_selection_that_trains_on_has_the_rate_for_text_whatever_its_other_numbers_are(name: str) -> None:
    rule = method(name).selection
    assert isinstance(rule, PerturbationSelection)
    assert method(name).fitted("recurrent").selection == replace(rule, optimizer=TEXT_TUNING)
    given = replace(method("darts"), selection=rule).fitted("recurrent").selection
    assert given == replace(rule, optimizer=TEXT_TUNING)


def test_a_space_for_text_may_have_any_name() -> None:
    found = method("darts").fitted("mine", text=True)
    assert found == method("darts").fitted("recurrent")
    assert method("darts").fitted("recurrent", text=False).bptt is None
