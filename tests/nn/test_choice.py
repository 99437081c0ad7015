from itertools import combinations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oche.errors import InputError
from oche.nn.choice import Choice, InputChoice, ValueChoice, decisions, weighted_sum
from oche.nn.supernet import ModuleBody

DOUBLE = {"dtype": torch.float64}


def simplex(n: int) -> Tensor:
    return torch.softmax(torch.randn(n, **DOUBLE), 0)


def one_hot(n: int, index: int) -> Tensor:
    return F.one_hot(torch.tensor(index), n).double()


class Around(nn.Module):
    """A user's module that uses one choice by a given function."""

    def __init__(self, choice: nn.Module, use) -> None:
        super().__init__()
        self.choice = choice
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self.choice, x)


def mixed(choice: nn.Module, use, a: Tensor, x: Tensor) -> Tensor:
    """What the supernet computes under mixing weights `a`."""
    return ModuleBody(Around(choice, use))(x, {"choice": a})


# -- Choice ----------------------------------------------------------------------------------------------------------


def candidates() -> dict[str, nn.Module]:
    return {
        "conv3": nn.Conv1d(4, 4, 3, padding=1, **DOUBLE),
        "conv5": nn.Conv1d(4, 4, 5, padding=2, **DOUBLE),
        "skip": nn.Identity(),
    }


def test_a_choice_mixes_its_candidates() -> None:
    ops, a, x = candidates(), simplex(3), torch.randn(2, 4, 7, **DOUBLE)
    expected = sum(weight * op(x) for weight, op in zip(a, ops.values(), strict=True))
    torch.testing.assert_close(mixed(Choice(ops), lambda c, x: c(x), a, x), expected)
    torch.testing.assert_close(Choice(ops).mix(a, x), expected)


def test_the_gradient_of_a_mixing_weight_is_the_output_it_weighs() -> None:
    ops, a, x = candidates(), simplex(3).requires_grad_(), torch.randn(2, 4, 7, **DOUBLE)
    (gradient,) = torch.autograd.grad(mixed(Choice(ops), lambda c, x: c(x), a, x).sum(), a)
    torch.testing.assert_close(gradient, torch.stack([op(x).sum() for op in ops.values()]).detach())


def test_outside_of_a_search_the_candidates_have_equal_weights() -> None:
    ops, x = candidates(), torch.randn(2, 4, 7, **DOUBLE)
    torch.testing.assert_close(Choice(ops).double()(x), sum(op(x) for op in ops.values()) / 3)


