"""`oche.search` and `oche.train` as a user calls them."""

import math
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import oche
from oche.api import LARGEST_RATE
from oche.data.augment import Augment
from oche.data.dataset import Dataset, Part
from oche.data.options import DataOptions
from oche.data.split import holdout
from oche.errors import InputError
from oche.methods import DARTS, METHODS, Method
from oche.nn.network import CellNetwork, Stack
from oche.nn.supernet import logits
from oche.optim import SGD, AdamW
from oche.presets import PRESETS, at_preset
from oche.schedule import Constant, Cosine
from oche.spaces.registry import space
from oche.spaces.space import Space
from oche.stages.base import EpochPlan
from oche.training.protocol import TrainingProtocol

STACK = Stack(cells=2, channels=4)
SPACE = space("rdarts-s3", nodes=1).replace(supernet_stack=STACK)
PROTOCOL = TrainingProtocol(
    name="p",
    summary="",
    stack=STACK,
    epochs=2,
    batch=8,
    optimizer=SGD(lr=Cosine(0.1), momentum=0.9, weight_decay=0.0),
    validation=0.25,
)


def part(count: int, classes: int = 2) -> Part:
    """Noise whose brightness tells the class; the first class is as frequent as all others together."""
    labels = torch.arange(count) % (2 * classes - 2)
    labels[labels >= classes] = 0
    images = 60 * torch.rand(count, 1, 8, 8) + (180 / (classes - 1)) * labels[:, None, None, None]
    return Part(images.to(torch.uint8), labels)


def toy(test: int = 16) -> Dataset:
    torch.manual_seed(11)
    train = part(48, 3)
    torch.manual_seed(test)
    return Dataset("toy", train, part(test, 3), ("dark", "grey", "bright"), Augment(crop_padding=1, flip=True))


TOY = toy()


class Block1d(nn.Module):
    """Choices over a 1-D signal; `outputs` numbers for each sample."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 4, 3, padding=1)
        self.block = oche.Choice(
            {"conv3": nn.Conv1d(4, 4, 3, padding=1), "conv5": nn.Conv1d(4, 4, 5, padding=2), "skip": nn.Identity()}
        )
        self.width = oche.ValueChoice([2, 4])
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(4, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.block(torch.relu(self.stem(x))))
        return self.head(self.drop(self.width.width(y).mean(dim=2)))


def loader(x: Tensor, y: Tensor, batch: int = 8) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(x, y), batch_size=batch, shuffle=True)


def regression(count: int = 16) -> DataLoader[tuple[Tensor, ...]]:
    x = torch.randn(count, 1, 10)
    return loader(x, x.abs().mean(dim=2))


def multi_label(count: int = 16) -> DataLoader[tuple[Tensor, ...]]:
    x = torch.randn(count, 1, 10)
    y = torch.stack([x.mean(dim=(1, 2)) > 0, x[:, 0, 0] > 0, x.amax(dim=(1, 2)) > 1.5], dim=1)
    return loader(x, y.float())


def exact_match(output: Tensor, target: Tensor) -> Tensor:
    return ((output > 0) == (target > 0)).all(dim=1).float().mean()


def mean_squared_error(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().mean()


def plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without what the clock says."""
    return {k: v for k, v in record.items() if k != "seconds"}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def checked(result: oche.SearchResult) -> oche.SearchResult:
    """What every search must bring."""
    found = result.found
    result.space.domain.restrict(logits(result.supernet).keys()).check(result.architecture)
    assert result.architecture == found.architecture
    assert result.verdict == found.verdict
    assert all(math.isfinite(r[name]) for r in found.records for name in r if name.endswith("_loss"))
    assert all(found.logits[0][key] != found.logits[-1][key] for key in found.logits[0])
    assert found.steps == found.records[-1]["steps"]
    assert found.stopped is None
    assert str(result.verdict)
    return result


# -- search ------------------------------------------------------------------------------------------------------------


def for_method(name: str) -> Space:
    """The space with the few channels more that a method may ask for."""
    return at_preset(SPACE, SPACE.supernet_stack, METHODS[name].fitted(SPACE.name))


