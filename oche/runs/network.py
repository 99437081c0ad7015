"""A trained network as a file: how to build it, how to make its input, its weights."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from oche.architecture import Architecture
from oche.data.dataset import Dataset
from oche.data.prepare import Normalize
from oche.errors import InputError
from oche.files import write_whole
from oche.nn.network import ImageNetwork, Stack
from oche.nn.recurrent.language_model import LanguageModel
from oche.spaces.registry import space_from_json
from oche.spaces.space import Space
from oche.task import ImageTask, TextTask
from oche.text.corpus import Corpus
from oche.text.network import TextNetwork
from oche.training.trainer import Trained

FORMAT = 1
NAME = "network.pt"

FOR_TRAINING = ("auxiliary.", "memory.")
"""Beginnings of the names of what has served its purpose: an auxiliary head, the state between windows of a text."""


class PixelNetwork(nn.Module):
    """A trained network behind its normalization: raw pixels to class scores.

    Attributes:
        classes: names of the classes, in the order of the scores.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: ImageNetwork, normalize: Normalize, classes: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.classes = tuple(classes)
        self.register_buffer("mean", torch.tensor(normalize.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(normalize.std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """`N x C x H x W`, in the units of the training images (0 to 255 for uint8), to `N x classes`."""
        return self.network((images.float() - self.mean) / self.std)  # type: ignore[no-any-return]


def load_network(run: str | Path, device: str | torch.device = "cpu") -> PixelNetwork | TextNetwork:
    """The trained network of a run, in evaluation mode: of images, or of text.

    Raises:
        InputError: the run has no readable network.
    """
    path = Path(run) / NAME
    try:
        saved: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        if saved["format"] != FORMAT:
            raise InputError(f"it has format {saved['format']!r}, but this oche reads format {FORMAT}")
        loaded = _built(saved)
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, UnpicklingError, InputError) as error:
        raise InputError(f"cannot read a network from {str(path)!r}: {error}") from None
    return loaded.to(device).eval()


def _built(saved: Mapping[str, Any]) -> PixelNetwork | TextNetwork:
    text = "vocabulary" in saved
    task = TextTask(**saved["task"]) if text else ImageTask(**saved["task"])
    space, stack = space_from_json(saved["space"]), Stack(**saved["stack"])
    network = space.network(Architecture.from_json(saved["architecture"]), task, stack)
    found = network.load_state_dict(saved["weights"], strict=False)
    wrong = [name for name in (*found.missing_keys, *found.unexpected_keys) if not name.startswith(FOR_TRAINING)]
    if wrong:
        raise InputError(f"its weights are not those of its architecture: {wrong[0]}; bring the file back from a copy")
    if isinstance(network, LanguageModel):
        return TextNetwork(network, saved["vocabulary"])
    return PixelNetwork(network, Normalize(tuple(saved["mean"]), tuple(saved["std"])), saved["classes"])


def save_network(
    run: Path, trained: Trained, architecture: Architecture, space: Space, stack: Stack, dataset: Dataset | Corpus
) -> None:
    """Write a network without what only its training needs.

    Raises:
        InputError: it cannot be written.
    """
    buffer = io.BytesIO()
    weights = {k: v.cpu() for k, v in trained.model.state_dict().items() if not k.startswith(FOR_TRAINING)}
    torch.save(
        {
            "format": FORMAT,
            "space": space.to_json(),
            "architecture": architecture.to_json(),
            "task": asdict(dataset.task),
            "stack": asdict(stack),
            "weights": weights,
            **_input(trained, dataset),
        },
        buffer,
    )
    write_whole(run / NAME, buffer.getbuffer())


def _input(trained: Trained, dataset: Dataset | Corpus) -> dict[str, Any]:
    """How input is made of images or words."""
    if isinstance(dataset, Corpus):
        return {"vocabulary": list(dataset.vocabulary)}
    assert trained.normalize is not None  # the images were of a data set
    return {
        "classes": list(dataset.classes),
        "mean": list(trained.normalize.mean),
        "std": list(trained.normalize.std),
    }
