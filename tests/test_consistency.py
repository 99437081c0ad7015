"""What a network is trained with, in its search as well (Amended-DARTS, Sec. 2.4 and B.1)."""

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oche
from oche.checkpoint import Checkpoints
from oche.citations import bibliography
from oche.consistency import VARIATIONAL, AsTrained, Consistency, Regularization, full, set_regularization
from oche.data.dataset import Dataset
from oche.data.load import load
from oche.data.options import DataOptions
from oche.errors import InputError
from oche.interrupt import Interrupted
from oche.listeners.base import Listener
from oche.methods import DARTS, METHODS, Method, method
from oche.mixture.softmax import Softmax
from oche.nn.cell import set_drop_path
from oche.nn.drop_edges import DropEdges
from oche.nn.network import AuxiliaryHead, CellNetwork, Stack
from oche.nn.recurrent.regularization import EVALUATION_DROPOUT, PENALTY, ActivationPenalty, VariationalDropout
from oche.nn.supernet import Supernet, initialize_logits, logits, weights
from oche.objective.problem import SupernetProblem
from oche.randomness import frozen, generator
from oche.testing.battery import StopAfter
from oche.training.protocol import TrainingProtocol, protocol

CPU = torch.device("cpu")
TASK = oche.ImageTask(channels=1, height=8, width=8, classes=10)
SPACE = oche.space("rdarts-s2", nodes=1).replace(supernet_stack=Stack(cells=3, channels=4))
RULES = TrainingProtocol(
    name="rules",
    summary="",
    stack=Stack(cells=4, channels=6),
    epochs=1,
    batch=16,
    cutout=3,
    drop_path=0.4,
    auxiliary=0.3,
)


@pytest.fixture(scope="module")
def images() -> Dataset:
    return load("digits", DataOptions(limit=80))


def search(images: Dataset, regularization: Consistency, base: Method = DARTS, **more: Any) -> oche.SearchResult:
    chosen = replace(base, regularization=regularization)
    given = {"epochs": 3, "batch": 16, "validation": 0.0, "protocol": RULES} | more
    return oche.search(given.pop("space", SPACE), data=images, method=chosen, **given)


def bits(result: oche.SearchResult) -> list[Tensor]:
    return [value for name, value in result.supernet.state_dict().items() if "auxiliary" not in name]


def same(a: oche.SearchResult, b: oche.SearchResult) -> bool:
    return all(torch.equal(x, y) for x, y in zip(bits(a), bits(b), strict=True)) and a.found.logits == b.found.logits


# -- where the auxiliary head counts -----------------------------------------------------------------------------------


def headed() -> tuple[Supernet, SupernetProblem, dict[str, Tensor], tuple[Tensor, Tensor]]:
    supernet = SPACE.supernet(TASK, auxiliary=True).double().train()
    initialize_logits(supernet, 1.0, generator(0))
    set_drop_path(supernet, 0.3)
    mixture = {k: v.detach() for k, v in Softmax().mean(logits(supernet)).items()}
    batch = (torch.randn(8, 1, 8, 8, dtype=torch.float64), torch.arange(8))
    return supernet, SupernetProblem(supernet, F.cross_entropy, 7, CPU, auxiliary=0.3), mixture, batch


def test_the_training_loss_has_the_auxiliary_loss_and_the_validation_loss_has_not() -> None:
    supernet, problem, mixture, (x, y) = headed()
    body = supernet.body
    assert isinstance(body, CellNetwork)
    assert body.auxiliary is not None
    # The head's input is what its cell puts out; everything by hand, in the same random state.
    seen: list[Tensor] = []
    hook = body.cells[body.auxiliary_at].register_forward_hook(lambda _, __, out: seen.append(out))
    with frozen(7, CPU), torch.no_grad():
        plain = F.cross_entropy(supernet.with_weights(weights(supernet), mixture, x), y)
    hook.remove()
    with torch.no_grad():
        inner = F.cross_entropy(body.auxiliary(seen[0]), y)
    w = [p.detach().requires_grad_() for p in weights(supernet)]
    train, valid = problem.train(w, mixture, (x, y)), problem.valid(w, mixture, (x, y))
    torch.testing.assert_close(train.detach(), plain + 0.3 * inner)
    torch.testing.assert_close(valid.detach(), plain)
    torch.testing.assert_close(problem.forward(mixture, (x, y))[0].detach(), train.detach())
    of_head = {id(p) for p in body.auxiliary.parameters()}
    at = [i for i, p in enumerate(weights(supernet)) if id(p) in of_head]
    assert at
    for loss, moves in ((train, True), (valid, False)):
        gradients = torch.autograd.grad(loss, w, allow_unused=True, materialize_grads=True)
        assert any(bool(gradients[i].abs().max() > 0) for i in at) == moves


