"""A search or training that is stopped after any step, or within an evaluation, goes on bit for bit."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oche
from oche.checkpoint import Checkpoints
from oche.data.dataset import Dataset
from oche.data.load import load
from oche.data.options import DataOptions
from oche.errors import InputError
from oche.interrupt import Interrupted
from oche.nn.network import Stack
from oche.nn.supernet import logits
from oche.training.protocol import TINY

SPACE = oche.space("rdarts-s2", nodes=1).replace(supernet_stack=Stack(cells=3, channels=4))


class Patience:
    """Asks a job to stop the n-th time that it looks."""

    def __init__(self, patience: int) -> None:
        self.looks, self.patience = 0, patience

    @property
    def received(self) -> int | None:
        self.looks += 1
        return 2 if self.looks > self.patience else None


def with_each_stop(make: Callable[[Any], Any], directory: Path, name: str) -> Iterator[Any]:
    """The results of a job that was stopped once, for every moment at which it looks."""
    for patience in range(1000):
        interrupts: Any = Patience(patience)
        place = directory / str(patience)
        try:
            make(Checkpoints(place, name, interrupts=interrupts))
        except Interrupted:
            yield make(Checkpoints(place, name))
        else:
            return
    raise AssertionError("it never came to its end")


def timeless(records: tuple[Mapping[str, Any], ...]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def images() -> Dataset:
    return load("digits", DataOptions(limit=200))


# -- search ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "stream"), [("darts", True), ("darts-2nd", False)])
def test_a_search_goes_on_bit_for_bit(tmp_path, method, stream):
    images = load("digits", DataOptions(limit=200, stream=stream, flip=True))

    def search(checkpoints: Any = None) -> oche.SearchResult:
        return oche.search(SPACE, data=images, method=method, epochs=2, batch=32, seed=3, checkpoints=checkpoints)

    whole = search()
    stops = 0
    for pieces in with_each_stop(search, tmp_path, "search"):
        stops += 1
        assert pieces.found.logits == whole.found.logits
        assert timeless(pieces.found.records) == timeless(whole.found.records)
        assert pieces.architecture == whole.architecture
        assert pieces.verdict == whole.verdict
        assert pieces.found.steps == whole.found.steps
        assert same(pieces.supernet.state_dict(), whole.supernet.state_dict())
    assert stops == 2 * (2 + 3 + 1)  # per epoch: after each step, after each validation batch, at its end


class Draws(nn.Module):
    """Dropout and choices: something random in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.block = oche.Choice({"wide": nn.Linear(3, 3), "skip": nn.Identity()})
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.drop(self.block(x))))


def loader(rows: int, seed: int, own: bool = False) -> DataLoader[tuple[Tensor, ...]]:
    draws = torch.Generator().manual_seed(seed)
    return DataLoader(
        TensorDataset(torch.randn(rows, 3, generator=draws), torch.randint(2, (rows,), generator=draws)),
        batch_size=4,
        shuffle=True,
        generator=draws if own else None,
    )


@pytest.mark.parametrize("own", [False, True], ids=["global generator", "own generator"])
def test_a_users_module_with_shuffled_loaders_goes_on_bit_for_bit(tmp_path, own):
    def search(checkpoints: Any = None) -> oche.SearchResult:
        torch.manual_seed(0)  # the module that is given is the user's own
        halves = {"train": loader(20, 0, own), "valid": loader(8, 1, own)}
        return oche.search(Draws(), **halves, epochs=2, seed=1, checkpoints=checkpoints)

    whole = search()
    for pieces in with_each_stop(search, tmp_path, "search"):
        assert pieces.found.logits == whole.found.logits
        assert timeless(pieces.found.records) == timeless(whole.found.records)
        assert same(pieces.supernet.state_dict(), whole.supernet.state_dict())


