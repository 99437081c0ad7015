"""Cells with decisions of their own (Amended-DARTS, Sec. 3.1.2)."""

import json
import math
from dataclasses import replace
from random import Random

import pytest
import torch

import oche
from oche.cli import main
from oche.consistency import Regularization
from oche.data.load import load
from oche.data.options import DataOptions
from oche.errors import InputError
from oche.methods import METHODS
from oche.mixture.softmax import Softmax
from oche.nn.choice import kind_of
from oche.nn.network import Stack
from oche.nn.operations import SUPERNET
from oche.nn.supernet import logits, one_hot, weights
from oche.presets import PRESETS, at_preset
from oche.probe.entropy import entropy_by_kind
from oche.select.decorrelation import Decorrelation
from oche.select.scene import Scene
from oche.spaces.cell_space import CellSpace, edge_count, edge_key
from oche.spaces.drawing import draw
from oche.spaces.registry import space, space_from_json
from oche.stages.base import Stage
from oche.stages.edge_search import EdgeSearch, FixedEdges
from oche.task import ImageTask
from oche.training.protocol import protocol

TASK = ImageTask(channels=1, height=8, width=8, classes=3)
STACK = Stack(cells=3, channels=4, reductions=1)
KINDS = ["normal", "reduction", "normal"]


def own(name: str = "rdarts-s3", nodes: int | None = 1, stack: Stack = STACK) -> CellSpace:
    made = space(name, nodes=nodes).replace(shared=False, supernet_stack=stack)
    assert isinstance(made, CellSpace)
    return made


def test_sepskip20_is_the_space_of_the_paper() -> None:
    s = space("sepskip20")
    assert isinstance(s, CellSpace)
    assert not s.shared
    for stack in (s.supernet_stack, s.network_stack):
        assert (stack.cells, stack.channels, stack.reductions) == (20, 36, 2)
    assert {edge.candidates for edge in s.domain.edges.values()} == {("skip_connect", "sep_conv_3x3")}
    assert f"{s.size:.1e}" == "1.9e+93"  # Sec. 3.1.2
    # Two of the inputs of each node, two candidates on each, in each cell.
    assert s.size == math.prod(math.comb(j, 2) * 2**2 for j in range(2, 6)) ** 20
    kinds = [kind_of(key) for key in s.domain.edges]
    assert (kinds.count("normal"), kinds.count("reduction")) == (18 * edge_count(4), 2 * edge_count(4))


def test_each_cell_has_keys_of_its_own() -> None:
    s = own(nodes=2)
    supernet = s.supernet(TASK)
    assert list(logits(supernet)) == list(s.domain.edges)
    assert list(s.domain.edges) == [
        edge_key(f"{kind}/{index}", node, i) for index, kind in enumerate(KINDS) for node in (2, 3) for i in range(node)
    ]
    of_kind = entropy_by_kind(Softmax().mean({k: v.detach() for k, v in logits(supernet).items()}))
    each = edge_count(2) * math.log(3)
    assert of_kind == {"normal": pytest.approx(2 * each), "reduction": pytest.approx(each)}
    assert len(set(own().enumerate())) == own().size == (2**2) ** 3  # two edges in each of three cells


def test_a_decision_reaches_its_cell_alone() -> None:
    s = own()
    supernet = s.supernet(TASK).train()
    mixture = Softmax().mean(logits(supernet))
    x = torch.randn(2, 1, 8, 8)

    def cells(changed: str | None) -> list[torch.Tensor]:
        """What each cell puts out, with another choice in one of them."""
        seen: list[torch.Tensor] = []
        hooks = [cell.register_forward_hook(lambda _, __, out: seen.append(out)) for cell in supernet.body.cells]
        row = {edge_key(changed, 2, 0): torch.tensor([0.0, 0.0, 1.0])} if changed else {}
        supernet.with_weights(weights(supernet), mixture | row, x)
        for hook in hooks:
            hook.remove()
        return seen

    plain, *others = (cells(changed) for changed in (None, *s.deciding))
    for index, other in enumerate(others):
        assert all(torch.equal(a, b) for a, b in zip(plain[:index], other[:index], strict=True))
        assert not torch.equal(plain[index], other[index])


def test_candidates_follow_the_kind_of_the_cell() -> None:
    s = own("rdarts-s1", nodes=None, stack=Stack(cells=4, channels=2, reductions=1))
    shared = space("rdarts-s1")
    assert isinstance(shared, CellSpace)
    for key, edge in s.domain.edges.items():
        kind, _, place = key.split("/")
        assert edge.candidates == shared.domain.edges[f"{kind}/{place}"].candidates
    assert {tuple(map(str, e.candidates)) for e in s.domain.edges.values()} == {*shared.normal, *shared.reduction}


def test_a_one_hot_mixture_is_the_discrete_network() -> None:
    s = own(nodes=2)
    supernet = s.supernet(TASK).double().train()
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    outputs = []
    for seed in range(3):
        architecture = s.sample(Random(seed))
        network = s.network(architecture, TASK, STACK, form=SUPERNET).double().train()
        state, own_state = supernet.body.state_dict(), network.state_dict()
        for name in own_state:
            head, inside, tail = name.partition(".operation.")
            if inside:
                _, cell, _, node, source = head.split(".")
                key = edge_key(f"{KINDS[int(cell)]}/{cell}", int(node) + 2, int(source))
                head = f"{head}.choice.candidates.{architecture.choices[key]}."
            own_state[name] = state[head + tail]
        network.load_state_dict(own_state)
        chosen = {k: s.domain.edges[k].candidates.index(c) for k, c in architecture.items}
        out = supernet.with_weights(weights(supernet), one_hot(supernet, chosen), x)
        torch.testing.assert_close(out, network(x), rtol=1e-12, atol=1e-12)
        outputs.append(tuple(out.flatten().tolist()))
    assert len(set(outputs)) == 3


