"""The mixtures and the perturbations by name, each with the numbers of its paper."""

from __future__ import annotations

from oche.mixture.base import Relaxation
from oche.mixture.batch_mixed import BatchMixed
from oche.mixture.dirichlet import Dirichlet
from oche.mixture.perturbation import AdversarialPerturbation, Perturbation, UniformPerturbation, Unperturbed
from oche.mixture.softmax import Softmax
from oche.registry import Registry, part_of
from oche.schedule import Share

MIXTURES = Registry[Relaxation](
    "mixture",
    "oche.mixtures",
    {
        "softmax": Softmax(),
        "batch-mixed": BatchMixed(t_sparse=1e-3, warm_up=Share(1 / 50)),
        "dirichlet": Dirichlet(),
    },
    made=part_of(Relaxation),
)

PERTURBATIONS = Registry[Perturbation](
    "perturbation",
    "oche.perturbations",
    {"none": Unperturbed(), "uniform": UniformPerturbation(), "adversarial": AdversarialPerturbation()},
    made=part_of(Perturbation),
)
