from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.data.batches import IterableBatches
from oche.data.halves import SearchData
from oche.errors import InputError
from oche.loop import run_search
from oche.methods import DARTS, DARTS_PT, METHODS, Method, Variant, method, with_perturbation
from oche.mixture.batch_mixed import BatchMixed
from oche.mixture.dirichlet import Dirichlet
from oche.mixture.perturbation import AdversarialPerturbation, Perturbation, UniformPerturbation, Unperturbed
from oche.mixture.softmax import Softmax
from oche.nn.choice import Choice
from oche.nn.supernet import weights
from oche.objective.amended import Amended, FiniteDifferences
from oche.objective.asymptotic import Asymptotic
from oche.objective.first_order import FirstOrder
from oche.objective.terms import ConcentrationAnchor
from oche.objective.unrolled import Unrolled
from oche.optim import Adam, OptimizerSettings
from oche.schedule import Constant, Epochs
from oche.select.perturbation import PerturbationSelection
from oche.select.removal import FirstMetric, Removal
from oche.spaces.module_space import ModuleSpace
from oche.stages.base import EpochPlan
from oche.stages.greedy import Greedy, Strongest


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
        freeze.plan(EpochPlan(relaxation=Softmax()), epoch, drnas.epochs).move_logits for epoch in range(drnas.epochs)
    ]
    assert (moves.count(False), moves[:10]) == (10, [False] * 10)


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
    assert replace(sgas, variants=()) == same
    (nasbench,) = sgas.fitted("nasbench201").stages
    assert nasbench == replace(greedy, decisions=6, last=nasbench.last)  # type: ignore[type-var]


@pytest.mark.parametrize("name", METHODS)
def test_with_perturbation_a_method_differs_in_what_decides_alone(name: str) -> None:
    plain, removed = method(name), with_perturbation(method(name))
    assert removed.name == f"{name}+pt"
    assert "ICLR 2021" in removed.reference
    for space in ("darts", "nasbench201", "rdarts-s2"):
        a, b = plain.fitted(space, "cifar100"), removed.fitted(space, "cifar100")
        if name == "sgas":
            (greedy,) = a.stages
            assert b.stages == (replace(greedy, rule=Removal()),)  # type: ignore[type-var]
            b = replace(b, stages=a.stages)
        else:
            assert b.selection == PerturbationSelection()
            b = replace(b, selection=a.selection)
        assert replace(b, name=a.name, summary=a.summary, reference=a.reference) == a


def test_perturbation_has_the_published_numbers() -> None:
    selection = DARTS_PT.selection
    assert isinstance(selection, PerturbationSelection)
    assert (selection.interval, selection.move_logits, selection.removal.criterion) == (5, True, FirstMetric())
    fresh = selection.optimizer.build([torch.zeros(1)]).param_groups[0]
    assert (fresh["lr"], fresh["momentum"], fresh["weight_decay"]) == (0.0025, 0.9, 3e-4)
    assert rates(selection.optimizer) == (0.0025, 0.001)


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


ASYMPTOTIC = replace(method("darts-2nd"), objective=Asymptotic(horizon=Epochs(2)))


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
