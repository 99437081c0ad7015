"""Choices inside any module: of candidate modules, of inputs, or of a value.

A choice holds a *key*, not logits: the supernet that contains it owns one vector of logits per key, and choices with
the same key share it. The mixing weights `a` reach a choice as an argument (`mix`) or, in a user's module, in place
of its buffer `mixing` for the duration of one call (`torch.func.functional_call`). Outside of a search the buffer
holds equal weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import combinations
from math import comb

import torch
from torch import Tensor, nn

from oche.architecture import Candidate
from oche.errors import InputError

KEY_SEPARATOR = "/"
"""Stands in keys where module paths have a dot, which parameter names may not contain."""


class Decision(nn.Module, ABC):
    """Interface of everything that a search decides.

    Attributes:
        key: name of its logits; None means its path in the module that is searched.
        options: the candidates, in the order of the logits.
        mixing: buffer of the mixing weights, one per option.
    """

    mixing: Tensor

    def __init__(self, options: Sequence[Candidate], key: str | None) -> None:
        super().__init__()
        if not options:
            raise InputError(f"{type(self).__name__} needs at least one option, but got none")
        if len(set(options)) != len(options):
            raise InputError(f"{type(self).__name__} needs different options, but got {list(options)}")
        if key is not None and "." in key:
            raise InputError(f"a key may not contain a dot, but got {key!r}; write {key.replace('.', '/')!r}")
        self.key = key
        self.options = tuple(options)
        self.register_buffer("mixing", torch.full((len(options),), 1 / len(options)), persistent=False)

    @abstractmethod
    def fixed(self, option: Candidate) -> nn.Module:
        """The module that stands here in the discrete network; it shares this choice's parameters."""


class Choice(Decision):
    """One of several candidate modules: `sum_o a_o op_o(x)` in the supernet, one `op_o` in the discrete network.

    Args:
        candidates: name to module; all take the same arguments and return tensors of one shape.
        key: name of the logits; choices with the same key and names share them.
    """

    def __init__(self, candidates: Mapping[str, nn.Module], key: str | None = None) -> None:
        if not isinstance(candidates, Mapping):
            raise InputError(f"Choice needs a mapping of names to modules, but got {type(candidates).__name__}")
        super().__init__(tuple(candidates), key)
        self.candidates = nn.ModuleDict()
        for name, candidate in candidates.items():
            try:
                self.candidates[name] = candidate
            except (KeyError, TypeError) as error:
                raise InputError(
                    f"candidates need names of text without dots, none of them a method of nn.ModuleDict such as "
                    f"'values', and modules as values, but got {name!r}: {type(candidate).__name__} ({error})"
                ) from None

    def forward(self, *inputs: Tensor) -> Tensor:
        """The mixed output with the weights of `mixing`."""
        return self.mix(self.mixing, *inputs)

    def mix(self, mixing: Tensor, *inputs: Tensor, places: Sequence[int] | None = None) -> Tensor:
        """The mixed output with the given weights (`[options]`), of all candidates or of those at some places."""
        candidates = tuple(self.candidates.values())
        if places is None:
            return weighted_sum(mixing, (candidate(*inputs) for candidate in candidates))
        return total(mixing[i] * candidates[i](*inputs) for i in places)

    def fixed(self, option: Candidate) -> nn.Module:
        """The chosen candidate itself."""
        return self.candidates[str(option)]


class InputChoice(Decision):
    """Some of several inputs: one logit per *set* of `keep` inputs, as in the edge search of Amended-DARTS (Eq. 16).

    In the supernet the output is `sum_S a_S sum_{i in S} x_i`, in the discrete network `sum_{i in S} x_i`, so that a
    one-hot mixture and the discrete network agree for every `keep`.

    Args:
        inputs: how many tensors `forward` receives.
        keep: how many of them the discrete network keeps.
        key: name of the logits.
    """

    def __init__(self, inputs: int, keep: int = 1, key: str | None = None) -> None:
        if not 1 <= keep <= inputs:
            raise InputError(f"1 <= keep <= inputs must hold, but got keep={keep}, inputs={inputs}")
        super().__init__(tuple(combinations(range(inputs), keep)), key)
        member = torch.zeros(comb(inputs, keep), inputs)
        for row, kept in enumerate(combinations(range(inputs), keep)):
            member[row, list(kept)] = 1
        self.member: Tensor
        self.register_buffer("member", member, persistent=False)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """The sum of the inputs, each weighted by the total weight of the sets that contain it."""
        if len(inputs) != self.member.shape[1]:
            raise InputError(f"InputChoice was made for {self.member.shape[1]} inputs, but got {len(inputs)}")
        return weighted_sum(self.mixing @ self.member.to(self.mixing.dtype), inputs)

    def fixed(self, option: Candidate) -> nn.Module:
        """A module that adds the kept inputs."""
        if not isinstance(option, tuple):
            raise InputError(f"an InputChoice keeps a list of inputs, but got {option!r}")
        return KeptInputs(option)


