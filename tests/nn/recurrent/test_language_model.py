"""Embedding, dropout, carried state, decoder and penalty."""

import copy
from dataclasses import replace
from random import Random

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from oche.checkpoint import structure
from oche.evaluation import all_finite
from oche.nn.network import Stack
from oche.nn.recurrent.cell import Masks, RecurrentCell
from oche.nn.recurrent.language_model import LanguageModel
from oche.nn.recurrent.regularization import ActivationPenalty, VariationalDropout
from oche.nn.supernet import logits, weights
from oche.spaces.recurrent import recurrent
from oche.task import TextTask
from oche.text.loss import word_loss
from oche.text.window import Stream, Window

WORDS, WIDTH = 50, 8
TASK = TextTask(vocabulary=WORDS)
SPACE = recurrent(3).replace(supernet_stack=Stack(cells=1, channels=WIDTH))


def model(seed: int = 0) -> LanguageModel:
    return SPACE.network(SPACE.sample(Random(seed)), TASK, Stack(cells=1, channels=WIDTH)).double()


def window(place: int = 0, lanes: int = 3, words: int = 6) -> Window:
    return Window((torch.arange(lanes * words).reshape(lanes, words) * 7 + place) % WORDS, place, Stream.WEIGHTS)


def test_the_decoder_is_the_embedding() -> None:
    net = model()
    names = dict(net.named_parameters())
    assert list(names) == ["embedding", "bias", "cell.first", *(f"cell.maps.{i}" for i in range(3))]
    scores = net(window())
    assert scores.shape == (3, 6, WORDS)
    assert scores.is_contiguous()
    outputs = net.cell(F.embedding(window().tokens, net.embedding), torch.zeros(3, WIDTH).double(), Masks(), {})
    torch.testing.assert_close(scores, outputs @ net.embedding.T + net.bias)
    unused = torch.ones(WORDS, dtype=torch.bool)
    unused[window().tokens] = False
    scores.sum().backward()
    assert net.embedding.grad is not None
    assert net.embedding.grad[unused].abs().sum() > 0, "words that are only scored train the embedding, too"


def test_a_text_in_windows_is_the_same_as_in_one() -> None:
    net = model().eval()
    tokens = window(words=9).tokens
    whole = net(Window(tokens, 0, Stream.WEIGHTS))
    parts = [net(Window(tokens[:, 3 * i : 3 * i + 3], i, Stream.EVALUATION)) for i in range(3)]
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_gradients_stop_at_the_border_of_a_window_and_flow_inside_it() -> None:
    net = model()
    first, second = window(0), window(1)
    words: list[Tensor] = []

    def hold(module: RecurrentCell, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        words.append(inputs[0].detach().requires_grad_())
        return (words[-1], *inputs[1:])

    net.cell.register_forward_pre_hook(hold)
    before = net(first)
    after = net(second)
    after[:, -1].sum().backward()
    assert words[0].grad is None
    assert before.requires_grad
    assert words[1].grad is not None
    assert (words[1].grad.abs().sum(-1) > 0).all(), "every word of the window has a part in its last output"
    # The state itself has passed the border.
    torch.testing.assert_close(
        net.memory.start(second, WIDTH, after)[0],
        net.cell(words[0], torch.zeros(3, WIDTH).double(), Masks(), {})[0, -1].detach(),
    )


def given_to_cell(net: LanguageModel, read: Window) -> tuple[Tensor, Masks]:
    found: list[tuple[Tensor, Masks]] = []
    handle = net.cell.register_forward_pre_hook(lambda module, inputs: found.append((inputs[0], inputs[2])))
    net(read)
    handle.remove()
    return found[0]


def test_masks_are_the_same_for_all_words_of_a_window() -> None:
    net = model().train()
    net.dropout = VariationalDropout(inputs=0.5, cell_inputs=0.25, hidden=0.75, outputs=0.5)
    words, masks = given_to_cell(net, window(lanes=20))
    plain = F.embedding(window(lanes=20).tokens, net.embedding)
    ratio = words / plain
    assert set(ratio.unique().round(decimals=6).tolist()) == {0.0, 2.0}
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    assert masks.inputs is not None
    assert masks.hidden is not None
    assert masks.inputs.shape == masks.hidden.shape == (20, WIDTH)
    assert set(masks.inputs.unique().tolist()) == {0.0, 1 / 0.75}
    assert set(masks.hidden.unique().tolist()) == {0.0, 4.0}
    # A step by itself, with the same masks, is the step in the window.
    h = torch.zeros(20, WIDTH).double()
    for t, output in enumerate(net.cell(words, h, masks, {}).unbind(1)):
        h = net.cell(words[:, t : t + 1], h, masks, {})[:, 0]
        torch.testing.assert_close(h, output)


def test_outputs_are_dropped_behind_the_cell_with_one_mask() -> None:
    net = model().train()
    net.dropout = VariationalDropout(outputs=0.5)
    with torch.no_grad():
        net.embedding[:WIDTH] = torch.eye(WIDTH)
    found: list[Tensor] = []
    net.cell.register_forward_hook(lambda module, inputs, output: found.append(output))
    ratio = net(window())[..., :WIDTH] / found[0]
    assert set(ratio.detach().unique().round(decimals=6).tolist()) == {0.0, 2.0}
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))