def test_networks_have_the_cells_that_were_decided() -> None:
    s = own()
    architecture = s.sample(Random(0))
    assert s.fitting(Stack(cells=9, channels=5)) == Stack(cells=3, channels=5, reductions=1)
    # The resolution decides on one reduction here, which is what the space says.
    assert len(s.network(architecture, TASK, Stack(cells=3, channels=5)).cells) == 3
    assert len(s.network(architecture, TASK).cells) == 3
    for other in (Stack(cells=4, channels=4), Stack(cells=3, channels=4, reductions=2)):
        for build in (lambda: s.network(architecture, TASK, other), lambda: s.check_kinds(other, TASK)):  # noqa: B023
            with pytest.raises(InputError, match=r"--train.cells 3 --train.reductions 1"):
                build()
    with pytest.raises(InputError, match="decides 3 cells one by one, but its space has 5"):
        own(stack=Stack(cells=5, channels=4, reductions=1)).network(architecture, TASK)
    shared = space("darts")
    assert shared.fitting(Stack(cells=9, channels=5)) == Stack(cells=9, channels=5)
    with pytest.raises(InputError, match=r"must be known; give supernet_stack=Stack\(cells=8, channels=16, reductions"):
        shared.replace(shared=False)


def test_presets_make_the_space_smaller() -> None:
    small = at_preset(space("sepskip20"), PRESETS["tiny"].supernet)
    assert small.supernet_stack == Stack(cells=3, channels=8, reductions=2)
    assert len(small.domain.edges) == 3 * edge_count(4)


def test_files_say_whether_cells_share() -> None:
    s = own()
    assert space_from_json(s.to_json()) == s
    values = json.loads(space("darts").to_json())
    del values["shared"]  # as oche 0.1 wrote it
    assert space_from_json(json.dumps(values)) == space("darts")
    architecture = s.sample(Random(1))
    assert oche.Architecture.from_json(architecture.to_json()) == architecture
    lines = draw(s, architecture).splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "normal cell 0",
        "reduction cell 1",
        "normal cell 2",
    ]


class Images:
    def __len__(self) -> int:
        return 1

    def epoch(self, epoch: int, start: int = 0):  # type: ignore[no-untyped-def]
        yield torch.randn(12, 1, 8, 8), torch.arange(12) % 3


def test_decorrelation_selects_in_each_cell() -> None:
    s = own(nodes=2)
    supernet = s.supernet(TASK)
    scene = Scene(
        whole=s.domain,
        supernet=supernet,
        relaxation=Softmax(),
        images=Images(),
        loss=torch.nn.functional.cross_entropy,
        metrics={},
        seed=0,
        device=torch.device("cpu"),
    )
    architecture = Decorrelation().select(scene)
    s.domain.check(architecture)


@pytest.mark.parametrize("stage", [FixedEdges(), EdgeSearch()])
def test_edges_can_be_decided_before_the_operations_in_each_cell(stage: Stage) -> None:
    """The search of the paper: amended gradients, in all cells by themselves, consistent with the training."""
    s = own(nodes=2, stack=Stack(cells=2, channels=4, reductions=1))
    found = oche.search(
        s,
        data=load("digits", DataOptions(limit=80)),
        method=replace(METHODS["amended"], stages=(stage,)),
        protocol=replace(protocol("tiny"), validation=0.0, drop_path=0.2, auxiliary=0.4, cutout=2),
        epochs=2,
        batch=16,
    )
    assert found.method.regularization.numbers == Regularization(cutout=2, drop_path=0.2, auxiliary=0.4)
    s.domain.check(found.architecture)
    fixed = {edge_key(cell, node, i) for cell in s.deciding for node in (2, 3) for i in (0, node - 1)}
    assert isinstance(stage, EdgeSearch) or found.architecture.choices.keys() == fixed


def test_a_whole_run_and_a_training_after_it(tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    sizes = ["--data.limit", "200", "--train.channels", "4", "--train.epochs", "1", "--threads", "1"]
    run = ["run", "--space", "sepskip20", "--space.nodes", "1", "--space.channels", "4", "--space.cells", "2"]
    run += ["--space.reductions", "1", "--search.epochs", "1", "--baseline", "random:1"]
    assert main([*run, *sizes, "--run", "a"]) == 0
    assert main(["train", "a", *sizes, "--run", "b"]) == 0
    for name in ("a", "b"):
        assert len(oche.load_network(name).network.cells) == 2
    assert main(["show", "a"]) == 0
    assert "reduction cell 1" in capsys.readouterr().out
    assert main([*run, *sizes, "--train.cells", "3", "--run", "c"]) == 2
    assert "--train.cells 2 --train.reductions 1" in capsys.readouterr().err
    assert main(["train", "a/architecture.json", *sizes, "--run", "d"]) == 0  # its space lies beside it
