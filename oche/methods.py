"""The named methods: short chains of parts, with the papers' numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from oche.axes import AXES, placed
from oche.consistency import VARIATIONAL, AsTrained, Consistency, Regularization
from oche.errors import InputError, named
from oche.mixture.base import Relaxation
from oche.mixture.batch_mixed import BatchMixed
from oche.mixture.dirichlet import Dirichlet
from oche.mixture.perturbation import AdversarialPerturbation, Perturbation, UniformPerturbation, Unperturbed
from oche.mixture.softmax import Softmax
from oche.needs import ONE_REGULARIZER, WIDENING, Needing, check_parts, check_space, declared
from oche.nn.network import Stack
from oche.nn.structure import NodeNorm, PartialChannels, Plain, Structure
from oche.objective.amended import Amended
from oche.objective.asymptotic import Asymptotic
from oche.objective.base import Objective
from oche.objective.first_order import FirstOrder
from oche.objective.terms import ConcentrationAnchor, Term
from oche.objective.unrolled import Unrolled
from oche.optim import SGD, Adam, OptimizerSettings
from oche.recipe import Recipe
from oche.registry import Registry, named_value
from oche.schedule import Constant, Cosine, Share
from oche.select.base import Selection
from oche.select.decorrelation import Decorrelation
from oche.select.magnitude import Magnitude
from oche.select.perturbation import PerturbationSelection
from oche.select.registry import SELECTIONS
from oche.select.removal import Removal
from oche.spaces.module_space import ModuleSpace
from oche.spaces.space import Space
from oche.stages.base import Stage
from oche.stages.freeze_logits import FreezeLogits
from oche.stages.greedy import Greedy
from oche.stages.progressive import Progressive

CIFAR_HALF = 25_000
"""Images in the training half of a search on CIFAR-10."""

PTB_WORDS = 929_589
"""Words of the training text of Penn Treebank, all of which train the weights in DARTS' search; the logits have the
validation text."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Other numbers of a paper for other spaces or data.

    Attributes:
        spaces: names of the spaces; one that ends in `*` stands for all that begin so.
        data: names of the data sets; empty: any.
        changes: fields of the method.
    """

    spaces: tuple[str, ...]
    data: tuple[str, ...] = ()
    changes: Mapping[str, Any]

    def suits(self, space: str, data: str) -> bool:
        """Whether a search on these is meant."""
        fits = any(space == name or (name[-1] == "*" and space.startswith(name[:-1])) for name in self.spaces)
        return fits and (not self.data or data in self.data)


TEXT = Variant(
    spaces=("recurrent",),
    changes={
        "regularization": VARIATIONAL,
        "weight_optimizer": SGD(lr=Constant(20.0), momentum=0.0, weight_decay=5e-7),
        "logit_optimizer": Adam(lr=Constant(3e-3), betas=(0.9, 0.999), weight_decay=1e-3),
        "clip": 0.25,
        "epochs": 50,
        "batch": 256,
        "bptt": 35,
    },
)
"""What DARTS' search of recurrent cells has in the place of its numbers for images (its public code)."""

