"""oche: differentiable neural architecture search that does not collapse.

Names are imported when they are first used, so that `import oche` costs little more than what is used of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from oche.version import __version__ as __version__

if TYPE_CHECKING:
    from oche.api import SearchResult as SearchResult
    from oche.api import search as search
    from oche.api import train as train
    from oche.architecture import Architecture as Architecture
    from oche.best import BestSearch as BestSearch
    from oche.best import search_best as search_best
    from oche.data.augment import Augment as Augment
    from oche.data.dataset import Dataset as Dataset
    from oche.data.dataset import Part as Part
    from oche.data.options import DataOptions as DataOptions
    from oche.data.prepare import Normalize as Normalize
    from oche.data.read import load as load
    from oche.errors import InputError as InputError
    from oche.listeners.base import Job as Job
    from oche.listeners.base import Listener as Listener
    from oche.listeners.tensorboard import TensorBoard as TensorBoard
    from oche.methods import Method as Method
    from oche.metrics import Metric as Metric
    from oche.nn.choice import Choice as Choice
    from oche.nn.choice import InputChoice as InputChoice
    from oche.nn.choice import ValueChoice as ValueChoice
    from oche.nn.network import Stack as Stack
    from oche.optim import SGD as SGD
    from oche.optim import Adam as Adam
    from oche.optim import AdamW as AdamW
    from oche.runs.network import load_network as load_network
    from oche.schedule import Cosine as Cosine
    from oche.spaces.registry import known_architectures as known_architectures
    from oche.spaces.registry import space as space
    from oche.spaces.space import Space as Space
    from oche.task import ImageTask as ImageTask
    from oche.task import TextTask as TextTask
    from oche.text.corpus import Corpus as Corpus
    from oche.text.network import TextNetwork as TextNetwork
    from oche.training.protocol import TrainingProtocol as TrainingProtocol
    from oche.training.trainer import Trained as Trained


_HOME = {
    "Cosine": "oche.schedule",
    "AdamW": "oche.optim",
    "Adam": "oche.optim",
    "SGD": "oche.optim",
    "Normalize": "oche.data.prepare",
    "Augment": "oche.data.augment",
    "Part": "oche.data.dataset",
    "Dataset": "oche.data.dataset",
    "DataOptions": "oche.data.options",
    "Architecture": "oche.architecture",
    "BestSearch": "oche.best",
    "Choice": "oche.nn.choice",
    "ImageTask": "oche.task",
    "Corpus": "oche.text.corpus",
    "TextNetwork": "oche.text.network",
    "TextTask": "oche.task",
    "InputChoice": "oche.nn.choice",
    "InputError": "oche.errors",
    "Job": "oche.listeners.base",
    "Listener": "oche.listeners.base",
    "Method": "oche.methods",
    "Metric": "oche.metrics",
    "SearchResult": "oche.api",
    "Space": "oche.spaces.space",
    "Stack": "oche.nn.network",
    "TensorBoard": "oche.listeners.tensorboard",
    "Trained": "oche.training.trainer",
    "TrainingProtocol": "oche.training.protocol",
    "ValueChoice": "oche.nn.choice",
    "known_architectures": "oche.spaces.registry",
    "load": "oche.data.read",
    "load_network": "oche.runs.network",
    "search": "oche.api",
    "search_best": "oche.best",
    "space": "oche.spaces.registry",
    "train": "oche.api",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'oche' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
