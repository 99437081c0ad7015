"""The command line: a front end to the options in `oche.config`. No torch is imported until a command runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from cyclopts import App, Parameter, Token, convert

from oche.config import Baseline, Duration, RunCommand, SearchCommand, TrainCommand
from oche.errors import InputError
from oche.version import __version__

# Values written as one word (`2h`, `random:3`): their class parses them. It is told from here, so that the option
# modules stay free of the command-line library.
for _word in (Duration, Baseline):
    Parameter(n_tokens=1, accepts_keys=False, converter=lambda kind, tokens: kind.parse(tokens[0].value))(_word)

NAMED_GROUPS = ("data", "space", "train")
"""`--data digits` selects by name and `--data.root DIR` refines. The library refuses to mix the two forms, so the
short form is spelled out: `--data X` means `--data.name X`."""


def _strict(kind: Any, tokens: Sequence[Token]) -> Any:
    """Convert as usual, but refuse 1.5 for a whole number, which the library would round."""
    if kind in (int, int | None) and not tokens[0].value.lstrip("+-").isdecimal():
        raise ValueError(f"a whole number is needed, but got {tokens[0].value!r}")
    return convert(kind, tokens)


app = App(
    name="oche",
    help="Differentiable neural architecture search that does not collapse.",
    version=__version__,
    help_format="plaintext",  # the Markdown renderer costs 0.1 s at every --help
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # main() says what happened
    default_parameter=Parameter(negative_iterable=(), converter=_strict),
)


@app.command
def run(options: Annotated[RunCommand, Parameter(name="*")] = RunCommand()) -> None:
    """Search, select, train and test: from a data set to a network."""
    from oche import run as runs

    runs.run(options)


@app.command
def search(options: Annotated[SearchCommand, Parameter(name="*")] = SearchCommand()) -> None:
    """Search and select an architecture."""
    from oche import run as runs

    runs.search(options)


@app.command
def train(architecture: str, /, options: Annotated[TrainCommand, Parameter(name="*")] = TrainCommand()) -> None:
    """Train and test an architecture.

    Args:
        architecture: an architecture.json, a run directory, or a known name such as darts-v2 (see: oche spaces).
        options: how to train it.
    """
    from oche import run as runs

    runs.train(architecture, options)


@app.command
def show(run: str, /) -> None:
    """Show what a run found.

    Args:
        run: a run directory.
    """
    from oche.report.listing import show_run

    show_run(run)


@app.command
def methods() -> None:
    """List the search methods."""
    from oche.report.listing import list_methods

    list_methods()


@app.command
def spaces() -> None:
    """List the search spaces and the known architectures."""
    from oche.report.listing import list_spaces

    list_spaces()


@app.command
def data() -> None:
    """List the data sets by name, and the files that can be given instead."""
    from oche.report.listing import list_data

    list_data()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0, 2 after an error of the user's (one message on standard error), 130 after Ctrl-C.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        app(list(_spelled_out(given)))
    except InputError as error:
        print(f"oche: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("oche: interrupted", file=sys.stderr)
        return 130
    return 0


def _spelled_out(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        head, equals, tail = argument.partition("=")
        named = head.startswith("--") and head[2:] in NAMED_GROUPS
        yield f"{head}.name{equals}{tail}" if named else argument


if __name__ == "__main__":
    sys.exit(main())