def test_candidates_may_take_several_inputs() -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x * y

    class Sum(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    x, y = torch.randn(3), torch.randn(3)
    torch.testing.assert_close(Choice({"product": Product(), "sum": Sum()})(x, y), (x * y + x + y) / 2)


def test_the_buffer_of_mixing_weights_is_restored_and_never_saved() -> None:
    body = ModuleBody(Around(Choice(candidates()), lambda c, x: c(x)))
    body(torch.randn(2, 4, 7, **DOUBLE), {"choice": simplex(3)})
    (buffer,) = body.buffers()
    assert torch.equal(buffer, torch.full((3,), 1 / 3))
    assert not any("mixing" in name for name in body.state_dict())


def test_the_fixed_candidate_shares_its_weights() -> None:
    ops = candidates()
    assert Choice(ops).fixed("conv5") is ops["conv5"]


@pytest.mark.parametrize("name", ["values", "keys", "half", "a.b", 3])
def test_names_that_modules_cannot_have_are_refused(name: object) -> None:
    with pytest.raises(InputError, match=str(name)):
        Choice({name: nn.Identity(), "other": nn.Identity()})  # type: ignore[dict-item]


# -- InputChoice -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inputs", "keep"), [(1, 1), (3, 1), (4, 2), (5, 2), (4, 3), (3, 3)])
def test_an_input_choice_weighs_sets_of_inputs(inputs: int, keep: int) -> None:
    choice, x = InputChoice(inputs, keep), torch.randn(inputs, 2, 3, **DOUBLE)
    sets = list(combinations(range(inputs), keep))
    assert choice.options == tuple(sets)
    a = simplex(len(sets))
    expected = sum(a[row] * sum(x[i] for i in kept) for row, kept in enumerate(sets))
    torch.testing.assert_close(mixed(choice, lambda c, x: c(list(x)), a, x), expected)


def test_a_kept_set_of_inputs_is_added() -> None:
    choice, x = InputChoice(4, 2), torch.randn(4, 5, **DOUBLE)
    for row, kept in enumerate(choice.options):
        alone = choice.fixed(kept)(list(x))
        torch.testing.assert_close(alone, x[kept[0]] + x[kept[1]])
        torch.testing.assert_close(alone, mixed(choice, lambda c, x: c(list(x)), one_hot(6, row), x))


def test_input_choices_refuse_what_cannot_be() -> None:
    for inputs, keep in ((2, 3), (2, 0), (0, 0)):
        with pytest.raises(InputError, match=f"keep={keep}, inputs={inputs}"):
            InputChoice(inputs, keep)
    with pytest.raises(InputError, match="3 inputs, but got 2"):
        InputChoice(3)([torch.zeros(1)] * 2)
    with pytest.raises(InputError, match="list of inputs"):
        InputChoice(3).fixed("a")


# -- ValueChoice -----------------------------------------------------------------------------------------------------

WIDTHS, KERNELS, DEPTHS = (2, 3, 6), (1, 3, 5), (1, 3)
FIRST, SECOND = torch.randn(6, 2, 3, 3, **DOUBLE), torch.randn(4, 6, 3, 3, **DOUBLE)
IMAGE = torch.randn(2, 2, 7, 8, **DOUBLE)
LARGE = torch.randn(3, 2, 5, 5, **DOUBLE)
LAYERS = [nn.Conv2d(2, 2, 3, padding=1, **DOUBLE) for _ in range(3)]


def with_width(choice: ValueChoice, x: Tensor) -> Tensor:
    return F.conv2d(choice.width(F.conv2d(x, FIRST, padding=1)), SECOND, padding=1)


def of_width(v: int, x: Tensor) -> Tensor:
    return F.conv2d(F.conv2d(x, FIRST[:v], padding=1), SECOND[:, :v], padding=1)


def with_kernel(choice: ValueChoice, x: Tensor) -> Tensor:
    return F.conv2d(x, choice.kernel(LARGE), padding=2)


def of_kernel(v: int, x: Tensor) -> Tensor:
    cut = (5 - v) // 2
    return F.conv2d(x, LARGE[:, :, cut : 5 - cut, cut : 5 - cut], padding=v // 2)


def with_kernel_1d(choice: ValueChoice, x: Tensor) -> Tensor:
    return F.conv1d(x.flatten(2), choice.kernel(LARGE[..., 2]), padding=2)


def of_kernel_1d(v: int, x: Tensor) -> Tensor:
    cut = (5 - v) // 2
    return F.conv1d(x.flatten(2), LARGE[:, :, cut : 5 - cut, 2], padding=v // 2)


def with_depth(choice: ValueChoice, x: Tensor) -> Tensor:
    outputs = []
    for layer in LAYERS:
        x = layer(x)
        outputs.append(x)
    return choice.depth(outputs)


def of_depth(v: int, x: Tensor) -> Tensor:
    for layer in LAYERS[:v]:
        x = layer(x)
    return x


USES = pytest.mark.parametrize(
    ("values", "use", "alone"),
    [
        (WIDTHS, with_width, of_width),
        (KERNELS, with_kernel, of_kernel),
        (KERNELS, with_kernel_1d, of_kernel_1d),
        (DEPTHS, with_depth, of_depth),
    ],
    ids=["width", "kernel", "kernel-1d", "depth"],
)


@USES
def test_one_value_equals_the_smaller_tensor(values: tuple[int, ...], use, alone) -> None:
    choice = ValueChoice(values)
    for row, v in enumerate(values):
        expected = alone(v, IMAGE)
        torch.testing.assert_close(mixed(choice, use, one_hot(len(values), row), IMAGE), expected)
        torch.testing.assert_close(use(choice.fixed(v), IMAGE), expected)


@USES
def test_values_mix_linearly(values: tuple[int, ...], use, alone) -> None:
    # Everything here is linear in the masked tensor, so the mixture is the mixture of the alternatives.
    a = simplex(len(values)).requires_grad_()
    out = mixed(ValueChoice(values), use, a, IMAGE)
    outputs = [alone(v, IMAGE) for v in values]
    torch.testing.assert_close(out, sum(w * y for w, y in zip(a, outputs, strict=True)))
    (gradient,) = torch.autograd.grad(out.sum(), a)
    torch.testing.assert_close(gradient, torch.stack([y.sum() for y in outputs]).detach())


def test_a_width_may_be_any_dimension() -> None:
    x, choice = torch.randn(2, 3, 4, **DOUBLE), ValueChoice([1, 2])
    for dim in (0, 1, 2, -1):
        kept = mixed(choice, lambda c, x, dim=dim: c.width(x, dim), one_hot(2, 0), x)
        assert torch.equal(kept.narrow(dim, 0, 1), x.narrow(dim, 0, 1))
        assert kept.narrow(dim, 1, x.shape[dim] - 1).abs().max() == 0


def test_a_tensor_may_be_wider_than_the_largest_value() -> None:
    kept = ValueChoice([2]).width(torch.ones(1, 5))
    assert kept.tolist() == [[1, 1, 0, 0, 0]]


@pytest.mark.parametrize("values", [(), (3, 1), (0, 1), (-1, 2), (2, 2), (1.5, 2.5)])
def test_impossible_values_are_refused(values: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"ValueChoice needs"):
        ValueChoice(values)


def test_value_choices_refuse_tensors_they_do_not_fit() -> None:
    choice = ValueChoice((3, 5))
    for weight in (torch.ones(1, 1, 3, 3), torch.ones(1, 1, 5, 3), torch.ones(1, 1, 3, 5), torch.ones(1, 1, 6, 6)):
        with pytest.raises(InputError, match="kernel"):
            choice.kernel(weight)
    with pytest.raises(InputError, match=r"width 5 .* got 4"):
        choice.width(torch.ones(1, 4))
    with pytest.raises(InputError, match=r"depth 5 .* got 4"):
        choice.depth([torch.ones(1)] * 4)
    with pytest.raises(InputError, match="whole number"):
        choice.fixed("3")


# -- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [Choice, lambda options, key=None: ValueChoice(tuple(options), key)])
def test_a_choice_of_nothing_is_refused(build) -> None:
    with pytest.raises(InputError, match="at least one option"):
        build({})


def test_a_key_has_no_dot() -> None:
    for build in (
        lambda k: Choice({"a": nn.Identity()}, k),
        lambda k: InputChoice(2, key=k),
        lambda k: ValueChoice([1], k),
    ):
        with pytest.raises(InputError, match=r"'a\.b'.*'a/b'"):
            build("a.b")


def test_the_key_is_the_path_unless_it_is_given() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stage = nn.Sequential(nn.Linear(2, 2), Choice({"a": Choice({"b": nn.Identity()})}))
            self.width = ValueChoice([1, 2], key="shared")
            self.other = ValueChoice([1, 2], key="shared")

    found = [(path, key) for path, key, _ in decisions(Net())]
    assert found == [
        ("stage.1", "stage/1"),
        ("stage.1.candidates.a", "stage/1/candidates/a"),
        ("width", "shared"),
        ("other", "shared"),
    ]


def test_one_key_needs_one_list_of_options() -> None:
    net = nn.Sequential(ValueChoice([1, 2], key="k"), ValueChoice([1, 3], key="k"))
    with pytest.raises(InputError, match=r"'k'.*\[1, 2\] and \[1, 3\]"):
        list(decisions(net))


def test_weighted_sums_need_as_many_weights_as_outputs() -> None:
    for count in (1, 3):
        with pytest.raises(ValueError, match="argument"):
            weighted_sum(torch.ones(2), [torch.ones(1)] * count)