def test_a_finished_search_is_not_made_again(tmp_path, images, monkeypatch):
    first = oche.search(SPACE, data=images, epochs=1, batch=32, checkpoints=tmp_path)
    monkeypatch.setattr("oche.step.SearchStep.__call__", lambda *args, **options: pytest.fail("a step was made"))
    second = oche.search(SPACE, data=images, epochs=1, batch=32, checkpoints=tmp_path)
    assert second.architecture == first.architecture
    assert same(second.supernet.state_dict(), first.supernet.state_dict())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"epochs": 4}, "epochs 1, now 4"),
        ({"seed": 1}, "seed 0, now 1"),
        ({"method": "darts-2nd"}, "now .darts-2nd"),
        ({"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}, "loss"),
        ({"data": load("digits", DataOptions(limit=201))}, "data "),
        ({"data": load("digits", DataOptions(limit=200, flip=True))}, "augment.flip False, now True"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_another_search_in_the_same_directory_is_refused(tmp_path, images, change, reason):
    oche.search(SPACE, data=images, epochs=1, batch=32, checkpoints=tmp_path)
    with pytest.raises(InputError, match=reason):
        oche.search(SPACE, **({"data": images, "epochs": 1, "batch": 32, "checkpoints": tmp_path} | change))


def test_a_search_that_diverged_keeps_its_last_good_state(tmp_path):
    class Poisoned:
        """Batches that turn into NaN in the third epoch."""

        def __init__(self) -> None:
            self.rounds = 0

        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            self.rounds += 1
            x = torch.ones(4, 3) if self.rounds < 3 else torch.full((4, 3), torch.nan)
            return iter([(x, torch.tensor([0, 1, 0, 1]))] * 2)

    result = oche.search(Draws(), train=Poisoned(), valid=loader(8, 1), epochs=5, checkpoints=tmp_path)
    assert result.found.stopped is not None
    newest = Checkpoints(tmp_path, "search").newest
    assert newest is not None
    kept = torch.load(newest, weights_only=True)
    assert kept["position"]["over"]
    assert kept["state"]["stopped"] == result.found.stopped
    assert len(kept["state"]["records"]) == 2
    for key, value in logits(result.supernet).items():
        assert value.tolist() == kept["state"]["records"][-1]["logits"][key]
    assert all(t.isfinite().all() for t in kept["state"]["supernet"].values())


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["device", "stream"])
def test_a_training_goes_on_bit_for_bit(tmp_path, stream):
    images = load("digits", DataOptions(limit=200, stream=stream, flip=True))
    rules = replace(TINY, epochs=2, batch=96, stack=Stack(cells=3, channels=4), cutout=3, drop_path=0.3, auxiliary=0.4)
    architecture = next(SPACE.enumerate())

    def train(checkpoints: Any = None) -> oche.Trained:
        return oche.train(
            architecture, data=images, protocol=rules, space=SPACE, seed=5, checkpoints=checkpoints, job="random 1"
        )

    whole = train()
    stops = 0
    for pieces in with_each_stop(train, tmp_path, "random 1"):
        stops += 1
        assert timeless(pieces.records) == timeless(whole.records)
        assert (pieces.best_epoch, pieces.validation, pieces.test) == (whole.best_epoch, whole.validation, whole.test)
        assert same(pieces.model.state_dict(), whole.model.state_dict())
    assert stops == 2 * (2 + 1 + 1) + 4  # steps, validation and end of each epoch; then the batches of the test part


def test_a_training_is_refused_the_checkpoints_of_another_network(tmp_path, images):
    rules = replace(TINY, epochs=1, stack=Stack(cells=2, channels=4))
    first, second = list(SPACE.enumerate())[:2]
    oche.train(first, data=images, protocol=rules, space=SPACE, checkpoints=tmp_path)
    with pytest.raises(InputError, match=r"structure|architecture"):
        oche.train(second, data=images, protocol=rules, space=SPACE, checkpoints=tmp_path)


class Restless(nn.Module):
    """Draws in evaluation too, as Monte Carlo dropout does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.LazyLinear(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(nn.functional.dropout(x, 0.5, training=True))


def drawing_loss(output: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output + 0.1 * torch.randn_like(output), target)


def test_losses_and_evaluations_that_draw_are_repeated(tmp_path):
    def train(checkpoints: Any = None) -> oche.Trained:
        torch.manual_seed(0)
        rules = replace(TINY, epochs=2)
        halves = {"train": loader(12, 0), "valid": loader(8, 1), "test": loader(8, 2)}
        return oche.train(Restless(), **halves, protocol=rules, loss=drawing_loss, checkpoints=checkpoints)

    whole = train()
    for pieces in with_each_stop(train, tmp_path, "train"):
        assert timeless(pieces.records) == timeless(whole.records)
        assert pieces.test == whole.test


def test_a_time_limit_and_a_stop_in_the_validation_after_it_add_no_step(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("oche.clock.time.monotonic", lambda: now[0])

    class Clock(oche.Listener):
        def step(self, epoch: int, step: int, meter: Any) -> None:
            now[0] += 1.0

    def train(patience: int) -> oche.Trained:
        interrupts: Any = Patience(patience)
        return oche.train(
            nn.Linear(3, 2),
            train=loader(20, 0),
            valid=loader(8, 1),
            protocol=replace(TINY, epochs=4),
            time_limit=2.0,
            listeners=[Clock()],
            checkpoints=Checkpoints(tmp_path, "train", interrupts=interrupts),
        )

    with pytest.raises(Interrupted):
        train(1)  # looks after the first step, and after the first batch of the validation; the limit comes in step 2
    trained = train(1000)
    assert trained.records[-1]["steps"] == 2
    assert trained.stopped is not None
    assert "step 2 of 5" in trained.stopped