def test_only_the_weight_step_moves_the_statistics_of_the_head() -> None:
    supernet, problem, mixture, batch = headed()
    head = next(m for m in supernet.modules() if isinstance(m, AuxiliaryHead))
    before = {k: v.clone() for k, v in head.named_buffers()}
    problem.train(weights(supernet), mixture, batch)
    problem.loss_at(mixture, batch)
    assert all(torch.equal(v, before[k]) for k, v in head.named_buffers())
    problem.forward(mixture, batch)
    assert not all(torch.equal(v, before[k]) for k, v in head.named_buffers())


# -- a search ----------------------------------------------------------------------------------------------------------


def test_drop_path_rises_linearly_and_the_head_is_trained(images: Dataset) -> None:
    class Watch(Listener):
        def __init__(self) -> None:
            self.seen: list[set[float]] = []

        def epoch(self, record: Any) -> None:
            self.seen.append({m.p for m in made[0].modules() if isinstance(m, DropEdges)})

    made: list[Supernet] = []
    watch, build = Watch(), type(SPACE).supernet

    def remembered(self: Any, *args: Any, **kwargs: Any) -> Supernet:
        made.append(build(self, *args, **kwargs))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(SPACE), "supernet", remembered)
        result = search(images, AsTrained(), listeners=[watch])
    assert [min(seen) for seen in watch.seen] == pytest.approx([0.4 * epoch / 3 for epoch in range(3)])
    assert all(len(seen) == 1 for seen in watch.seen)
    assert result.method.regularization.numbers == Regularization(cutout=3, drop_path=0.4, auxiliary=0.3)
    head = next(m for m in result.supernet.modules() if isinstance(m, AuxiliaryHead))
    assert int(head.features[1].num_batches_tracked) == result.found.steps  # type: ignore[arg-type, index]
    assert head.classifier.weight.shape == (10, 768)


NUMBERS = {"cutout": 3, "drop_path": 0.4, "auxiliary": 0.3}


def test_each_part_changes_a_search_and_none_does_not(images: Dataset) -> None:
    plain = search(images, Regularization())
    found = {name: search(images, Regularization(**{name: value})) for name, value in NUMBERS.items()}  # type: ignore[arg-type]
    assert all(not same(plain, other) for other in found.values())
    assert any(isinstance(m, AuxiliaryHead) for m in found["auxiliary"].supernet.modules())
    # The head alone changes the initial weights of what is built after it; its weight in the loss counts, too.
    assert not same(found["auxiliary"], search(images, Regularization(auxiliary=0.1)))
    # The first epoch has no drop-path yet.
    first = search(images, Regularization(drop_path=0.4), epochs=1)
    assert same(first, search(images, Regularization(), epochs=1))
    # A training without any of it leaves a consistent search as it is.
    assert same(plain, search(images, AsTrained(), protocol=replace(RULES, cutout=0, drop_path=0.0, auxiliary=0.0)))


def test_a_consistent_search_goes_on_bit_for_bit(images: Dataset, tmp_path: Path) -> None:
    whole, interrupts = search(images, AsTrained(), METHODS["amended"]), StopAfter(9)
    cut: Any = Checkpoints(tmp_path, "search", interrupts=interrupts)  # type: ignore[arg-type]
    with pytest.raises(Interrupted):
        search(images, AsTrained(), METHODS["amended"], checkpoints=cut)
    again = search(images, AsTrained(), METHODS["amended"], checkpoints=Checkpoints(tmp_path, "search"))
    assert same(whole, again)
    for a, b in zip(whole.supernet.state_dict().values(), again.supernet.state_dict().values(), strict=True):
        assert torch.equal(a, b)


# -- where the numbers come from ---------------------------------------------------------------------------------------


def test_numbers_come_from_the_training_or_are_ones_own() -> None:
    assert AsTrained().at(protocol("darts-cifar")).numbers == Regularization(cutout=16, drop_path=0.2, auxiliary=0.4)
    assert AsTrained().numbers == Regularization()
    assert AsTrained().at(protocol("darts-cifar")).at(RULES) == AsTrained().at(RULES)
    assert list(bibliography(AsTrained().at(RULES))) == ["amended"]
    own = Regularization(cutout=1)
    assert own.at(RULES) == own.numbers == own
    assert {m.name for m in METHODS.values() if m.regularization != Regularization()} == {"amended"}
    assert method("amended").regularization == AsTrained()
    for wrong in ({"cutout": -1}, {"auxiliary": -0.1}, {"drop_path": 1.0}):
        with pytest.raises(InputError, match="drop_path < 1"):
            Regularization(**wrong)  # type: ignore[arg-type]


