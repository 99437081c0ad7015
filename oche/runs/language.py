"""The commands `export` and `write`: what can be done with the language model of a run."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote

from oche.architecture import Architecture
from oche.config.options import OutputOptions, WriteOptions
from oche.errors import InputError
from oche.files import write_whole
from oche.runs.network import load_network
from oche.runs.pieces import ARCHITECTURE
from oche.runs.record import read_space
from oche.spaces.drawing import draw
from oche.spaces.recurrent import RecurrentSpace
from oche.text.network import TextNetwork
from oche.text.source import source


def export(run: Path, file: Path | None, output: OutputOptions) -> str:
    """Write the language model of a run as a Python file that needs PyTorch alone.

    Args:
        run: a run directory with a trained network.
        file: where to; None: it is printed.
        output: what to print.

    Returns:
        The text of the file.

    Raises:
        InputError: the run has no language model, or the file cannot be written.
    """
    network, space = _language_model(run), read_space(run)
    assert isinstance(space, RecurrentSpace)  # it made the network
    architecture = Architecture.load(run / ARCHITECTURE)
    vocabulary, width = network.network.embedding.shape
    text = source(architecture, space, vocabulary=vocabulary, width=width, drawing=draw(space, architecture))
    if file is None:
        print(text, end="")
        return text
    write_whole(file, text.encode())
    if not output.quiet:
        print(f"wrote {file}; its load({str(run / 'network.pt')!r}) gives the trained model and its vocabulary")
    return text


def write(run: Path, options: WriteOptions, output: OutputOptions) -> str:
    """Write a text with the language model of a run.

    Args:
        run: a run directory with a trained network.
        options: what to begin with, how much, how boldly.
        output: what to print.

    Returns:
        What was written.

    Raises:
        InputError: the run has no language model, or it does not know a word of the beginning.
    """
    network = _language_model(run)
    written = network.write(options.words, start=options.start, temperature=options.temperature, seed=options.seed)
    if output.json:
        print(json.dumps({"start": options.start, "text": written}))
    else:
        print(f"{options.start} {written}".strip())
    return written


def _language_model(run: Path) -> TextNetwork:
    network = load_network(run)
    if not isinstance(network, TextNetwork):
        raise InputError(
            f"{str(run)!r} has a network for images, but this is for language models; oche.load_network({str(run)!r}) "
            f"gives its module, and oche show {quote(str(run))} its cells"
        )
    return network