def planned_steps(method: Method, epochs: int, batch: int, images: int) -> int:
    """Of a search whose stages may let the batch grow, at most to all images of a half."""
    steps = 0
    for epoch in range(epochs):
        plan = EpochPlan(relaxation=method.relaxation, end=epochs)
        for stage in method.stages:
            plan = stage.plan(plan, epoch, epochs)
        steps += images // min(batch + plan.more, images)
    return steps


@pytest.mark.parametrize("method", METHODS)
def test_images_by_a_data_set(method: str) -> None:
    searched = for_method(method)
    result = checked(oche.search(searched, data=TOY, method=method, epochs=2, batch=8, validation=0))
    assert result.found.steps == planned_steps(result.method, 2, 8, 24)
    assert result.space == searched
    assert result.method.name == method
    assert result.verdict.validation is not None
    assert result.verdict.validation[0] == "accuracy"


def test_digits() -> None:
    digits = oche.load("digits", DataOptions(limit=200))
    small = space("darts", nodes=1).replace(supernet_stack=STACK)
    result = checked(oche.search(small, data=digits, epochs=1, batch=16))
    assert set(logits(result.supernet)) == set(small.domain.edges)
    trained = oche.train(result.architecture, data=digits, space=small, protocol=replace(PROTOCOL, epochs=1))
    assert trained.model(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    assert set(trained.test) == {"loss", "accuracy"}


def test_a_space_by_its_name_has_the_size_of_the_preset() -> None:
    result = checked(oche.search("rdarts-s2", data=TOY, epochs=1, batch=16, device="cpu"))
    assert result.space == space("rdarts-s2").replace(supernet_stack=PRESETS["tiny"].supernet)


def test_multi_label_classification_in_a_users_module() -> None:
    result = checked(
        oche.search(
            Block1d(3),
            train=multi_label(),
            valid=multi_label(),
            loss=F.binary_cross_entropy_with_logits,
            metrics={"exact": oche.Metric(exact_match)},
            epochs=2,
        )
    )
    assert set(result.architecture.choices) == {"block", "width"}
    assert result.verdict.validation == ("exact", result.found.records[-1]["valid_exact"])
    assert result.verdict.parameter_free is None


def test_regression_on_one_dimensional_signals() -> None:
    torch.manual_seed(0)
    train, valid = regression(32), regression(32)
    result = checked(
        oche.search(
            Block1d(1),
            train=train,
            valid=valid,
            loss=mean_squared_error,
            metrics={"error": oche.Metric(mean_squared_error, higher_is_better=False)},
            method=replace(DARTS, weight_optimizer=SGD(lr=Constant(0.05))),
            epochs=8,
        )
    )
    errors = [record["valid_error"] for record in result.found.records]
    assert errors == pytest.approx([record["valid_loss"] for record in result.found.records])
    assert errors[-1] < errors[0]
    network = result.space.network(result.architecture, weights_of=result.supernet)  # type: ignore[call-arg]
    trained = oche.train(
        network,
        train=train,
        valid=valid,
        test=valid,
        loss=mean_squared_error,
        metrics={"error": oche.Metric(mean_squared_error, higher_is_better=False)},
        protocol=replace(PROTOCOL, epochs=5),
    )
    errors = [record["valid_error"] for record in trained.records]
    assert trained.best_epoch == 1 + errors.index(min(errors))
    assert trained.test == pytest.approx(trained.validation)


def test_cell_spaces_take_a_users_loaders() -> None:
    x, y = torch.randn(16, 1, 8, 8), torch.arange(16) % 3
    result = checked(oche.search(SPACE, train=loader(x, y), valid=loader(x, y), task=TOY.task, epochs=1))
    assert "valid_accuracy" in result.found.records[0]  # cross-entropy and accuracy are the defaults


def searched(what: str, outer: int, seed: int) -> oche.SearchResult:
    """One of several searches, after the caller has drawn some random numbers."""
    if what == "module":
        torch.manual_seed(0)
        module, data = Block1d(2), TensorDataset(torch.randn(24, 1, 10), torch.arange(24) % 2)
        halves = {"train": DataLoader(data, 8, shuffle=True), "valid": DataLoader(data, 8, shuffle=True)}
        torch.manual_seed(outer)
        return oche.search(module, **halves, method="darts-2nd", epochs=2, seed=seed)  # type: ignore[arg-type]
    torch.manual_seed(outer)
    searched = space(what, nodes=1).replace(supernet_stack=STACK)
    return oche.search(searched, data=TOY, epochs=2, batch=8, seed=seed)


@pytest.mark.parametrize("what", ["rdarts-s3", "rdarts-s4", "module"])
def test_a_seed_fixes_every_bit_of_a_search(what: str) -> None:
    first, again, other = (searched(what, outer, seed) for outer, seed in ((1, 0), (2, 0), (1, 1)))
    assert first.architecture == again.architecture
    assert first.found.logits == again.found.logits
    assert [plain(r) for r in first.found.records] == [plain(r) for r in again.found.records]
    assert same(first.supernet.state_dict(), again.supernet.state_dict())
    assert first.found.logits != other.found.logits
    assert not same(first.supernet.state_dict(), other.supernet.state_dict())


@pytest.mark.parametrize("what", ["rdarts-s4", "module"])
def test_a_search_leaves_the_callers_random_numbers_alone(what: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    searched(what, 3, 0)
    assert torch.equal(torch.rand(4), expected)


def test_a_search_never_sees_a_test_image() -> None:
    results = [oche.search(SPACE, data=data, epochs=1, batch=8) for data in (TOY, toy(test=20))]
    assert same(*(r.supernet.state_dict() for r in results))
    assert [plain(r) for r in results[0].found.records] == [plain(r) for r in results[1].found.records]


def test_what_a_later_training_holds_out_moves_nothing_in_the_search() -> None:
    """Only the images that `holdout` cuts off differ, so the searches must not."""
    _, held = holdout(TOY, 0.25, seed=0)
    assert held is not None
    pixels = TOY.train.read(torch.arange(len(TOY.train))).clone()
    changed = [
        i for i in range(len(pixels)) if any(torch.equal(pixels[i], h) for h in held.read(torch.arange(len(held))))
    ]
    assert len(changed) == len(held)
    pixels[changed] = pixels[changed].flip(-1).roll(1, -2)
    other = replace(TOY, train=oche.Part(pixels, TOY.train.labels))
    one, two = (oche.search(SPACE, data=data, epochs=1, batch=8, validation=0.25) for data in (TOY, other))
    assert one.found.logits == two.found.logits
    everything = oche.search(SPACE, data=other, epochs=1, batch=8, validation=0)
    assert everything.found.logits != one.found.logits


def test_a_users_module_is_not_changed() -> None:
    module = Block1d(1)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    oche.search(module, train=regression(), valid=regression(), loss=mean_squared_error, epochs=1)
    assert same(module.state_dict(), before)
    assert isinstance(module.block, oche.Choice)


def test_a_tiny_time_limit_still_brings_an_architecture() -> None:
    result = oche.search(SPACE, data=TOY, epochs=50, batch=8, time_limit=1e-6)
    assert result.found.stopped is not None
    assert "time limit" in result.found.stopped
    assert result.found.steps == 1
    SPACE.domain.check(result.architecture)


@pytest.mark.parametrize("limit", [0, -1, math.nan])
def test_a_time_limit_must_be_positive(limit: float) -> None:
    with pytest.raises(InputError, match=r"time limit"):
        oche.search(SPACE, data=TOY, epochs=1, batch=8, time_limit=limit)
    with pytest.raises(InputError, match=r"time limit"):
        oche.train(nn.Linear(1, 1), train=[(torch.ones(1, 1), torch.ones(1, 1))], time_limit=limit)


@pytest.mark.parametrize(("paper", "expected"), [(1, 1.0), (3 * 4, 4.0), (10**9, LARGEST_RATE / 3e-4)])
def test_the_rate_of_the_logits_makes_up_for_fewer_steps(paper: int, expected: float) -> None:
    method = replace(DARTS, epochs=paper, batch=25_000)  # as many steps as epochs
    result = oche.search(SPACE, data=TOY, epochs=1, batch=8, method=method, validation=0)  # 3 steps
    rate = 3e-4 * expected
    assert result.method.logit_optimizer.lr.at(0.5) == pytest.approx(rate)
    assert result.found.records[0]["logit_rate"] == pytest.approx(rate)


def test_no_step_of_the_logits_decides_in_a_short_search() -> None:
    """With Adam the rate is about the length of a step; the relaxation says at which distance logits decide."""
    for name, method in METHODS.items():
        result = oche.search(for_method(name), data=TOY, epochs=2, batch=8, method=method, validation=0)
        rate, own = result.method.logit_optimizer.lr.at(0), method.logit_optimizer.lr.at(0)
        assert own <= rate <= max(own, LARGEST_RATE * result.method.relaxation.scale)


def test_a_given_rate_of_the_logits_is_kept() -> None:
    still = oche.search(SPACE, data=TOY, epochs=1, batch=8, logit_lr=0.0)
    assert still.found.logits[0] == still.found.logits[1]
    assert still.verdict.travel_max == 0
    given = oche.search(SPACE, data=TOY, epochs=1, batch=8, logit_lr=0.02, validation=0)
    assert given.found.records[0]["logit_rate"] == 0.02
    assert 0 < given.verdict.travel_max <= 3 * 0.02 * 2  # Adam moves by about its rate in each of 3 steps


LINES = [(torch.ones(2, 1, 10), torch.ones(2, 1))]
OTHERS = [(torch.zeros(2, 1, 10), torch.ones(2, 1))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": SPACE}, 'data="digits"'),
        ({"space": SPACE, "train": LINES}, "both train=.* and valid="),
        ({"space": SPACE, "data": TOY, "train": LINES}, "not both"),
        ({"space": SPACE, "train": LINES, "valid": OTHERS}, r"task=oche\.ImageTask"),
        ({"space": "drts", "data": TOY, "batch": 8}, "did you mean 'darts'"),
        ({"space": SPACE, "data": TOY, "method": "dart", "batch": 8}, "unknown method 'dart'"),
        ({"space": SPACE, "data": "digit"}, "digit"),
        ({"space": SPACE, "data": TOY, "batch": 25}, "batch=25"),
        ({"space": SPACE, "data": TOY, "batch": 0}, "batch"),
        ({"space": SPACE, "data": TOY, "batch": 8, "epochs": 0}, "epochs"),
        ({"space": SPACE, "data": TOY, "batch": 8, "epochs": -1}, "epochs"),
        ({"space": SPACE, "data": TOY, "batch": 8, "device": "gpu"}, "device 'gpu'.*cpu"),
        ({"space": nn.Linear(1, 1), "train": LINES, "valid": OTHERS}, "no Choice"),
        ({"space": Block1d(1), "train": LINES, "valid": LINES}, "one loader"),
        ({"space": SPACE, "data": TOY, "batch": 8, "logit_lr": -1.0}, "logit_lr=-1.0"),
        ({"space": SPACE, "data": TOY, "batch": 8, "preset": "tin"}, "did you mean 'tiny'"),
        ({"space": Block1d(1), "train": [], "valid": LINES}, "at least one batch"),
    ],
)
def test_what_cannot_be_searched_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        oche.search(**options)


# -- train -------------------------------------------------------------------------------------------------------------

ARCHITECTURE = SPACE.sample(Random(1))


def trained(**changes: Any) -> oche.Trained:
    options = {k: changes.pop(k) for k in list(changes) if k in ("seed", "data", "stack", "time_limit", "loss")}
    settings = {"data": TOY, "space": SPACE, "protocol": replace(PROTOCOL, **changes)} | options
    return oche.train(ARCHITECTURE, **settings)


@pytest.fixture(scope="module")
def reference() -> oche.Trained:
    return trained()


def test_a_trained_network_is_a_plain_module_that_has_learned() -> None:
    result = trained(epochs=6)
    assert isinstance(result.model, nn.Module)
    assert not result.model.training
    assert result.test["accuracy"] > 0.8
    assert result.stopped is None
    assert [r["epoch"] for r in result.records] == [1, 2, 3, 4, 5, 6]
    best = max(r["valid_accuracy"] for r in result.records)
    assert result.validation["accuracy"] == best == result.records[result.best_epoch - 1]["valid_accuracy"]


def test_the_reported_numbers_are_those_of_the_model(reference: oche.Trained) -> None:
    assert reference.normalize is not None
    x = reference.normalize(TOY.test.read(torch.arange(len(TOY.test))))
    with torch.no_grad():
        scores = reference.model(x)
    assert reference.test["loss"] == pytest.approx(F.cross_entropy(scores, TOY.test.labels).item(), rel=1e-5)
    hits = (scores.argmax(1) == TOY.test.labels).double().mean().item()
    assert reference.test["accuracy"] == pytest.approx(hits)
    assert reference.parameters == sum(p.numel() for p in reference.model.parameters())


@pytest.mark.parametrize(
    "change",
    [
        {"drop_path": 0.5},
        {"label_smoothing": 0.3},
        {"balance_classes": True},
        {"optimizer": AdamW()},
        {"optimizer": SGD(lr=Cosine(0.1), momentum=0.9, weight_decay=0.1)},
        {"cutout": 4},
        {"clip": 0.01},
        {"clip": None},
        {"rate_per_step": False},
        {"batch": 12},
        {"epochs": 3},
        {"validation": 0.5},
        {"seed": 1},
    ],
    ids=str,
)
def test_every_option_of_a_protocol_has_an_effect(change: dict[str, Any], reference: oche.Trained) -> None:
    if change == {"clip": None}:
        # Gradients here are smaller than the usual bound, so compare with one that binds.
        reference = trained(clip=0.01)
    assert not same(trained(**change).model.state_dict(), reference.model.state_dict())


def test_the_auxiliary_head_is_built_trained_and_not_counted(reference: oche.Trained) -> None:
    result = trained(auxiliary=0.4)
    assert isinstance(result.model, CellNetwork)
    assert result.model.auxiliary is not None
    assert result.parameters == reference.parameters
    assert isinstance(reference.model, CellNetwork)
    assert reference.model.auxiliary is None
    other = trained(auxiliary=0.8)
    assert not same(result.model.stem.state_dict(), other.model.stem.state_dict())


def test_a_stack_may_be_given(reference: oche.Trained) -> None:
    result = trained(stack=Stack(cells=3, channels=6))
    assert isinstance(result.model, CellNetwork)
    assert len(result.model.cells) == 3
    assert result.parameters > reference.parameters


def test_an_own_loss_takes_the_place_of_cross_entropy() -> None:
    result = trained(loss=lambda output, target: F.multi_margin_loss(output, target))
    assert "accuracy" not in result.test
    assert set(result.test) == {"loss"}


def test_a_seed_fixes_every_bit_of_a_training(reference: oche.Trained) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again = trained()
    assert torch.equal(torch.get_rng_state(), before)
    assert same(again.model.state_dict(), reference.model.state_dict())
    assert [plain(r) for r in again.records] == [plain(r) for r in reference.records]
    assert again.test == reference.test


def test_the_test_part_does_not_influence_a_training(reference: oche.Trained) -> None:
    other = trained(data=toy(test=20))
    assert same(other.model.state_dict(), reference.model.state_dict())
    assert other.test != reference.test


def test_without_a_validation_part_all_images_train() -> None:
    result = trained(validation=0.0, epochs=3)
    assert (result.best_epoch, result.validation) == (3, {})
    assert not any(name.startswith("valid_") for name in result.records[0])


def test_a_tiny_time_limit_still_brings_a_network() -> None:
    result = trained(epochs=50, time_limit=1e-6)
    assert result.stopped is not None
    assert "time limit" in result.stopped
    assert len(result.records) == 1
    assert set(result.test) == {"loss", "accuracy"}


class Counted:
    def __init__(self) -> None:
        self.rounds = 0

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Any:
        self.rounds += 1
        return iter([(torch.randn(4, 3), torch.arange(4) % 2)])


def test_own_module_and_loaders_with_the_test_part_seen_once() -> None:
    train, valid, test = Counted(), Counted(), Counted()
    module = nn.Linear(3, 2)
    result = oche.train(module, train=train, valid=valid, test=test, protocol=PROTOCOL)  # type: ignore[arg-type]
    assert (train.rounds, valid.rounds, test.rounds) == (2, 2, 1)
    assert result.model is module
    assert result.normalize is None
    assert set(result.test) == {"loss", "accuracy"}
    again = oche.train(nn.Linear(3, 2), train=Counted(), protocol=PROTOCOL)  # type: ignore[arg-type]
    assert (again.test, again.validation, again.best_epoch) == ({}, {}, 2)


def test_label_smoothing_works_with_own_loaders_too() -> None:
    batches = [(torch.randn(8, 3), torch.arange(8) % 2)]
    losses = []
    for share in (0.0, 0.3):
        torch.manual_seed(0)
        protocol = replace(PROTOCOL, epochs=1, label_smoothing=share)
        losses.append(oche.train(nn.Linear(3, 2), train=batches, protocol=protocol).records[0]["train_loss"])
    torch.manual_seed(0)
    scores = nn.Linear(3, 2)(batches[0][0]).detach()
    expected = [F.cross_entropy(scores, batches[0][1], label_smoothing=share).item() for share in (0.0, 0.3)]
    assert losses == pytest.approx(expected, rel=1e-5)


def test_an_architecture_knows_its_space() -> None:
    named = space("rdarts-s2").sample(Random(0))
    result = oche.train(named, data=TOY, protocol=replace(PROTOCOL, epochs=1))
    assert isinstance(result.model, CellNetwork)
    assert len(result.model.cells) == STACK.cells


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (ARCHITECTURE, {}, 'data="digits"'),
        (ARCHITECTURE, {"train": LINES}, "needs data="),
        (ARCHITECTURE, {"data": TOY, "test": LINES}, "not both"),
        (ARCHITECTURE, {"data": TOY, "protocol": "darts"}, "training protocol 'darts'"),
        (oche.Architecture.of("mine", {"a": "b"}), {"data": TOY}, "unknown space 'mine'"),
        (ARCHITECTURE, {"data": TOY, "space": SPACE, "protocol": replace(PROTOCOL, batch=37)}, "batch=37"),
        (nn.Linear(1, 1), {"train": LINES, "protocol": replace(PROTOCOL, balance_classes=True)}, "balance_classes"),
    ],
)
def test_what_cannot_be_trained_is_refused(model: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        oche.train(model, **options)


# -- what people get wrong in Python -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: oche.search(SPACE, data=TOY, batch=8, epochs="3"), r"whole number of epochs.*'3'"),  # type: ignore[arg-type]
        (lambda: oche.search(SPACE, data=TOY, batch=8, epochs=2.5), r"whole number of epochs.*2\.5"),  # type: ignore[arg-type]
        (lambda: oche.search(SPACE, data=TOY, batch=8, time_limit="20s"), r"number of seconds.*'20s'"),  # type: ignore[arg-type]
        (lambda: oche.search(SPACE, data=TOY, batch=8, loss=nn.MSELoss), r"function of \(output, target\)"),  # type: ignore[arg-type]
        (lambda: oche.search(SPACE, data=TOY, batch=8, loss="mse"), r"function of \(output, target\).*'mse'"),  # type: ignore[arg-type]
        (lambda: oche.search(SPACE, data=TOY, batch=8, metrics=[exact_match]), r"by name"),  # type: ignore[arg-type]
        (lambda: oche.train("darts-v2", data=TOY), r"known_architectures\(\)\[.darts-v2.\]"),  # type: ignore[arg-type]
        (lambda: oche.train(Block1d(1), train=LINES, loss=F.mse_loss), r"undecided choices"),
        (lambda: oche.Choice([nn.Identity()]), r"mapping of names.*list"),  # type: ignore[arg-type]
    ],
)
def test_wrong_types_are_named(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_a_metric_may_be_a_plain_function() -> None:
    result = oche.search(SPACE, data=TOY, batch=8, epochs=1, metrics={"share": lambda output, target: 0.25})
    assert result.found.records[0]["valid_share"] == 0.25


def test_both_engines_search_alike(caplog: pytest.LogCaptureFixture) -> None:
    def said() -> list[str]:
        return [record.message for record in caplog.records if record.name == "oche.api"]

    noisy = space("rdarts-s4", nodes=1).replace(supernet_stack=SPACE.supernet_stack)
    plain = [oche.search(SPACE, data=TOY, epochs=1, batch=8, engine=engine) for engine in ("fast", "reference")]
    assert not said()
    for one, other in zip(plain[0].found.logits, plain[1].found.logits, strict=True):
        for key, values in one.items():
            assert values == pytest.approx(other[key], abs=1e-4)
    assert plain[0].found.logits[0] != plain[0].found.logits[-1]
    oche.search(noisy, data=TOY, epochs=1, batch=8)
    (notice,) = said()
    assert "noise" in notice
    with pytest.raises(InputError, match="'quick'"):
        oche.search(SPACE, data=TOY, epochs=1, batch=8, engine="quick")