def test_on_text_dropout_penalty_and_decay_come_from_the_training() -> None:
    # Sec. 3.3: "unify the weight decay and variational Dropout ratio between search and evaluation".
    rules = protocol("ptb")
    expected = Regularization(auxiliary=1.0, dropout=EVALUATION_DROPOUT, penalty=PENALTY, weight_decay=8e-7)
    assert AsTrained().at(rules).numbers == expected
    assert AsTrained().at(rules).at(RULES).numbers == AsTrained().at(RULES).numbers
    assert AsTrained().at(RULES).numbers.weight_decay is None
    assert method("darts/regularization=none:weight_decay=5e-7").regularization == Regularization(weight_decay=5e-7)
    with pytest.raises(InputError, match="weight_decay=-1"):
        Regularization(weight_decay=-1)


class Reader(nn.Module):
    """What a language model says of its regularization."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.penalty = VariationalDropout(), ActivationPenalty(alpha=2.0)


def test_a_language_model_gets_its_regularization_and_nothing_else_does() -> None:
    reader = Reader()
    set_regularization(reader, Regularization(dropout=EVALUATION_DROPOUT))
    assert (reader.dropout, reader.penalty) == (EVALUATION_DROPOUT, ActivationPenalty(alpha=2.0))
    language = protocol("text-tiny").language
    assert language is not None
    set_regularization(reader, language)
    assert (reader.dropout, reader.penalty) == (language.dropout, language.penalty)
    set_regularization(reader, Regularization())
    assert reader.dropout == language.dropout
    other = nn.Module()
    other.dropout = usual = nn.Dropout(0.5)  # of this name, and of another kind
    set_regularization(other, language)
    assert other.dropout is usual
    assert not hasattr(other, "penalty")


class Mine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = oche.Choice({"skip": nn.Identity(), "tanh": nn.Tanh()})
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x.flatten(1)))


def test_what_has_no_place_is_left_out_or_refused(images: Dataset) -> None:
    staged = oche.space("bench125").replace(supernet_stack=Stack(cells=1, channels=4))
    found = search(images, AsTrained(), space=staged, epochs=1)
    assert found.method.regularization.numbers == Regularization(cutout=3, drop_path=0.4)
    with pytest.raises(InputError, match=r"no place for an auxiliary head.*auxiliary=0"):
        search(images, Regularization(auxiliary=0.4), space=staged)
    assert search(images, AsTrained(), space=Mine(), epochs=1).method.regularization.numbers == Regularization(cutout=3)
    with pytest.raises(InputError, match="a module of your own has none"):
        search(images, Regularization(drop_path=0.1), space=Mine())
    loader = [(torch.randn(8, 1, 8, 8), torch.arange(8))] * 2
    halves: Any = {"train": loader, "valid": list(loader), "task": TASK, "epochs": 1, "protocol": RULES}
    found = oche.search(SPACE, method=replace(DARTS, regularization=AsTrained()), **halves)
    assert found.method.regularization.numbers == Regularization(drop_path=0.4, auxiliary=0.3)
    with pytest.raises(InputError, match="only loaders"):
        oche.search(SPACE, method=replace(DARTS, regularization=Regularization(cutout=2)), **halves)


# -- the second level --------------------------------------------------------------------------------------------------


def test_full_consistency_is_the_size_of_the_training_and_prunes_no_edge(images: Dataset) -> None:
    whole = full(SPACE, RULES)
    assert whole.supernet_stack == RULES.stack
    assert whole.name == "rdarts-s2-whole"
    result = search(images, AsTrained(), space=whole, epochs=1)
    assert result.architecture.choices.keys() == logits(result.supernet).keys()
    # The same depth, width and edges as in the training, without a further word.
    network = whole.network(result.architecture, TASK, RULES.stack, auxiliary=True)
    assert isinstance(result.supernet.body, CellNetwork)
    shapes = [
        [(c.channels_out, [sorted(node) for node in c.nodes]) for c in net.cells]
        for net in (network, result.supernet.body)
    ]
    assert shapes[0] == shapes[1]
    trained = oche.train(result.architecture, data=images, space=result.space, protocol=replace(RULES, validation=0.0))
    assert trained.records

    unshared = SPACE.replace(shared=False, supernet_stack=Stack(cells=3, channels=4, reductions=1))
    assert full(unshared, RULES).supernet_stack == Stack(cells=3, channels=6, reductions=1)
    staged = oche.space("bench125")
    assert full(staged, RULES) == staged.replace(supernet_stack=RULES.stack)
    assert full(whole, RULES) == whole
    assert full(SPACE, RULES).sample(Random(0)) in set(full(SPACE, RULES).enumerate())


def test_a_narrower_supernet_has_proportionally_less_of_the_papers_dropout() -> None:
    half = VARIATIONAL.for_width(150)
    assert VARIATIONAL.dropout is not None
    assert half.dropout == VARIATIONAL.dropout.scaled(0.5)
    assert half.dropout.cell_inputs == 0.375
    assert half.penalty == VARIATIONAL.penalty
    assert VARIATIONAL.for_width(300) == VARIATIONAL.for_width(850) == VARIATIONAL
    own = Regularization(dropout=VARIATIONAL.dropout)  # a user's own numbers are for any width
    assert own.for_width(10) == own
