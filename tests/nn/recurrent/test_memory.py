"""The hidden state between windows."""

import copy

import pytest
import torch
from torch import Tensor

from oche.nn.recurrent.memory import Memory
from oche.text.window import Stream, Window

WIDTH = 2
LIKE = torch.zeros((), dtype=torch.float64)
ZEROS = torch.zeros(3, WIDTH, dtype=torch.float64)


def window(place: int, stream: Stream = Stream.WEIGHTS, lanes: int = 3) -> Window:
    return Window(torch.zeros(lanes, 1, dtype=torch.long), place, stream)


def filled(value: float, lanes: int = 3) -> Tensor:
    return torch.full((lanes, WIDTH), value, dtype=torch.float64)


def begun(memory: Memory, place: int, stream: Stream = Stream.WEIGHTS, lanes: int = 3) -> Tensor:
    return memory.start(window(place, stream, lanes), WIDTH, LIKE)


def test_a_window_begins_where_the_one_before_it_ended() -> None:
    memory = Memory()
    assert torch.equal(begun(memory, 0), ZEROS)
    memory.leave(window(0), filled(1))
    assert torch.equal(begun(memory, 1), filled(1))
    memory.leave(window(1), filled(2))
    assert torch.equal(begun(memory, 2), filled(2))


def test_every_reading_of_a_window_begins_with_the_same_state_and_the_last_one_counts() -> None:
    memory = Memory()
    memory.leave(window(0), filled(1))
    for value in (5, 6, 7):
        assert torch.equal(begun(memory, 1), filled(1))
        memory.leave(window(1), filled(value))
    assert torch.equal(begun(memory, 2), filled(7))


def test_an_epoch_begins_in_silence() -> None:
    memory = Memory()
    for epoch in range(3):
        assert torch.equal(begun(memory, 0), ZEROS)
        memory.leave(window(0), filled(epoch + 1))
        assert torch.equal(begun(memory, 1), filled(epoch + 1))
        memory.leave(window(1), filled(9))
    assert torch.equal(begun(memory, 0), ZEROS)


@pytest.mark.parametrize("place", [1, 3, 7])
def test_a_window_out_of_order_begins_in_silence(place: int) -> None:
    memory = Memory()
    memory.leave(window(1), filled(1))
    assert torch.equal(begun(memory, place), ZEROS)


def test_streams_do_not_mix() -> None:
    memory = Memory()
    for value, stream in enumerate(Stream, 1):
        memory.leave(window(0, stream), filled(value))
    for value, stream in enumerate(Stream, 1):
        assert torch.equal(begun(memory, 1, stream), filled(value))


def test_fewer_lanes_are_the_first_ones_and_more_are_none() -> None:
    memory = Memory()
    memory.leave(window(0), torch.arange(6.0).reshape(3, 2))
    assert begun(memory, 1, lanes=1).tolist() == [[0, 1]]
    assert begun(memory, 1).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert torch.equal(begun(memory, 1, lanes=4), torch.zeros(4, WIDTH, dtype=torch.float64))
    memory.leave(window(1), filled(1))
    memory.leave(window(1, lanes=1), filled(2, lanes=1))
    assert begun(memory, 2).tolist() == [[2, 2], [1, 1], [1, 1]]


def test_another_width_begins_in_silence() -> None:
    memory = Memory()
    memory.leave(window(0), filled(1))
    assert not memory.start(window(1), WIDTH + 1, LIKE).any()


def test_what_is_kept_has_no_gradient_and_is_no_view() -> None:
    memory, state = Memory(), filled(1).requires_grad_()
    doubled = 2 * state
    memory.leave(window(0), doubled)
    with torch.no_grad():
        doubled.zero_()
    kept = begun(memory, 1)
    assert not kept.requires_grad
    assert torch.equal(kept, filled(2))


def test_precision_follows_what_reads() -> None:
    memory = Memory()
    memory.leave(window(0), filled(1))
    assert memory.start(window(1), WIDTH, torch.zeros((), dtype=torch.float32)).dtype == torch.float32


def test_a_checkpoint_holds_what_the_next_windows_begin_with() -> None:
    memory = Memory().double()
    empty = memory.state_dict()["_extra_state"]
    assert empty.numel() == 0
    assert empty.isfinite().all()
    memory.leave(window(4), filled(1))
    memory.leave(window(2, Stream.LOGITS, lanes=2), filled(2, lanes=2))
    memory.leave(window(2, Stream.EVALUATION), filled(3))
    state = memory.state_dict()
    assert list(state) == ["_extra_state"]
    kept = state["_extra_state"]
    assert kept.shape == (2, 3, WIDTH)
    other = Memory().double()
    other.load_state_dict(state)
    assert torch.equal(other.state_dict()["_extra_state"], kept)
    assert torch.equal(begun(other, 5), filled(1))
    assert torch.equal(begun(other, 5), filled(1))
    assert torch.equal(begun(other, 3, Stream.LOGITS, lanes=2), filled(2, lanes=2))
    assert not begun(other, 3, Stream.EVALUATION).any()
    other.load_state_dict({"_extra_state": empty})
    assert not begun(other, 5).any()


def test_a_new_epoch_after_a_restart_begins_in_silence() -> None:
    memory, other = Memory(), Memory()
    memory.leave(window(4), filled(1))
    other.load_state_dict(memory.state_dict())
    assert not begun(other, 0).any()
    other.leave(window(0), filled(2))
    assert torch.equal(begun(other, 1), filled(2))


def test_copies_go_on_by_themselves() -> None:
    memory = Memory()
    memory.leave(window(0), filled(1))
    other = copy.deepcopy(memory)
    other.leave(window(0), filled(2))
    assert torch.equal(begun(memory, 1), filled(1))
    assert torch.equal(begun(other, 1), filled(2))
