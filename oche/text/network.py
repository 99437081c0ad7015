"""A trained language model with its vocabulary: it scores texts and writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from oche.errors import InputError
from oche.nn.recurrent.language_model import LanguageModel
from oche.randomness import generator
from oche.text.batches import TextBatches
from oche.text.corpus import END, UNKNOWN, spaced
from oche.text.loss import word_loss
from oche.text.window import Stream, Window
from oche.text.words import PLAIN

BPTT = 35
"""Words that are read at a time; it changes nothing but the memory that is needed."""


class TextNetwork(nn.Module):
    """A language model behind its vocabulary.

    Args:
        network: trained.
        vocabulary: the words in the order of their numbers.

    Attributes:
        vocabulary: the same.
    """

    def __init__(self, network: LanguageModel, vocabulary: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.vocabulary = tuple(vocabulary)
        self._numbers = {word: number for number, word in enumerate(self.vocabulary)}

    def forward(self, tokens: Tensor) -> Tensor:
        """Numbers of words, `B x T`, to scores of the next word, `B x T x V`; each row begins in silence."""
        return self.network(Window(tokens, 0, Stream.EVALUATION))  # type: ignore[no-any-return]

    def encode(self, text: str, *, unknown: bool = False) -> list[int]:
        """The numbers of the words of a text; a line break is `<eos>`.

        What stands between spaces is a word, or where it is not in the vocabulary, the words and the punctuation in it.

        Args:
            text: as it is.
            unknown: whether words that are not in the vocabulary are `<unk>`, if that is; else they are refused.

        Raises:
            InputError: a word is not in the vocabulary.
        """
        words: list[str] = []
        for piece in text.replace("\n", f" {END} ").split():
            words += [piece] if piece in self._numbers else PLAIN.words(piece)
        for place, word in enumerate(words):
            if word not in self._numbers and unknown and UNKNOWN in self._numbers:
                words[place] = UNKNOWN
            elif word not in self._numbers:
                close = ", ".join(get_close_matches(word, self.vocabulary, 3)) or "none is like it"
                raise InputError(
                    f"the word {word!r} is not among the {len(self.vocabulary):,} that this network knows (close to "
                    f"it: {close}); give another one, or {UNKNOWN}, which stands for all others"
                )
        return [self._numbers[word] for word in words]

    def decode(self, numbers: Sequence[int]) -> str:
        """The words with these numbers, separated by spaces; `<eos>` is a line break."""
        return spaced(self.vocabulary[number] for number in numbers)

    @torch.no_grad()
    def perplexity(self, text: str) -> float:
        """Of all words of a text but the first, as `encode` reads them: exp of the mean loss in nats.

        Words that are not in the vocabulary count as `<unk>`, as they do in the data.

        Raises:
            InputError: a word is not in a vocabulary without `<unk>`, or there are fewer than two.
        """
        tokens = torch.tensor(self.encode(text, unknown=True), dtype=torch.int64)
        if len(tokens) < 2:
            raise InputError(f"a perplexity needs two words or more, but the text has {len(tokens)}")
        length = min(BPTT, len(tokens) - 1)
        device = self.network.embedding.device
        stream, total = Stream.EVALUATION, 0.0
        for window, targets in TextBatches(
            tokens, lanes=1, bptt=length, stream=stream, jitter=False, seed=0, device=device
        ).epoch(0):
            total += float(word_loss(self.network(window), targets)) * targets.numel()
        return math.exp(total / (len(tokens) - 1))

    @torch.no_grad()
    def write(self, words: int = 100, *, start: str = "\n", temperature: float = 1.0, seed: int = 0) -> str:
        """So many words that the network finds likely, each drawn given those before it; `<unk>` is never drawn.

        Args:
            words: to write.
            start: words that are there already.
            temperature: by which scores are divided; below 1 likely words become likelier.
            seed: fixes the draws.

        Raises:
            InputError: there is nothing to begin with, a word is not in the vocabulary, or a number is out of range.
        """
        begin = self.encode(start)
        if words < 1 or not temperature > 0 or not begin:
            raise InputError(
                f"writing needs words >= 1, temperature > 0 and a word to begin with, but got words={words}, "
                f"temperature={temperature} and the beginning {start!r}"
            )
        draws, device = generator(seed, "writing"), self.network.embedding.device
        never = [self._numbers[UNKNOWN]] if UNKNOWN in self._numbers else []
        written, tokens = list[int](), torch.tensor([begin], device=device)
        for place in range(words):
            scores = self.network(Window(tokens, place, Stream.EVALUATION))[0, -1].double()
            scores[never] = -torch.inf
            scores = (scores - scores.max()) / temperature  # the largest is 0, so that nothing overflows
            # Drawn on the CPU, so that a seed means the same on every device.
            tokens = torch.multinomial(scores.softmax(0).cpu(), 1, generator=draws)[None].to(device)
            written.append(int(tokens))
        return self.decode(written)
