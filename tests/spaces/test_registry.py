import json
from pathlib import Path
from typing import Any

import pytest
import torch

from oche.architecture import Architecture
from oche.errors import InputError
from oche.nn.network import CellNetwork, Stack
from oche.spaces.cell_space import edge_key
from oche.spaces.registry import SPACES, known_architectures, space
from oche.task import ImageTask

FACTS = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CIFAR = ImageTask(channels=3, height=32, width=32, classes=10)
IMAGENET = ImageTask(channels=3, height=224, width=224, classes=1000)


def facts(name: str) -> Any:
    """The facts that the spaces were defined from, where they are at hand."""
    path = FACTS / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return json.loads(path.read_text(encoding="utf-8"))


def parameters(network: CellNetwork) -> int:
    return sum(p.numel() for name, p in network.named_parameters() if not name.startswith("auxiliary."))


IMAGES = {name: known for name, known in known_architectures().items() if known.architecture.space == "darts"}


@pytest.mark.parametrize("name", IMAGES)
def test_published_architectures_have_their_published_sizes(name: str) -> None:
    known = IMAGES[name]
    darts = space("darts")
    darts.domain.check(known.architecture)
    with torch.device("meta"):
        cifar = darts.network(known.architecture, CIFAR, Stack(cells=20, channels=36), auxiliary=True)
        imagenet = darts.network(known.architecture, IMAGENET, Stack(cells=14, channels=48, stem="imagenet"))
    assert parameters(cifar) == known.cifar_parameters
    assert parameters(imagenet) == known.imagenet_parameters


def test_the_evaluation_size_of_the_darts_space_is_that_of_the_paper() -> None:
    assert space("darts").network_stack == Stack(cells=20, channels=36)
    assert space("darts").supernet_stack == Stack(cells=8, channels=16)


def test_known_architectures_are_the_published_ones() -> None:
    published = facts("published_architectures.json")["architectures"]
    expected = {}
    for entry in published:
        choices = {}
        for kind, listed in (("normal", entry["normal"]), ("reduction", entry["reduce"])):
            for position, (candidate, source) in enumerate(listed):
                choices[edge_key(kind, 2 + position // 2, source)] = candidate
        sizes = (entry["params_cifar10_C36_20cells"], entry["params_imagenet_C48_14cells"])
        expected[Architecture.of("darts", choices)] = sizes
    known = IMAGES.values()
    assert {k.architecture: (k.cifar_parameters, k.imagenet_parameters) for k in known} == expected


def test_s1_has_the_published_candidates() -> None:
    table = facts("space_s1.json")
    s1 = space("rdarts-s1")
    assert s1.normal == tuple(map(tuple, table["normal"]))
    assert s1.reduction == tuple(map(tuple, table["reduction"]))


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("rdarts-s2", {"skip_connect", "sep_conv_3x3"}),
        ("rdarts-s3", {"none", "skip_connect", "sep_conv_3x3"}),
        ("rdarts-s4", {"noise", "sep_conv_3x3"}),
        (
            "allegro",
            {
                *("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
                *(f"allegro_{kind}_conv_{size}" for kind in ("sep", "dil") for size in ("3x3", "5x5")),
            },
        ),
        (
            "darts",
            {
                "none",
                *("max_pool_3x3", "avg_pool_3x3", "skip_connect"),
                *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
            },
        ),
    ],
)
@pytest.mark.parametrize("nodes", [None, 1, 4])
def test_every_edge_has_the_same_candidates(name: str, candidates: set[str], nodes: int | None) -> None:
    s = space(name, nodes=nodes)
    assert s.nodes == (nodes or 4)
    assert {frozenset(c) for c in (*s.normal, *s.reduction)} == {frozenset(candidates)}
    assert not s.select_none
    assert s.keep == 2


def test_spaces_are_found_by_their_names() -> None:
    assert all(space(name).name == name for name in SPACES)
    with pytest.raises(InputError, match="did you mean 'rdarts-s1"):
        space("rdarts_s1")
    with pytest.raises(InputError, match="own number of nodes"):
        space("rdarts-s1", nodes=2)
    with pytest.raises(InputError, match="nodes >= 1"):
        space("darts", nodes=0)
