"""Training protocols for discrete networks, as values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from oche.errors import InputError
from oche.medium import IMAGES, TEXT, Medium
from oche.metrics import Loss
from oche.nn.network import Stack
from oche.nn.recurrent.regularization import EVALUATION_DROPOUT, PENALTY, VariationalDropout
from oche.optim import SGD, OptimizerSettings
from oche.registry import Registry, named_value
from oche.schedule import Constant, Cosine, ExponentialCosine, Share
from oche.spaces.bench125 import STACK
from oche.text.loss import word_loss
from oche.training.averaging import NonMonotone
from oche.training.language import Language

FOR_IMAGES = ("cutout", "auto_augment", "drop_path", "label_smoothing", "balance_classes")
"""What a training on text has no place for."""


@dataclass(frozen=True, kw_only=True)
class TrainingProtocol:
    """How a discrete network is trained.

    Attributes:
        name: the registry name.
        summary: what it is for, in one sentence.
        stack: depth and width of the network.
        epochs: passes over the training part.
        batch: images per step, or lanes of a text.
        optimizer: optimizer and schedule of its rate.
        rate_per_step: whether the rate follows the schedule at every step, or once an epoch as in the public code.
        clip: largest norm of the gradient; None: no clipping.
        cutout: side of the Cutout square in pixels; 0: none.
        auto_augment: whether images are changed by CIFAR-10's AutoAugment policy.
        drop_path: drop-path probability at the end, rising linearly from 0.
        auxiliary: weight of the auxiliary head's loss; 0: no such head. Of a language model's penalty likewise.
        label_smoothing: share of the target that is spread over all classes.
        balance_classes: weight the loss by inverse class frequency.
        validation: share of the training images that chooses the best epoch; 0: all images train, the last epoch
            counts. A text has a validation part of its own, whatever this is.
        keep_best: whether the epoch counts that is best on the validation part; False: the last one, and that part
            only watches.
        averaging: when the mean of the weights begins to count; None: never. It needs a validation part.
        language: the numbers of a training on text; None: it is on images.

    Raises:
        InputError: a number is out of its range, or means nothing for a text.
    """

    name: str
    summary: str
    stack: Stack
    epochs: int
    batch: int
    optimizer: OptimizerSettings = field(default_factory=SGD)
    rate_per_step: bool = True
    clip: float | None = 5.0
    cutout: int = 0
    auto_augment: bool = False
    drop_path: float = 0.0
    auxiliary: float = 0.0
    label_smoothing: float = 0.0
    balance_classes: bool = False
    validation: float = 0.1
    keep_best: bool = True
    averaging: NonMonotone | None = None
    language: Language | None = None

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("cutout", 0), ("auxiliary", 0)):
            if getattr(self, name) < least:
                raise InputError(f"training needs {name} >= {least}, but got {name}={getattr(self, name)}")
        for name in ("drop_path", "label_smoothing", "validation"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"0 <= {name} < 1 must hold, but got {name}={getattr(self, name)}")
        meant = [name for name in FOR_IMAGES if getattr(self, name)] if self.language is not None else []
        if meant:
            raise InputError(
                f"{meant[0]} is for images, but protocol {self.name!r} trains on text; give "
                f"{meant[0]}={type(getattr(self, meant[0]))()}"
            )

    @property
    def medium(self) -> Medium:
        """What its networks read."""
        return IMAGES if self.language is None else TEXT

    def loss(self, labels: Tensor | None, device: torch.device) -> Loss:
        """The training loss on `device`: cross-entropy per image, or per word.

        Args:
            labels: of the training images (`N`), every class among them; None: not known, or a text.
            device: where it is computed.

        Raises:
            InputError: classes shall be balanced, but the labels are not known.
        """
        if self.language is not None:
            return word_loss
        weight = None
        if self.balance_classes:
            if labels is None:
                raise InputError(
                    "balance_classes counts the labels of data=..., but there are only loaders; "
                    "give loss=nn.CrossEntropyLoss(weight=...) instead"
                )
            count = torch.bincount(labels)
            weight = (len(labels) / (len(count) * count)).to(device)  # mean weight 1 over the images
        return nn.CrossEntropyLoss(weight=weight, label_smoothing=self.label_smoothing)


DARTS_CIFAR = TrainingProtocol(
    name="darts-cifar",
    summary="DARTS' published setting on CIFAR-10: 20 cells, 36 channels, 600 epochs on all training images",
    stack=Stack(cells=20, channels=36),
    epochs=600,
    batch=96,
    optimizer=SGD(lr=Cosine(0.025, 0.0), momentum=0.9, weight_decay=3e-4),
    rate_per_step=False,
    clip=5.0,
    cutout=16,
    drop_path=0.2,
    auxiliary=0.4,
    validation=0.0,
)

# AllegroNAS evaluates with the settings of DARTS (Sec. 4.3), but for its annealing (Eq. 8) and its data augmentation,
# for which Sec. 3.5.1 cites AutoAugment. That Cutout stays beside it, as in that paper, is our reading.
ALLEGRO_CIFAR = replace(
    DARTS_CIFAR,
    name="allegro-cifar",
    summary="AllegroNAS' setting on CIFAR-10: that of DARTS with AutoAugment and a rate that falls sooner",
    optimizer=SGD(lr=ExponentialCosine(0.025, 0.0), momentum=0.9, weight_decay=3e-4),
    auto_augment=True,
)

SMALL = TrainingProtocol(
    name="small",
    summary="an hour or so on one GPU: 8 cells, 32 channels, 100 epochs",
    stack=Stack(cells=8, channels=32),
    epochs=100,
    batch=96,
    optimizer=SGD(lr=Cosine(0.05, 0.0), momentum=0.9, weight_decay=3e-4),
    drop_path=0.1,
    auxiliary=0.4,
    validation=0.1,
)

TINY = TrainingProtocol(
    name="tiny",
    summary="a minute on two CPU cores for a thousand small images: 4 cells, 16 channels, 10 epochs",
    stack=Stack(cells=4, channels=16),
    epochs=10,
    batch=64,
    optimizer=SGD(lr=Cosine(0.05, 0.0), momentum=0.9, weight_decay=3e-4),
    validation=0.1,
)

NASBENCH201 = TrainingProtocol(
    name="nasbench201",
    summary="NAS-Bench-201's setting: 15 cells, 16 channels, 200 epochs",
    stack=Stack(cells=15, channels=16),
    epochs=200,
    batch=256,
    optimizer=SGD(lr=Cosine(0.1, 0.0), momentum=0.9, weight_decay=5e-4, nesterov=True),
    clip=None,
    validation=0.0,
)

BENCH125 = TrainingProtocol(
    name="bench125",
    summary="every architecture of the embedded table bench125: 3 cells, 8 channels, 40 epochs on 302 digits",
    stack=STACK,
    epochs=40,
    batch=32,
    optimizer=SGD(lr=Cosine(0.05, 0.0), momentum=0.9, weight_decay=3e-4),
    # Few images train, so that architectures differ; many watch, so that their accuracies are told apart.
    validation=0.79,
    keep_best=False,
)

# DARTS, Sec. 3.2 and A.2.2, and its public code. Its paper trains for 1,600 epochs; the public code's limit is 8,000,
# and so long trains Amended-DARTS (Sec. 3.3). Where the code has no token dropout the paper has 0.1.
PTB = TrainingProtocol(
    name="ptb",
    summary="DARTS' published setting on Penn Treebank: width 850, 1,600 epochs, SGD that begins to average by itself",
    stack=Stack(cells=1, channels=850),
    epochs=1600,
    batch=64,
    optimizer=SGD(lr=Constant(20.0), momentum=0.0, weight_decay=8e-7),
    clip=0.25,
    auxiliary=1.0,
    validation=0.0,
    averaging=NonMonotone(interval=5),
    language=Language(bptt=35, jitter=True, dropout=EVALUATION_DROPOUT, penalty=PENALTY),
)

# A narrow network that trains for a short time learns little by heart, so these two drop less; and they average the
# last third of the epochs at least.
TEXT_SMALL = replace(
    PTB,
    name="text-small",
    summary="tens of minutes on one GPU for Penn Treebank: width 300, 80 epochs",
    stack=Stack(cells=1, channels=300),
    epochs=80,
    averaging=NonMonotone(interval=5, latest=Share(2 / 3)),
    language=Language(
        dropout=VariationalDropout(embedding=0.1, inputs=0.2, cell_inputs=0.5, hidden=0.25, outputs=0.5),
        penalty=PENALTY,
    ),
)

TEXT_TINY = replace(
    PTB,
    name="text-tiny",
    summary="a minute or two on two CPU cores for sixty thousand words: width 128, 12 epochs",
    stack=Stack(cells=1, channels=128),
    epochs=12,
    batch=20,
    averaging=NonMonotone(interval=5, latest=Share(2 / 3)),
    language=Language(
        dropout=VariationalDropout(inputs=0.1, cell_inputs=0.2, hidden=0.1, outputs=0.2), penalty=PENALTY
    ),
)

PROTOCOLS = Registry[TrainingProtocol](
    "training protocol",
    "oche.protocols",
    {p.name: p for p in (DARTS_CIFAR, ALLEGRO_CIFAR, SMALL, TINY, NASBENCH201, BENCH125, PTB, TEXT_SMALL, TEXT_TINY)},
    made=named_value(TrainingProtocol),
)


def protocol(name: str) -> TrainingProtocol:
    """A protocol by name.

    Raises:
        InputError: the name is unknown.
    """
    return PROTOCOLS.named(name)
