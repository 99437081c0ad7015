"""TensorBoard events say what the records say, also after a job has gone on."""

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from oche.listeners.base import Job
from oche.listeners.tensorboard import TensorBoard


def record(epoch: int, **values: Any) -> dict[str, Any]:
    return {"phase": "search", "epoch": epoch, "seconds": 1.5 * epoch, "train_loss": 1.0 / epoch, **values}


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def write(board: TensorBoard, job: Job, records: list[dict[str, Any]]) -> None:
    board.start(job)
    for r in records:
        board.epoch(r)
    board.finish()


def test_every_number_of_a_record_is_written(tmp_path):
    nested = {"entropy_by_kind": {"normal": 2.0}, "logits": {"normal/2<-0": [0.5, -0.5]}, "architecture": {"a": "skip"}}
    write(TensorBoard(tmp_path), Job("search", 2, 3), [record(1, **nested), record(2)])
    assert scalars(tmp_path / "search") == {
        "seconds": [(1, 1.5), (2, 3.0)],
        "train_loss": [(1, 1.0), (2, 0.5)],
        "entropy_by_kind/normal": [(1, 2.0)],
        "logits/normal/2_from_0/0": [(1, 0.5)],
        "logits/normal/2_from_0/1": [(1, -0.5)],
    }


def test_an_epoch_can_be_read_before_the_next_one(tmp_path):
    board = TensorBoard(tmp_path)
    board.start(Job("train", 2, 3))
    board.epoch(record(1))
    assert scalars(tmp_path / "train")["train_loss"] == [(1, 1.0)]
    board.finish()


def test_a_job_that_goes_on_has_every_epoch_once(tmp_path):
    first = [record(1), record(2), record(3)]
    write(TensorBoard(tmp_path), Job("search", 4, 3), first)  # killed after epoch 3; its checkpoint is of epoch 2
    (file,) = (tmp_path / "search").iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    (tmp_path / "search" / "precious").write_text("not ours")
    write(TensorBoard(tmp_path), Job("search", 4, 3, 6, tuple(first[:2])), [record(3), record(4)])
    assert [step for step, _ in scalars(tmp_path / "search")["train_loss"]] == [1, 2, 3, 4]
    assert (tmp_path / "search" / "precious").exists()
