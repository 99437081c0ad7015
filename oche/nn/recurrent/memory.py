"""What a language model remembers from one window of text to the next."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.text.window import Stream, Window

KEPT = (Stream.WEIGHTS, Stream.LOGITS)
"""Whose state a checkpoint holds; an evaluation is not taken up in the middle."""

ANY = -1
"""In place of a window's number: whichever window comes first."""


@dataclass
class _Slot:
    """A hidden state.

    Attributes:
        place: of the window that begins with it.
        state: `B x H`; None: zeros.
    """

    place: int
    state: Tensor | None


class Memory(nn.Module):
    """The hidden state of each stream between its windows; gradients do not flow through it.

    A step of a search reads one window several times, at other weights or mixtures, and each time must begin with the
    same state. So there are two: that with which the window now read begins, and that in which it ended when it was
    last read, with which the next one begins. They are neither parameters nor buffers, because a call with other
    weights works on copies of those (`torch.func.functional_call`).

    Checkpoints hold the second one (`streams x B x H`); the window that is read after a restart is the next one.
    """

    here: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("here", torch.empty(0), persistent=False)  # where the module is, and in which precision
        self._begun: dict[Stream, _Slot] = {}
        self._left: dict[Stream, _Slot] = {}

    def start(self, window: Window, width: int, like: Tensor) -> Tensor:
        """The state with which a window begins, `B x H`: that in which the window before it ended, else zeros.

        Args:
            window: with some or all of the lanes that the window before it had.
            width: H.
            like: whose device and precision the state gets.
        """
        stream, place, lanes = window.stream, window.place, len(window)
        if self._begun.get(stream, _Slot(ANY, None)).place != place:
            left = self._left.get(stream)
            fits = left is not None and place > 0 and left.place in (place, ANY)
            self._begun[stream] = _Slot(place, left.state if left is not None and fits else None)
        state = self._begun[stream].state
        if state is None or len(state) < lanes or state.shape[1] != width:
            return like.new_zeros(lanes, width)
        return state[:lanes].to(like)

    def leave(self, window: Window, state: Tensor) -> None:
        """Keep the state in which a window ended, `B x H`, for the next one.

        Where only some of the window's lanes were read, the others keep what they left before.
        """
        state, before = state.detach().clone(), self._left.get(window.stream)
        if before is not None and before.place == window.place + 1 and before.state is not None:
            old = before.state
            if len(old) > len(state) and old.shape[1] == state.shape[1]:
                state = torch.cat([state, old[len(state) :].to(state)])
        self._left[window.stream] = _Slot(window.place + 1, state)

    def get_extra_state(self) -> Tensor:
        """For checkpoints: what the streams that train have left, zeros for one that has not; else an empty tensor."""
        found = [self._left[stream].state if stream in self._left else None for stream in KEPT]
        sizes = [state.shape for state in found if state is not None]
        if not sizes:
            return self.here.new_zeros(0, 0, 0)
        lanes, width = (max(side) for side in zip(*sizes, strict=True))
        filled = (self.here.new_zeros(lanes, width) if s is None else s.to(self.here) for s in found)
        return torch.stack([F.pad(s, (0, width - s.shape[1], 0, lanes - len(s))) for s in filled])

    def set_extra_state(self, state: Tensor) -> None:
        """Take up what `get_extra_state` gave."""
        self._begun = {}
        self._left = {
            stream: _Slot(ANY, rows.clone()) for stream, rows in zip(KEPT, state, strict=False)
        }  # an empty tensor has no rows