def test_words_are_dropped_wherever_they_occur() -> None:
    net = model().train()
    net.dropout = VariationalDropout(embedding=0.5)
    tokens = torch.arange(30).repeat(4, 2)
    words, masks = given_to_cell(net, Window(tokens, 0, Stream.WEIGHTS))
    assert masks == Masks()
    ratio = words / F.embedding(tokens, net.embedding)
    assert set(ratio.unique().round(decimals=6).tolist()) == {0.0, 2.0}
    per_word = ratio[0, :30, 0]
    assert 3 < per_word.count_nonzero() < 27
    torch.testing.assert_close(ratio, per_word.repeat(2)[None, :, None].expand_as(ratio))


def test_outside_of_a_training_nothing_is_dropped() -> None:
    net = model()
    plain = net.eval()(window())
    net.dropout = VariationalDropout(embedding=0.5, inputs=0.5, cell_inputs=0.5, hidden=0.5, outputs=0.5)
    assert torch.equal(net(window()), plain)
    assert not torch.equal(net.train()(window()), plain)


def test_the_penalty_is_the_formula_in_training_and_nothing_otherwise() -> None:
    net = model().train()
    net.penalty = ActivationPenalty(alpha=2.0, beta=3.0)
    found: list[Tensor] = []
    net.cell.register_forward_hook(lambda module, inputs, output: found.append(output))
    scores, cost = net.with_auxiliary(window())
    raw = found[0]
    differences = raw[:, 1:] - raw[:, :-1]
    torch.testing.assert_close(cost, 2 * raw.pow(2).mean() + 3 * differences.pow(2).mean())
    assert torch.equal(scores, net(window()))
    assert net.auxiliary_loss(cost, window().tokens, word_loss) is cost
    net.dropout = VariationalDropout(outputs=0.5)
    net.penalty = replace(net.penalty, beta=0.0)
    _, cost = net.with_auxiliary(window())
    ratio = cost / (2 * found[-1].pow(2).mean())
    assert not torch.isclose(ratio, torch.ones(()).double()), "of the dropped outputs"
    _, cost = net.with_auxiliary(window(words=1))
    assert cost.isfinite()
    assert net.eval().with_auxiliary(window())[1] == 0


def test_the_loss_is_the_mean_over_words_in_nats() -> None:
    scores = torch.randn(2, 3, 4, dtype=torch.float64)
    targets = torch.tensor([[0, 1, 2], [3, 3, 0]])
    by_hand = [torch.logsumexp(scores[b, t], 0) - scores[b, t, targets[b, t]] for b in range(2) for t in range(3)]
    torch.testing.assert_close(word_loss(scores, targets), torch.stack(by_hand).mean())


def test_a_step_of_a_search_reads_a_window_again_from_the_same_state() -> None:
    net = SPACE.supernet(TASK).double()
    body = net.body
    assert isinstance(body, LanguageModel)
    body.dropout = VariationalDropout(hidden=0.0)
    mixture = {key: torch.softmax(value.detach(), 0) for key, value in logits(net).items()}
    net(window(0), mixture)
    once = net(window(1), mixture)
    mean = body.cell.norm.running_mean.clone()  # type: ignore[union-attr, operator]
    values = [w.detach() for w in weights(net)]
    torch.testing.assert_close(net.with_weights(values, mixture, window(1)), once)
    scores, cost = net.both_with_weights(values, mixture, window(1))
    torch.testing.assert_close(scores, once)
    assert cost == 0
    assert torch.equal(mean, body.cell.norm.running_mean)  # type: ignore[union-attr, arg-type]
    moved = net.with_weights([w + 0.1 for w in values], mixture, window(1))
    assert not torch.allclose(moved, once)
    assert not torch.allclose(net(window(2), mixture), copy.deepcopy(net)(window(0), mixture))


def test_checkpoints_hold_the_memory() -> None:
    net = model()
    assert structure(net)["memory._extra_state"] == [0, 0, 0]
    net(window(0))
    assert all_finite(net)
    other = model(1)
    other.load_state_dict(net.state_dict())
    copied = copy.deepcopy(net)
    one, two, three = net(window(1)), other(window(1)), copied(window(1))
    assert torch.equal(one, three)
    assert one.shape == two.shape
    again = model()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(window(2)), net(window(2)))


@pytest.mark.parametrize("lanes", [1, 2])
def test_some_lanes_of_a_window_are_the_same_as_in_all(lanes: int) -> None:
    net = model().eval()
    net(window(0))
    torch.testing.assert_close(net(window(1)[:lanes]), net(window(1))[:lanes])
