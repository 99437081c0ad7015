from dataclasses import FrozenInstanceError
from random import Random

import pytest
import torch

from oche.architecture import Architecture
from oche.errors import InputError
from oche.mixture.softmax import Softmax
from oche.nn.choice import Choice
from oche.nn.network import Stack
from oche.nn.supernet import logits
from oche.spaces.cell_space import CellSpace, edge_count, edge_key
from oche.spaces.registry import SPACES, space, space_from_json
from oche.task import ImageTask

TASK = ImageTask(channels=1, height=8, width=8, classes=2)
SKIP = ("skip_connect",)


def tiny(**changes: object) -> CellSpace:
    values = {"name": "tiny", "normal": (SKIP, SKIP), "reduction": (SKIP, SKIP), "nodes": 1} | changes
    return CellSpace(**values)  # type: ignore[arg-type]


CELL_SPACES = [name for name in SPACES if isinstance(space(name), CellSpace)]


@pytest.mark.parametrize("name", CELL_SPACES)
def test_a_space_is_a_value(name: str) -> None:
    s = space(name)
    assert s == space(name)
    assert hash(s) == hash(space(name))
    assert s.name == name
    with pytest.raises(FrozenInstanceError):
        s.keep = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", CELL_SPACES)
def test_json_gives_back_an_equal_space(name: str) -> None:
    changed = space(name).replace(
        keep=1, select_none=True, supernet_stack=Stack(cells=3, channels=5, reductions=1, stem="imagenet")
    )
    for s in (space(name), changed, space(name).replace(keep=None)):
        again = space_from_json(s.to_json())
        assert again == s
        assert hash(again) == hash(s)
        assert again.domain == s.domain


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"name": "x"}', tiny().to_json().replace('"nodes"', '"node"'), '{"normal": 1}']
)
def test_broken_json_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        space_from_json(text)


def test_bad_values_in_json_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'skip_connect'"):
        space_from_json(tiny().to_json().replace("skip_connect", "skip_conect"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": 0}, "nodes >= 1"),
        ({"nodes": 2}, r"2 nodes has 5 edges, but normal lists candidates for 2"),
        ({"reduction": (SKIP,)}, r"1 nodes has 2 edges, but reduction lists candidates for 1"),
        ({"keep": 0}, "keep"),
        ({"keep": 3}, "keep"),
        ({"normal": (SKIP, ("skip",))}, "unknown candidate operation 'skip'; did you mean 'skip_connect'"),
        ({"normal": (SKIP, ("none",))}, r"may be selected.*none"),
        ({"normal": (SKIP, ())}, "may be selected"),
        ({"normal": (SKIP, ("skip_connect", "skip_connect"))}, "skip_connect"),
    ],
)
def test_impossible_spaces_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny(**changes)


def test_none_alone_is_possible_where_it_may_be_selected() -> None:
    s = tiny(normal=(("none",), SKIP), select_none=True)
    assert s.size == 1


def test_replace_changes_what_is_named_and_checks_it() -> None:
    s = space("darts")
    assert s.replace(keep=1) == CellSpace(
        name=s.name,
        normal=s.normal,
        reduction=s.reduction,
        nodes=s.nodes,
        keep=1,
        select_none=s.select_none,
        supernet_stack=s.supernet_stack,
        network_stack=s.network_stack,
    )
    assert s.keep == 2
    assert s.replace(keep=1).domain.size < s.domain.size
    with pytest.raises(InputError, match="nodes"):
        s.replace(nodes=3)


def test_edges_run_node_by_node_and_input_by_input() -> None:
    keys = list(space("darts").domain.edges)
    expected = [
        edge_key(kind, node, i) for kind in ("normal", "reduction") for node in range(2, 6) for i in range(node)
    ]
    assert keys == expected
    assert len(keys) == 2 * edge_count(4) == 28


def test_candidates_stand_on_the_edges_they_are_listed_for() -> None:
    s = space("rdarts-s1").replace(supernet_stack=Stack(cells=4, channels=2, reductions=1))
    supernet = s.supernet(TASK)
    listed = dict(zip(s.domain.edges, (*s.normal, *s.reduction), strict=True))
    found = {m.key: tuple(m.candidates) for m in supernet.modules() if isinstance(m, Choice)}
    assert found == listed
    assert {key: edge.candidates for key, edge in s.domain.edges.items()} == listed
    assert {key: len(value) for key, value in logits(supernet).items()} == {k: len(c) for k, c in listed.items()}


def test_only_reduction_cells_halve_and_only_from_the_cell_inputs() -> None:
    s = space("rdarts-s3", nodes=2)
    stack = Stack(cells=2, channels=4, reductions=1)
    supernet = s.replace(supernet_stack=stack).supernet(TASK)
    mixture = Softmax().mean(logits(supernet))
    for cell, kind in zip(supernet.body.cells, ("normal", "reduction"), strict=True):
        x = torch.ones(1, cell.channels_out // s.nodes, 8, 8)
        for node in cell.nodes:
            for source, edge in node.items():
                halves = kind == "reduction" and int(source) < 2
                assert edge(x, mixture).shape[-2:] == ((4, 4) if halves else (8, 8))


def test_networks_have_the_stack_that_is_asked_for() -> None:
    s = space("rdarts-s2", nodes=1)
    architecture = s.sample(Random(0))
    with torch.device("meta"):
        usual = s.network(architecture, ImageTask(channels=3, height=32, width=32, classes=10))
        small = s.network(architecture, TASK, Stack(cells=2, channels=4))
    assert (len(usual.cells), usual.stem.channels_out[0]) == (20, 3 * 36)
    assert (len(small.cells), small.stem.channels_out[0]) == (2, 3 * 4)
    assert usual.classifier.out_features == 10


def test_a_network_needs_an_architecture_of_its_space() -> None:
    s = space("rdarts-s2")
    with pytest.raises(InputError, match="'rdarts-s3'"):
        s.network(space("rdarts-s3").sample(Random(0)), TASK)
    half = Architecture.of(s.name, {k: v for k, v in s.sample(Random(0)).items if k.startswith("normal/")})
    with pytest.raises(InputError, match=r"reduction.*must be kept"):
        s.network(half, TASK, Stack(cells=2, channels=4))
    # Without a reduction cell its decisions are not needed.
    network = s.network(half, TASK, Stack(cells=2, channels=4, reductions=0))
    assert network(torch.randn(2, 1, 8, 8)).shape == (2, 2)


def test_the_network_has_the_operations_of_the_architecture() -> None:
    s = space("darts")
    architecture = s.sample(Random(3))
    cells = s.cells(architecture)
    flat = {
        edge_key(kind, node, i): candidate
        for kind, nodes in cells.items()
        for node, inputs in enumerate(nodes, start=2)
        for i, candidate in inputs.items()
    }
    assert flat == dict(architecture.choices)
    network = s.network(architecture, TASK, Stack(cells=2, channels=2))
    for cell, kind in zip(network.cells, ("normal", "reduction"), strict=True):
        assert [{int(i) for i in node} for node in cell.nodes] == [set(inputs) for inputs in cells[kind]]


def test_shortcuts_are_those_of_the_domain() -> None:
    s = space("rdarts-s2", nodes=1)
    a = s.sample(Random(0))
    assert a == s.domain.sample(Random(0))
    assert s.mutate(a, Random(1)) == s.domain.mutate(a, Random(1))
    assert list(s.neighbours(a)) == list(s.domain.neighbours(a))
    assert list(s.enumerate()) == list(s.domain.enumerate())
    assert s.size == s.domain.size
