"""The command line: a front end to the options in `oche.config.options`. No torch is imported until a command runs."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, ArgumentCollection, CycloptsError, Parameter, Token, convert
from cyclopts.exceptions import CoercionError, MissingArgumentError, UnknownOptionError, UnusedCliTokensError

from oche.config.options import (
    COMMANDS,
    NAMED_GROUPS,
    Baseline,
    BuildCommand,
    CommonOptions,
    CompareCommand,
    Duration,
    FileOptions,
    LevelEpochs,
    Names,
    OutputOptions,
    PlannedEpochs,
    ProbeOptions,
    ReportOptions,
    ResumeOptions,
    RunCommand,
    SearchCommand,
    Seeds,
    Size,
    TrainCommand,
    Tries,
    WriteOptions,
    option_fields,
    option_values,
)
from oche.errors import InputError
from oche.interrupt import Interrupted
from oche.version import __version__

# Values written as one word (`2h`, `random:3`): their class parses them. It is told from here, so that the option
# modules stay free of the command-line library.
for _word in (Duration, Baseline, Size, Tries, Names, Seeds, LevelEpochs):
    Parameter(n_tokens=1, accepts_keys=False, converter=lambda kind, tokens: kind.parse(tokens[0].value))(_word)

WHOLE = (int, int | None, tuple[int, int] | None)
"""Types of options made of whole numbers."""

Output = Annotated[OutputOptions, Parameter(name="*", negative=())]
File = Annotated[FileOptions, Parameter(name="*", negative=())]
Origins = Annotated[dict[str, str], Parameter(parse=False)]
"""Where each given value comes from, by dotted name; `parse` supplies it."""


# -- the commands ----------------------------------------------------------------------------------------------------


def run(
    options: Annotated[RunCommand, Parameter(name="*")] = RunCommand(),
    file: File = FileOptions(),
    output: Output = OutputOptions(),
    *,
    origins: Origins,
) -> None:
    """Search, select, train and test: from a data set to a network."""
    if file.print_config:
        return print_config("run", options, origins, output)
    from oche.runs import commands

    return commands.run(options, output)


def search(
    options: Annotated[SearchCommand, Parameter(name="*")] = SearchCommand(),
    file: File = FileOptions(),
    output: Output = OutputOptions(),
    *,
    origins: Origins,
) -> None:
    """Search and select an architecture."""
    if file.print_config:
        return print_config("search", options, origins, output)
    from oche.runs import commands

    return commands.search(options, output)


def train(
    options: Annotated[TrainCommand, Parameter(name="*")],
    file: File = FileOptions(),
    output: Output = OutputOptions(),
    *,
    origins: Origins,
) -> None:
    """Train and test an architecture."""
    if file.print_config:
        return print_config("train", options, origins, output)
    from oche.runs import commands

    return commands.train(options, output)


def resume(
    run: Path,
    /,
    *,
    device: str | None = None,
    threads: int | None = None,
    data: Annotated[str | None, Parameter(name="--data.name")] = None,
    root: Annotated[str | None, Parameter(name="--data.root")] = None,
    search_epochs: Annotated[int | None, Parameter(name="--search.epochs")] = None,
    train_epochs: Annotated[int | None, Parameter(name="--train.epochs")] = None,
    output: Output = OutputOptions(),
) -> None:
    """Go on with a run that was cut off, as if it had not been.

    Args:
        run: its directory.
        device: cpu, cuda, cuda:1, ... (default: as recorded).
        threads: CPU threads (default: as recorded).
        data: where the same data lie now; --data is short for it (default: as recorded).
        root: directory of downloaded data (default: as recorded).
        search_epochs: cannot be changed, because rates follow the planned number of epochs; start a new run instead.
        train_epochs: the same.
        output: what to print.
    """
    changes = ResumeOptions(
        device=device,
        threads=threads,
        data=data,
        root=root,
        search=PlannedEpochs(epochs=search_epochs),
        train=PlannedEpochs(epochs=train_epochs),
    )
    command, options = recorded(run)
    from oche.runs import commands

    commands.resume(run, command, options, changes, output)


def select(
    run: Path,
    /,
    *,
    epoch: int | None = None,
    selection: str | None = None,
    save: Path | None = None,
    output: Output = OutputOptions(),
) -> None:
    """Select an architecture again from what a search has recorded or kept, without searching.

    Args:
        run: a run directory.
        epoch: the epoch of the search, from 1 (default: the last one).
        selection: the rule (default: the method's).
        save: a file to write the architecture to, for oche train.
        output: what to print.
    """
    from oche.runs import commands

    commands.select(run, lambda: recorded(run)[1], epoch=epoch, selection=selection, save=save, output=output)


def show(run: Path, /, *, output: Output = OutputOptions()) -> None:
    """Show what a run found.

    Args:
        run: a run directory.
        output: what to print.
    """
    from oche.report.show import show_run

    show_run(run, output)


def list_(directory: Path = Path("runs"), /, *, output: Output = OutputOptions()) -> None:
    """List the runs in a directory.

    Args:
        directory: where the runs are.
        output: what to print.
    """
    from oche.report.overview import list_runs

    list_runs(directory, output)


def diff(a: Path, b: Path, /, *, output: Output = OutputOptions()) -> None:
    """Compare two runs: options, results, architectures.

    Args:
        a: a run directory.
        b: another one.
        output: what to print.
    """
    from oche.report.diff import diff_runs

    diff_runs(a, b, output)


def methods(name: str | None = None, /, *, output: Output = OutputOptions()) -> None:
    """List the search methods, or show one with its parts, numbers and references.

    Args:
        name: a method, perhaps with other parts as in sp-darts/selection=decorrelation (default: all).
        output: what to print.
    """
    from oche.report import listing

    if name is None:
        listing.list_methods(output)
    else:
        listing.show_method(name, output)


def probe(
    run: Path,
    /,
    what: Annotated[ProbeOptions, Parameter(name="*")] = ProbeOptions(),
    *,
    output: Output = OutputOptions(),
) -> None:
    """Look into a searched supernet: do its mixing weights say how strong candidates are?

    Candidates of some edges are compared by what the supernet can do with them alone, after training on; skip
    connections with candidates that have weights; and edges of a cell change places.

    Args:
        run: a run directory with a search.
        what: to look at.
        output: what to print.
    """
    _, options = recorded(run)
    from oche.runs import probing

    probing.probe(run, options, what, output)


def export(run: Path, /, *, file: Path | None = None, output: Output = OutputOptions()) -> None:
    """Write the language model of a run as a readable Python file that needs PyTorch alone.

    Args:
        run: a run directory with a trained recurrent cell.
        file: where to (default: it is printed).
        output: what to print.
    """
    from oche.runs import language

    language.export(run, file, output)


def write(
    run: Path,
    /,
    options: Annotated[WriteOptions, Parameter(name="*")] = WriteOptions(),
    *,
    output: Output = OutputOptions(),
) -> None:
    """Let the language model of a run write a text.

    Args:
        run: a run directory with a trained recurrent cell.
        options: what to begin with, how much, how boldly.
        output: what to print.
    """
    from oche.runs import language

    language.write(run, options, output)


def parts(axis: str | None = None, /, *, output: Output = OutputOptions()) -> None:
    """List the parts that methods are made of, with the numbers that can stand behind their names.

    Args:
        axis: structure, regularization, mixture, perturbation, objective, terms, stages or selection (default: all).
        output: what to print.
    """
    from oche.report.listing import list_parts

    list_parts(axis, output)


def cite(run: Path, /, *, output: Output = OutputOptions()) -> None:
    """Print the references of exactly what a run used, as BibTeX.

    Args:
        run: a run directory.
        output: what to print.
    """
    from oche.report.cite import cite_run

    cite_run(run, output)


def spaces(*, output: Output = OutputOptions()) -> None:
    """List the search spaces and the known architectures."""
    from oche.report.listing import list_spaces

    list_spaces(output)


def data(*, output: Output = OutputOptions()) -> None:
    """List the data sets by name, and the files that can be given instead."""
    from oche.report.listing import list_data

    list_data(output)


def compare(
    results: Path,
    /,
    options: Annotated[CompareCommand, Parameter(name="*", negative=())] = CompareCommand(),
    report: Annotated[ReportOptions, Parameter(name="*")] = ReportOptions(),
    *,
    output: Output = OutputOptions(),
) -> None:
    """Compare methods: every one on every space and data set with every seed, in parallel; called again, it goes on.

    Args:
        results: the results file; it grows cell by cell, and alone suffices to go on or to report.
        options: what to compare, and where.
        report: files to write.
        output: what to print.
    """
    from oche.compare import commands

    commands.compare(results, options, report, output)


def bench_build(
    directory: Path,
    /,
    options: Annotated[BuildCommand, Parameter(name="*", negative=())] = BuildCommand(),
    *,
    output: Output = OutputOptions(),
) -> None:
    """Train every architecture of a small space, and write the table; called again, it goes on.

    Args:
        directory: of the table.
        options: what to train, and where.
        output: what to print.
    """
    from oche.bench import commands

    commands.build(directory, options, output)


def bench_show(table: str = "bench125", /, *, output: Output = OutputOptions()) -> None:
    """Show what a table holds, and whether its seeds agree.

    Args:
        table: bench125, or a directory made by oche bench build.
        output: what to print.
    """
    from oche.bench import commands

    commands.show(table, output)


def config(command: Literal["run", "search", "train"] = "run", /) -> None:
    """Print a configuration file with every option, its help and its default, to be changed and given as --config.

    Args:
        command: the command that it is for.
    """
    from oche.config.file import template

    print(template(command), end="")


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the completion script of a shell. For bash: oche completion bash >> ~/.bash_completion.

    Args:
        shell: the shell.
    """
    print(_app().generate_completion(shell=shell), end="")


REGISTERED: dict[str, Callable[..., None]] = {
    "run": run,
    "search": search,
    "train": train,
    "resume": resume,
    "compare": compare,
    "select": select,
    "show": show,
    "list": list_,
    "diff": diff,
    "probe": probe,
    "export": export,
    "write": write,
    "cite": cite,
    "methods": methods,
    "parts": parts,
    "spaces": spaces,
    "data": data,
    "config": config,
    "completion": completion,
}


# -- what they share -------------------------------------------------------------------------------------------------


def print_config(command: str, options: CommonOptions, origins: dict[str, str], output: OutputOptions) -> None:
    """Print what the options come to, as a configuration file with the origin of each value, or as JSON.

    Raises:
        InputError: an unknown name, or a number out of its range; or nothing shall be printed.
    """
    if output.quiet:
        raise InputError("--print-config prints the configuration and --quiet nothing; leave out one of them")
    from oche.api import resolve_device
    from oche.config.file import FORMAT, as_yaml
    from oche.config.resolve import resolve

    resolved, filled = resolve(options, resolve_device(options.device))
    values = option_values(resolved)
    unsaid = {name: "not set" if value is None else "default" for name, value in values.items()}
    origins = {name: (unsaid | filled | origins)[name] for name in values}
    if output.json:
        words = Duration | Baseline | Size | Tries | LevelEpochs
        plain = {name: str(v) if isinstance(v, words) else v for name, v in values.items()}
        print(json.dumps({"format": FORMAT, "command": command, "options": plain, "origins": origins}, indent=1))
    else:
        print(as_yaml(command, resolved, origins), end="")


def recorded(run: Path) -> tuple[str, Any]:
    """The command that made a run, and its options.

    Raises:
        InputError: the run has no configuration that can be read, or is of a format without checkpoints.
    """
    from oche.config.file import read_config

    path = run / "config.yaml"
    if not path.exists() and (run / "config.json").exists():
        raise InputError(
            f"the run {str(run)!r} has format 1, which kept no checkpoints, so it cannot go on; its options are in "
            "config.json and its command line in manifest.json: start it again with another --run DIR"
        )
    if not path.exists():
        raise InputError(
            f"{str(run)!r} is no run directory with a config.yaml; oche list shows the runs that are there"
        )
    command = read_config(path).command
    if command is None:
        raise InputError(f"{path} does not say which command made the run; add a line such as: command: run")
    _, bound = parse([command, "--config", str(path)])
    bound.apply_defaults()
    return command, bound.arguments["options"]


# -- parsing ---------------------------------------------------------------------------------------------------------


class Sources:
    """Fills what the command line leaves open from the file of `--config`, and notes where each value comes from.

    Attributes:
        origins: `command line` or the file, by dotted name; only of values that are given.
        file: the file that was read; None: none.
    """

    def __init__(self) -> None:
        self.origins: dict[str, str] = {}
        self.file: Path | None = None

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Called by the library, with the words of the command line already assigned.

        Raises:
            InputError: the file cannot be read or has an unknown option.
        """
        chosen = arguments.get("--config", None)
        if chosen is not None and chosen.tokens:
            self._fill(Path(chosen.tokens[0].value), commands[-1], arguments)
        for argument in arguments:
            if argument.keys and argument.tokens:
                source = argument.tokens[0].source
                self.origins[".".join(argument.keys)] = "command line" if source == "cli" else source

    def _fill(self, path: Path, command: str, arguments: ArgumentCollection) -> None:
        from oche.config.file import read_config

        by_name = {".".join(argument.keys): argument for argument in arguments if argument.keys}
        for name, words in read_config(path).given(command).items():
            argument = by_name[name]
            wanted = max(argument.token_count()[0], 1)  # 0: a flag, which a file writes as true or false
            if len(words) != wanted:
                raise InputError(f"{path}: {name} needs {_count(wanted)}, but got {_count(len(words))}")
            if not argument.tokens:  # the command line goes before the file
                for i, word in enumerate(words):
                    argument.append(Token(keyword=name, value=word, source=str(path), index=i))
        self.file = path


def _count(values: int) -> str:
    return "one value" if values == 1 else f"a list of {values} values"


def _strict(kind: Any, tokens: Sequence[Token]) -> Any:
    """Convert as usual, but refuse 1.5 for a whole number, which the library would round."""
    for token in tokens if kind in WHOLE else ():
        if not token.value.lstrip("+-").isdecimal():
            raise ValueError(f"a whole number is needed, but got {token.value!r}")
    return convert(kind, tokens)


def _app(sources: Sources | None = None) -> App:
    app = App(
        name="oche",
        help="Differentiable neural architecture search that does not collapse.",
        version=__version__,
        help_format="plaintext",  # the Markdown renderer costs 0.1 s at every --help
        default_parameter=Parameter(negative_iterable=(), converter=_strict),
        config=sources,
    )
    bench = App(name="bench", help="Tables of whole spaces: make one, look at one.", sort_key=len(REGISTERED))
    bench.command(bench_build, name="build")
    bench.command(bench_show, name="show")
    app.command(bench)
    for name, command in REGISTERED.items():
        app.command(command, name=name, sort_key=list(REGISTERED).index(name))  # as a user meets them
    return app


def parse(arguments: Sequence[str]) -> tuple[Callable[..., Any], inspect.BoundArguments]:
    """The command that a command line asks for, and its arguments.

    Raises:
        InputError: a word cannot be understood; the message names the option and where it comes from.
    """
    sources = Sources()
    try:
        command, bound, supplied = _app(sources).parse_args(
            list(_spelled_out(arguments)), exit_on_error=False, print_error=False
        )
    except CycloptsError as error:
        raise InputError(_message(error)) from None
    except InputError as error:
        place = f" (with the options of {sources.file})" if sources.file else ""
        raise InputError(f"{error}{place}") from None
    if "origins" in supplied:
        bound.arguments["origins"] = sources.origins
    return command, bound


def _spelled_out(arguments: Sequence[str]) -> Iterator[str]:
    """`--data X` selects by name and `--data.root DIR` refines; the library refuses to mix the two forms."""
    for argument in arguments:
        head, equals, tail = argument.partition("=")
        named = head.startswith("--") and head[2:] in NAMED_GROUPS
        yield f"{head}.name{equals}{tail}" if named else argument


def _message(error: CycloptsError) -> str:
    """On one line, with the option and the file where the library leaves them out."""
    text = " ".join(str(error).split())
    argument = error.argument
    if isinstance(error, UnknownOptionError) and error.command_chain and error.command_chain[-1] in COMMANDS:
        return _unknown_option((error.token.keyword or error.token.value).partition("=")[0], error.command_chain[-1])
    if isinstance(error, UnusedCliTokensError):
        return f"unexpected {' '.join(error.unused_tokens or ())!r}; see oche --help"
    if argument is None:
        return text
    if isinstance(error, MissingArgumentError) and argument.parameter.help:
        return f"{text.removesuffix('.')}: {argument.parameter.help}"
    if isinstance(error, CoercionError) and error.msg is not None and argument.tokens:
        token = argument.tokens[0]
        place = "" if token.source == "cli" else f" from {token.source}"
        return f"{token.keyword or argument.name}{place}: {error.msg}"
    return text


def _unknown_option(word: str, command: str) -> str:
    """As in a file; the nearest name of the library may be one of another group."""
    from oche.config.file import stranger

    name = word.removeprefix("--").replace("-", "_")
    return stranger(
        name, command, option_fields(COMMANDS[command]), lambda n: "--" + n.removesuffix(".name").replace("_", "-")
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0; 2 after an error of the user's (one message on standard error); 128 and the number of the
        signal after a job was stopped; 130 after Ctrl-C.
    """
    try:
        command, bound = parse(sys.argv[1:] if arguments is None else arguments)
        command(*bound.args, **bound.kwargs)
    except InputError as error:
        print(f"oche: {error}", file=sys.stderr)
        return 2
    except Interrupted as error:
        print(f"oche: {error.hint}", file=sys.stderr)
        return 128 + error.signal
    except KeyboardInterrupt:
        print("oche: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