TEXT_TUNING = SGD(lr=Constant(2.0), momentum=0.0, weight_decay=5e-7)
"""Of the weights between the decisions of a selection by perturbation: a tenth of the rate of the search, as on images.
Wang-2021 has no search on text, and at its rate for images the weights would stand still."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A search method: a part on each axis, and the numbers of its paper.

    Attributes:
        name: the registry name.
        summary: when to use it, in one sentence.
        reference: the paper.
        structure: what is added to the supernet.
        supernet: depth and width of the supernet in the paper's search; None: the space's own.
        regularization: what the weights are trained with beyond the loss: Cutout, drop-path, an auxiliary head.
        relaxation: logits to mixing weights.
        perturbation: of the mixing weights in the weight step.
        objective: which gradient moves the logits.
        terms: what is added to the loss of the logit step.
        stages: what happens when, applied in order.
        selection: supernet to architecture.
        weight_optimizer: for the network weights.
        logit_optimizer: for the logits.
        logit_std: standard deviation of the initial logits.
        clip: largest norm of the gradient of the weights.
        logits_first: whether a step moves the logits before the weights, as the public DARTS code does.
        epochs: of the paper's search.
        batch: of the paper's search: images, or lanes of a text.
        bptt: words of a lane per step, through which gradients go back; None: for images.
        text: the numbers that every method has for spaces of language models; see `fitted`.
        variants: the paper's numbers for other spaces and data; the first that suits counts.
        with_perturbation: the fields that `NAME+pt` changes; None: the selection alone.
        tries: where the paper searches several times and keeps the best, the fields that each search changes
            (`oche.tries`); empty: the paper says nothing of the kind.

    Raises:
        InputError: the parts do not fit together.
    """

    name: str
    summary: str
    reference: str
    structure: Structure = Plain()
    supernet: Stack | None = None
    regularization: Consistency = Regularization()
    relaxation: Relaxation = Softmax()
    perturbation: Perturbation = Unperturbed()
    objective: Objective = FirstOrder()
    terms: tuple[Term, ...] = ()
    stages: tuple[Stage, ...] = ()
    selection: Selection = Magnitude()
    weight_optimizer: OptimizerSettings = SGD()
    logit_optimizer: OptimizerSettings = Adam()
    logit_std: float = 1e-3
    clip: float = 5.0
    logits_first: bool = True
    epochs: int = 50
    batch: int = 64
    bptt: int | None = None
    text: Variant | None = field(default=TEXT, repr=False)
    variants: tuple[Variant, ...] = field(default=(), repr=False)
    with_perturbation: Mapping[str, Any] | None = field(default=None, repr=False)
    tries: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        decayed = [ONE_REGULARIZER] if self.logit_optimizer.weight_decay > 0 else []
        check_parts(f"method {self.name!r}", self._parts, decayed)
        self._check_widenings()
        # The weights' optimizer is built on nothing much, only for the objective to look at its kind.
        self.objective.check(self.weight_optimizer.build([torch.zeros(1)]))

    def check(self, space: Space | ModuleSpace) -> None:
        """Refuse a space in which a part would not find what it needs.

        Raises:
            InputError: there is such a part.
        """
        where = "a module of your own" if isinstance(space, ModuleSpace) else f"space {space.name!r}"
        check_space(f"method {self.name!r}", self._parts, where, space.offers)

    def _check_widenings(self) -> None:
        """Refuse stages that widen once too often or too rarely, or that begin anew with weights of another width."""
        widenings = sum([*declared(of.part, "OFFERS")].count(WIDENING) for of in self._parts)
        if widenings != len(self.structure.shares) - 1:
            raise InputError(
                f"method {self.name!r}: each stage that widens needs one share of channels to widen to, behind that of "
                f"the start, but got shares {self.structure.shares} and {widenings} stages; give "
                "structure=PartialChannels(shares=(6, 4)) with one stage"
            )
        if widenings and any(stage.restarts for stage in self.stages):
            raise InputError(
                f"method {self.name!r}: a stage begins the search anew and needs its first weights, which do not fit "
                "once the supernet has been widened; leave one of the two out"
            )

    @property
    def _parts(self) -> list[Needing]:
        return [Needing(axis, part) for axis, part in placed(self)]

    @property
    def steps(self) -> int:
        """Steps of the paper's search, its epochs on half of CIFAR-10 or on Penn Treebank.

        So far its logits can travel.
        """
        if self.bptt is not None:
            return self.epochs * (PTB_WORDS // (self.batch * self.bptt))
        return self.epochs * (CIFAR_HALF // self.batch)

    @property
    def text_changes(self) -> dict[str, Any]:
        """The fields that are others for spaces of language models, before the method's own variants.

        What is the method's idea stays: a regularization that is not the usual one, logits without decay.
        """
        changes = {} if self.text is None else dict(self.text.changes)
        if self.regularization != Regularization():
            changes.pop("regularization", None)
        if not self.logit_optimizer.weight_decay and "logit_optimizer" in changes:
            changes["logit_optimizer"] = replace(changes["logit_optimizer"], weight_decay=0.0)
        # What somebody has given to a registered method by `dataclasses.replace` is theirs.
        registered = METHODS.get(self.name)
        own = [name for name in changes if registered and getattr(self, name) != getattr(registered, name)]
        changes = {name: value for name, value in changes.items() if name not in own}
        rule = self.selection
        if isinstance(rule, PerturbationSelection) and rule.optimizer == PerturbationSelection().optimizer:
            changes["selection"] = replace(rule, optimizer=TEXT_TUNING)
        return changes

    def fitted(self, space: str, data: str = "", *, text: bool | None = None) -> Method:
        """With the paper's numbers for a space and a data set.

        For a space of language models every method first gets DARTS' numbers for text, and then what its own variants
        say.

        Args:
            space: its name.
            data: name of the data set.
            text: whether the space is one of language models; None: as its name says.
        """
        on_text = self.text is not None and (self.text.suits(space, data) if text is None else text)
        changes = self.text_changes if on_text else {}
        for variant in self.variants:
            if variant.suits(space, data):
                changes |= variant.changes
                break
        return replace(self, text=None, variants=(), **changes)


DARTS = Method(
    name="darts",
    summary="The baseline: first-order DARTS. Cheap, and known to collapse to skip connections in long searches.",
    reference="Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search. ICLR 2019.",
)

DARTS_2ND = replace(
    DARTS,
    name="darts-2nd",
    summary="DARTS with one unrolled step of the weights (second order): four passes per logit step instead of one.",
    objective=Unrolled(),
)


def _sp_darts(t_sparse: float, p_up: float = 1.0) -> BatchMixed:
    return BatchMixed(t_sparse=t_sparse, p_up=p_up, warm_up=Share(1 / 50))


SP_DARTS = Method(
    name="sp-darts",
    summary="Sparse and smooth mixtures by turns, at the cost of first-order DARTS: use it where collapse is a risk.",
    reference="Zhang, Ding: Robustifying DARTS by Eliminating Information Bypass Leakage. arXiv 2306.06858, 2023.",
    relaxation=_sp_darts(1e-3),
    weight_optimizer=SGD(lr=Constant(0.05)),
    logit_optimizer=Adam(weight_decay=0.0),
    batch=80,
    variants=(
        Variant(
            spaces=("nasbench201",), data=("cifar100",), changes={"relaxation": _sp_darts(1.3e-3, 0.9), "batch": 256}
        ),
        Variant(spaces=("nasbench201", "bench125"), changes={"relaxation": _sp_darts(1.1e-3), "batch": 256}),
        # Sec. V: S1-S4 are searched with each of the four, and the best by validation is kept; one search takes 5e-4.
        Variant(
            spaces=("rdarts-*",),
            changes={
                "relaxation": _sp_darts(5e-4),
                "tries": tuple({"relaxation": _sp_darts(t)} for t in (4e-4, 5e-4, 6e-4, 7e-4)),
            },
        ),
    ),
)

DRNAS = Method(
    name="drnas",
    summary="Learns a Dirichlet distribution over mixtures: random draws explore, and flatten the loss around them.",
    reference="Chen et al.: DrNAS: Dirichlet Neural Architecture Search. ICLR 2021; Wang-2021, Sec. 3.2.",
    relaxation=Dirichlet(),
    terms=(ConcentrationAnchor(weight=1e-3),),
    stages=(FreezeLogits(first=Share(10 / 50)),),
    weight_optimizer=SGD(lr=Cosine(0.1, 0.0)),
    logit_optimizer=Adam(lr=Constant(6e-4), weight_decay=0.0),
)


def _progressive(keep: int, frozen: float) -> tuple[Stage, ...]:
    return (Progressive(first=Share(1 / 2), keep=keep, frozen=Share(frozen)),)


# The two searches of the paper: 25 + 25 epochs at the size of the discrete network on CIFAR-10, and 50 + 50 epochs on
# NAS-Bench-201; 10 epochs of each half are frozen. (The public code searches NAS-Bench-201 with the rates of DARTS.)
DRNAS_PROGRESSIVE = replace(
    DRNAS,
    name="drnas-progressive",
    summary="DrNAS at the size of the final network: few channels take part at first, few candidates later. Slow.",
    reference="Chen et al.: DrNAS: Dirichlet Neural Architecture Search. ICLR 2021 (progressive learning).",
    structure=PartialChannels(shares=(6, 4)),
    supernet=Stack(cells=20, channels=36),
    stages=_progressive(keep=4, frozen=10 / 25),
    variants=(
        Variant(
            spaces=("nasbench201", "bench125"),
            changes={
                "structure": PartialChannels(shares=(4, 2)),
                "supernet": None,
                "stages": _progressive(keep=3, frozen=10 / 50),
                "epochs": 100,
            },
        ),
    ),
)

AMENDED = Method(
    name="amended",
    summary="Amends the second-order gradient of the logits with the Hessian; for searches of 100 epochs and more.",
    reference="Bi et al.: Stabilizing DARTS with Amended Gradient Estimation on Architectural Parameters. 2019.",
    objective=Amended(eta=0.1),
    regularization=AsTrained(),
    logit_std=0.0,
    epochs=100,
    batch=96,
)

SDARTS_RS = replace(
    DARTS,
    name="sdarts-rs",
    summary="Trains the weights under randomly perturbed mixing weights: a flatter loss around them at no cost.",
    reference="Chen, Hsieh: Stabilizing DARTS via Perturbation-based Regularization. ICML 2020.",
    perturbation=UniformPerturbation(),
)

SDARTS_ADV = replace(
    SDARTS_RS,
    name="sdarts-adv",
    summary="Trains the weights under the worst perturbation nearby, sought in seven steps: at several times the cost.",
    perturbation=AdversarialPerturbation(),
)

SGAS = replace(
    DARTS,
    name="sgas",
    summary="Decides edge after edge in the search: what is decided trains alone, and the search becomes cheaper.",
    reference="Li et al.: SGAS: Sequential Greedy Architecture Search. CVPR 2020.",
    stages=(Greedy(),),
    # A cell has 6 edges there, all of which stay; in the DARTS spaces it keeps 8.
    variants=(Variant(spaces=("nasbench201",), changes={"stages": (Greedy(decisions=6, last=Share(34 / 50)),)}),),
    with_perturbation={"stages": (Greedy(rule=Removal()),)},
)

IDARTS = replace(
    DARTS,
    name="idarts",
    summary="Normalizes nodes in the search and selects operations by what they add to others; costs one more pass.",
    reference="Wang et al.: Improving DARTS by Node Normalization and Decorrelation Discretization. TNNLS 2023.",
    structure=NodeNorm(),
    stages=(FreezeLogits(first=Share(15 / 50)),),
    selection=Decorrelation(),
)

# Sec. 4.2 sets H = 25 and E = 90 for the search, all else as in second-order DARTS. That the annealing of Eq. 8 serves
# the search, too, is not said (Sec. 3.4 is about training): weight_optimizer=SGD(lr=ExponentialCosine(0.025, 0.001)).
ALLEGRO = replace(
    DARTS_2ND,
    name="allegro",
    summary="Lets the training loss join the logits' unrolled gradient, ever more: seven passes per logit step.",
    reference="Jin et al.: Enhanced Differentiable Architecture Search Based on Asymptotic Regularization. CMC 2024.",
    objective=Asymptotic(chi_min=0.0, chi_max=0.1, horizon=Share(25 / 90)),
    epochs=90,
)

METHODS = Registry[Method](
    "method",
    "oche.methods",
    {
        m.name: m
        for m in (
            DARTS,
            DARTS_2ND,
            SP_DARTS,
            DRNAS,
            DRNAS_PROGRESSIVE,
            AMENDED,
            SDARTS_RS,
            SDARTS_ADV,
            SGAS,
            IDARTS,
            ALLEGRO,
        )
    },
    made=named_value(Method),
)


# -- composition -------------------------------------------------------------------------------------------------------

PT = "+pt"
"""Behind the name of a method: the same with perturbation-based selection (Wang-2021, Alg. 1)."""


def method(name: str) -> Method:
    """A method by name, such as `sp-darts`, or by recipe, such as `sp-darts/selection=decorrelation`; see `Recipe`.

    Raises:
        InputError: a name is unknown, a number cannot be read, or the parts do not fit together.
    """
    recipe = Recipe.of(name)
    return composed(_based_on(recipe.base), **dict(recipe.parts)) if recipe.parts else _based_on(recipe.base)


def composed(base: str | Method, **parts: Any) -> Method:
    """A method with other parts.

    >>> composed("sp-darts", selection="decorrelation", objective=FirstOrder()).name
    'sp-darts/objective=first-order/selection=decorrelation'

    Args:
        base: the method, or its name.
        **parts: by axis, `structure`, `mixture`, `perturbation`, `objective`, `terms`, `stages` and `selection`: a
            part (of terms and stages a tuple of parts), or text as in a recipe.

    Raises:
        InputError: a name is unknown, a number cannot be read, or the parts do not fit together.
    """
    whole = method(base) if isinstance(base, str) else base
    texts, changes = {}, {}
    for axis, part in parts.items():
        place = named("axis of a method", axis, AXES)
        texts[axis] = part if isinstance(part, str) else place.text(part)
        changes[place.field] = place.read(part) if isinstance(part, str) else part
    recipe = Recipe.of(whole.name).replaced(texts)
    return _changed(whole, str(recipe), changes, f"{recipe.base} with other parts: {recipe.described}.")


def _based_on(name: str) -> Method:
    """A method without parts of another one; `+pt` is a rule, unless a method is registered under the whole name."""
    if name in METHODS or not name.endswith(PT):
        return METHODS.named(name)
    whole = METHODS.named(name.removesuffix(PT))
    changes = whole.with_perturbation
    if changes is None:
        try:
            changes = {"selection": SELECTIONS.named("perturbation")}
        except InputError as error:
            raise InputError(f"method {name!r} selects by perturbation: {error}") from None
    return _changed(whole, name, changes, f"{whole.name}, and then a selection by perturbation.")


def _changed(whole: Method, name: str, changes: Mapping[str, Any], summary: str) -> Method:
    """With other parts, which stay whatever the space, the data and the try."""
    text = whole.text and replace(whole.text, changes=_left(whole.text.changes, changes))
    variants = tuple(replace(v, changes=_left(v.changes, changes)) for v in whole.variants)
    tries = {"tries": _left({"tries": whole.tries}, changes)["tries"]}
    return replace(whole, name=name, summary=summary, text=text, variants=variants, **tries, **changes)


def _left(fields: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of changes where some fields are fixed; tries that have nothing left to change are none."""
    left = {field: value for field, value in fields.items() if field not in fixed}
    if "tries" in left:
        tries = (_left(changes, fixed) for changes in left["tries"])
        left["tries"] = tuple(changes for changes in tries if changes)
    return left