class KeptInputs(nn.Module):
    """The sum of some of its inputs: an `InputChoice` in a discrete network."""

    def __init__(self, kept: tuple[int, ...]) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Add the kept inputs."""
        return total(inputs[i] for i in self.kept)


class ValueChoice(Decision):
    """A number: a width, a kernel size or a depth, relaxed by masks that share one largest tensor.

    Every use below is exact for one-hot weights: what the chosen value excludes is multiplied by zero (as FBNetV2's
    channel masks do). The discrete network keeps the masks, with the chosen value.

    Args:
        values: positive whole numbers, increasing.
        key: name of the logits.
    """

    def __init__(self, values: Sequence[int], key: str | None = None) -> None:
        if list(values) != sorted(values) or any(type(v) is not int or v < 1 for v in values):
            raise InputError(f"ValueChoice needs positive, increasing whole numbers, but got {list(values)}")
        super().__init__(tuple(values), key)
        self.values: Tensor
        self.register_buffer("values", torch.tensor(values), persistent=False)

    def width(self, x: Tensor, dim: int = 1) -> Tensor:
        """Keep the first `v` entries of `x` along `dim`, softly: entry j is weighted by `sum_{v > j} a_v`."""
        mask = self._prefix(x.shape[dim])
        return x * mask.reshape([-1 if d == dim % x.dim() else 1 for d in range(x.dim())])

    def kernel(self, weight: Tensor) -> Tensor:
        """Keep the central `v x v` (or `v`) taps of a convolution's square `weight`, softly."""
        largest = weight.shape[2]
        if len(set(weight.shape[2:])) > 1 or any(v > largest or (largest - v) % 2 for v in self._values()):
            raise InputError(
                f"kernel sizes {list(self.options)} need a square kernel, at least as large as the largest of them and "
                f"larger by an even number, but got a kernel of {'x'.join(map(str, weight.shape[2:]))}"
            )
        radius = (torch.arange(largest, device=weight.device) - (largest - 1) / 2).abs()
        mask = radius <= (self.values[:, None] - 1) / 2  # values x taps of one dimension
        for _ in range(weight.dim() - 3):
            mask = mask.unsqueeze(-1) & mask.unsqueeze(1)
        return weight * torch.einsum("v,v...->...", self.mixing.to(weight.dtype), mask.to(weight.dtype))

    def depth(self, outputs: Sequence[Tensor]) -> Tensor:
        """Mix the outputs of the layers 1, 2, ...: with value `v` the output of layer `v`."""
        if len(outputs) < max(self._values()):
            raise InputError(f"depth {max(self._values())} needs as many outputs, but got {len(outputs)}")
        return weighted_sum(self.mixing, (outputs[v - 1] for v in self._values()))

    def fixed(self, option: Candidate) -> nn.Module:
        """A `ValueChoice` of one value that still masks tensors of the largest size."""
        if not isinstance(option, int):
            raise InputError(f"a ValueChoice takes a whole number, but got {option!r}")
        return ValueChoice([option], self.key).to(self.mixing)

    def _values(self) -> tuple[int, ...]:
        return tuple(v for v in self.options if isinstance(v, int))

    def _prefix(self, size: int) -> Tensor:
        if size < max(self._values()):
            raise InputError(f"width {max(self._values())} needs a tensor at least as wide, but got {size}")
        inside = torch.arange(size, device=self.values.device) < self.values[:, None]
        return self.mixing @ inside.to(self.mixing.dtype)


def weighted_sum(mixing: Tensor, outputs: Iterable[Tensor]) -> Tensor:
    """`sum_o mixing[o] * outputs[o]` for a vector `mixing`; outputs are consumed one at a time.

    Raises:
        ValueError: the number of outputs is not the length of `mixing`.
    """
    return total(a * y for a, y in zip(mixing.unbind(), outputs, strict=True))


def total(terms: Iterable[Tensor]) -> Tensor:
    """The sum of at least one tensor, in order; Python's `sum` would start by adding 0."""
    return reduce(torch.add, terms)


def kind_of(key: str) -> str:
    """The first part of a key: the kind of cell, or the outermost module of a user's choice."""
    return key.split(KEY_SEPARATOR)[0]


def decisions(module: nn.Module) -> Iterator[tuple[str, str, Decision]]:
    """Every choice inside `module`, as `(path, key, choice)`.

    Raises:
        InputError: two choices share a key but not their options.
    """
    options: dict[str, tuple[Candidate, ...]] = {}
    for path, child in module.named_modules():
        if isinstance(child, Decision):
            key = child.key if child.key is not None else path.replace(".", KEY_SEPARATOR) or "choice"
            if options.setdefault(key, child.options) != child.options:
                raise InputError(
                    f"choices with one key share their logits, so they need equal options, but {key!r} has "
                    f"{list(options[key])} and {list(child.options)}; give one of them another key"
                )
            yield path, key, child
