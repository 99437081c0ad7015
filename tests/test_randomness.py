import hashlib

import torch

from oche.randomness import derive, frozen, generator

CPU = torch.device("cpu")


def test_a_derived_seed_depends_on_text_alone() -> None:
    # The definition, written another way: it must not change between releases, machines or Python's hash seeds.
    digest = hashlib.sha256(b"3/step/12/0").hexdigest()
    assert derive(3, "step", 12, 0) == int(digest[:16], 16) // 2
    assert derive(3, "step", 12, 0) == derive(3, "step", "12", "0")


def test_derived_seeds_differ_and_fit_into_int64() -> None:
    seeds = {derive(seed, purpose, i) for seed in range(20) for purpose in ("step", "train") for i in range(50)}
    assert len(seeds) == 20 * 2 * 50
    assert all(0 <= s < 2**63 for s in seeds)
    # Every one of the 63 bits is used.
    assert all(any(s >> bit & 1 for s in seeds) and not all(s >> bit & 1 for s in seeds) for bit in range(63))


def test_generators_repeat() -> None:
    def draw(*key: int | str) -> torch.Tensor:
        return torch.rand(5, generator=generator(0, *key))

    assert torch.equal(draw("logits"), draw("logits"))
    assert not torch.equal(draw("logits"), draw("weights"))


def test_frozen_repeats_inside_and_leaves_the_outside_alone() -> None:
    before = torch.get_rng_state()
    draws = []
    for seed in (1, 1, 2):
        with frozen(seed, CPU):
            draws.append(torch.rand(5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_frozen_restores_after_an_error() -> None:
    before = torch.get_rng_state()
    try:
        with frozen(1, CPU):
            torch.rand(5)
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert torch.equal(torch.get_rng_state(), before)
