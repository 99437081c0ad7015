from itertools import islice
from random import Random

import pytest
import torch

from oche.errors import InputError
from oche.methods import METHODS
from oche.needs import KEPT_INPUTS, SHARED_LOGITS
from oche.nn.network import Stack
from oche.nn.recurrent.language_model import LanguageModel
from oche.nn.structure import NodeNorm
from oche.nn.supernet import logits, weights
from oche.probe.paths import on_paths
from oche.spaces.drawing import draw
from oche.spaces.recurrent import RecurrentSpace, recurrent
from oche.spaces.registry import known_architectures, space, space_from_json
from oche.task import ImageTask, TextTask

PTB = TextTask(vocabulary=10_000)
TASK = TextTask(vocabulary=7)
KNOWN = {name: known for name, known in known_architectures().items() if known.ptb_parameters is not None}


def test_it_is_the_space_of_darts() -> None:
    s = space("recurrent")
    assert s == recurrent()
    assert len(s.domain.edges) == 36
    # Node j chooses one of j states and one of four activations.
    assert s.size == 4**8 * 40_320
    assert s.domain.edges["recurrent/8<-0"].candidates == ("none", "tanh", "relu", "sigmoid", "identity")
    assert (s.supernet_stack.channels, s.network_stack.channels) == (300, 850)
    assert s.offers == {KEPT_INPUTS, SHARED_LOGITS}
    assert s.kinds(s.supernet_stack, PTB) == ["recurrent"]
    s.check_kinds(Stack(cells=1, channels=20), PTB)


def test_a_supernet_has_logits_for_every_edge_and_weights_for_every_node() -> None:
    with torch.device("meta"):
        net = space("recurrent").supernet(PTB)
    assert {key: len(value) for key, value in logits(net).items()} == dict.fromkeys(space("recurrent").domain.edges, 5)
    assert sum(w.numel() for w in weights(net)) == 10_000 * 301 + 600 * 600 + 8 * 300 * 600


@pytest.mark.parametrize("name", KNOWN)
def test_published_cells_have_their_published_size(name: str) -> None:
    known, s = KNOWN[name], space("recurrent")
    s.domain.check(known.architecture)
    with torch.device("meta"):
        network = s.network(known.architecture, PTB)
    count = sum(w.numel() for w in network.parameters())
    assert count == known.ptb_parameters
    assert round(count / 1e6) == 23  # Table 2 of the paper says 23 M
    assert isinstance(network, LanguageModel)


def test_published_cells_are_those_of_the_public_code() -> None:
    # rnn/genotypes.py: (activation, source) of each node.
    v1 = "relu 0 relu 1 tanh 2 relu 3 relu 4 identity 1 relu 5 relu 1"
    v2 = "sigmoid 0 relu 1 relu 1 identity 1 tanh 2 sigmoid 5 tanh 3 relu 5"
    for name, text in (("darts-rnn-v1", v1), ("darts-rnn-v2", v2)):
        cells = space("recurrent").cells(KNOWN[name].architecture)
        assert list(cells) == ["recurrent"]
        found = " ".join(f"{candidate} {i}" for node in cells["recurrent"] for i, candidate in node.items())
        assert found == text


def test_architectures_are_drawn_changed_and_listed() -> None:
    s = space("recurrent", nodes=2)
    assert s.size == len(set(s.enumerate())) == 4 * 8
    drawn = {s.sample(Random(i)) for i in range(400)}
    assert drawn == set(s.enumerate())
    for architecture in islice(s.enumerate(), 5):
        assert len(list(s.neighbours(architecture))) == 3 + 7
        assert s.mutate(architecture, Random(0)) in drawn


def test_it_goes_through_json() -> None:
    for s in (
        recurrent(),
        recurrent(2).replace(candidates=("tanh", "identity"), network_stack=Stack(cells=1, channels=9)),
    ):
        again = space_from_json(s.to_json())
        assert again == s
        assert isinstance(again, RecurrentSpace)


def test_a_drawing_says_what_each_node_reads() -> None:
    assert draw(space("recurrent"), KNOWN["darts-rnn-v2"].architecture).splitlines() == [
        "recurrent cell",
        "  node 1 ◀── sigmoid ─── x, h",
        "  node 2 ◀── relu ────── node 1",
        "  node 3 ◀── relu ────── node 1",
        "  node 4 ◀── identity ── node 1",
        "  node 5 ◀── tanh ────── node 2",
        "  node 6 ◀── sigmoid ─── node 5",
        "  node 7 ◀── tanh ────── node 3",
        "  node 8 ◀── relu ────── node 5",
    ]


def test_every_node_is_on_a_path() -> None:
    s = space("recurrent")
    architecture = KNOWN["darts-rnn-v1"].architecture
    found = on_paths(architecture, s.domain)
    assert found is not None
    assert sorted(map(str, found["recurrent"])) == sorted(str(c) for _, c in architecture.items)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": 0}, "nodes >= 1"),
        ({"candidates": ("tanh", "gelu")}, "gelu"),
        ({"candidates": ("tanh", "tanh")}, "must differ"),
        ({"candidates": ("none",)}, "may be selected"),
        ({"candidates": ()}, "may be selected"),
        ({"supernet_stack": Stack(cells=2, channels=4)}, r"cells=1, channels=4"),
        ({"network_stack": Stack(cells=1, channels=4, reductions=1)}, "without reductions"),
    ],
)
def test_what_it_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recurrent().replace(**changes)


def test_it_reads_text_only_and_others_images_only() -> None:
    s, images = space("recurrent"), ImageTask(channels=1, height=8, width=8, classes=3)
    architecture = s.sample(Random(0))
    for build in (
        lambda: s.supernet(images),
        lambda: s.network(architecture, images),
        lambda: s.kinds(s.supernet_stack, images),
    ):
        with pytest.raises(InputError, match="is for text"):
            build()
    for name in ("darts", "nasbench201"):
        other = space(name)
        some = other.sample(Random(0))
        for build in (
            lambda: other.supernet(TASK),  # noqa: B023
            lambda: other.network(some, TASK),  # noqa: B023
            lambda: other.kinds(other.supernet_stack, TASK),  # noqa: B023
        ):
            with pytest.raises(InputError, match="is for images"):
                build()


def test_structures_of_image_networks_are_refused() -> None:
    with pytest.raises(InputError, match="plain"):
        space("recurrent").supernet(TASK, NodeNorm())
    with pytest.raises(InputError, match="one cell"):
        space("recurrent").network(space("recurrent").sample(Random(0)), TASK, Stack(cells=3, channels=4))
    refused = {name for name in METHODS if _refused(name)}
    assert refused == {"drnas-progressive", "idarts"}


def _refused(name: str) -> bool:
    try:
        METHODS[name].check(space("recurrent"))
    except InputError:
        return True
    return False
