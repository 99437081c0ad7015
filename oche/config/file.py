"""Configurations as YAML files and as command lines. Imports neither torch nor the command-line library.

```yaml
format: 2
command: run
seed: 1
data: digits        # short for  data: {name: digits}
space:
  cells: 3
time_limit: 1h30m
```

Every value stays the text that it is, so that a file and the command line are parsed alike: `1e-3` is a rate and
`1h30m` a time in both. `null`, `~` and nothing mean "not given". Names may have hyphens or underscores.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass
from pathlib import Path
from typing import Any

import yaml

from oche.config.options import COMMANDS, NAMED_GROUPS, CommonOptions, option_fields, option_values
from oche.errors import InputError, unknown

FORMAT = 2
"""Format 1 was the config.json of oche 0.1."""

OWN_DIRECTORY = "run"
"""The option that belongs to one run only: a file with it could not be used twice."""

COMMENT_COLUMN = 40
"""Origins stand in a column; longer lines push theirs to the right."""


@dataclass(frozen=True)
class ConfigFile:
    """What a file says.

    Attributes:
        path: the file.
        command: the command it was written for; None: not stated.
        values: the words of each value by dotted name (`data.root`); None: the file leaves it open.
    """

    path: Path
    command: str | None
    values: Mapping[str, tuple[str, ...] | None]

    def given(self, command: str) -> dict[str, tuple[str, ...]]:
        """The values that are given, for a command.

        Raises:
            InputError: a name is no option of this command.
        """
        options = option_fields(COMMANDS[command])
        groups = {name.partition(".")[0] for name in options if "." in name}
        for name, words in self.values.items():
            if name not in options and not (name in groups and words is None):
                raise InputError(f"{self.path}: {stranger(name, command, options)}")
        return {name: words for name, words in self.values.items() if words is not None}


def read_config(path: Path) -> ConfigFile:
    """Read a configuration file; its values are words that have not been parsed yet.

    An architecture that is there beside the file is meant relative to it, as in a run's own configuration.

    Raises:
        InputError: the file cannot be read, is no YAML mapping, has a newer format, or has a name twice.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the configuration {str(path)!r}: {error}; check --config FILE") from None
    except yaml.YAMLError as error:
        place = f" in line {error.problem_mark.line + 1}" if isinstance(error, yaml.MarkedYAMLError) else ""
        reason = error.problem if isinstance(error, yaml.MarkedYAMLError) else " ".join(str(error).split())
        raise InputError(f"{path} is no YAML{place}: {reason}") from None
    try:
        values = _values(_settings(root)) if root is not None else {}
        _check_format(values.pop("format", None))
        command = _single("command", values.pop("command", None))
        if command is not None and command not in COMMANDS:
            raise unknown("command", command, COMMANDS)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    architecture = values.get("architecture")
    if architecture and os.path.exists(beside := path.parent / architecture[0]):
        values["architecture"] = (str(beside),)
    return ConfigFile(path, command, values)


def as_yaml(command: str, options: CommonOptions, origins: Mapping[str, str] | None = None) -> str:
    """A file that gives the same options, but for the run directory.

    Args:
        command: the name of the command.
        options: its options.
        origins: where each value comes from, by dotted name, as comments; then values that are not set are listed
            as well. None: without comments, and only what is set.
    """
    lines, header = [], ""
    for name, value in option_values(options).items():
        if name == OWN_DIRECTORY:
            if value is not None and origins is not None:
                header = f"# --run {_scalar(value)} is left out: a file is for many runs\n"
        elif value is not None or origins is not None:
            lines.append(_Line(name, _scalar(value), origin=origins[name] if origins is not None else ""))
    return header + _document(command, lines)


def template(command: str) -> str:
    """A file with every option of a command, its help and its default."""
    options = option_fields(COMMANDS[command])
    lines = [_Line(name, _scalar(_default(option)), help=option.metadata["help"]) for name, option in options.items()]
    return _document(command, lines)


def as_arguments(options: CommonOptions) -> list[str]:
    """The words of the command line, after the command, that give the same options."""
    words = []
    known = option_fields(type(options))
    for name, value in option_values(options).items():
        if value == _default(known[name]) and known[name].default is not MISSING:
            continue
        option = "--" + name.removesuffix(".name").replace("_", "-")
        text = _words(value)
        if isinstance(value, bool):
            words.append(option if value else _negative(option))
        elif len(text) == 1 and text[0].startswith("-"):
            words.append(f"{option}={text[0]}")  # or it would be taken for an option
        elif name == "architecture":
            words.append(text[0])
        else:
            words += [option, *text]
    return words


def command_line(command: str, options: CommonOptions) -> str:
    """The same as one line to paste into a shell."""
    return shlex.join(["oche", command, *as_arguments(options)])


# -- reading -----------------------------------------------------------------------------------------------------------


def _settings(root: yaml.Node) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """Dotted names and words, in the order of the file, repetitions included."""
    if not isinstance(root, yaml.MappingNode):
        raise InputError("a configuration is a list of lines such as `seed: 1`, but this file holds something else")
    for key, node in _entries(root):
        if isinstance(node, yaml.MappingNode):
            for inner, value in _entries(node):
                yield f"{key}.{inner}", _read_words(f"{key}.{inner}", value)
        else:
            yield f"{key}.name" if key in NAMED_GROUPS else key, _read_words(key, node)


def _entries(node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node]]:
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise InputError(f"line {key.start_mark.line + 1}: the name of an option is a word")
        yield key.value.replace("-", "_"), value


def _read_words(name: str, node: yaml.Node) -> tuple[str, ...] | None:
    if isinstance(node, yaml.SequenceNode):
        items = [item.value for item in node.value if isinstance(item, yaml.ScalarNode)]
        if not items or len(items) < len(node.value):
            raise InputError(f"{name} is given a list that is empty or has lists inside; give plain values")
        return tuple(items)
    if not isinstance(node, yaml.ScalarNode):
        raise InputError(f"{name} is given a mapping, but a value belongs there")
    absent = node.style is None and node.value in ("", "~", "null", "Null", "NULL")
    return None if absent else (node.value,)


def _values(settings: Iterable[tuple[str, tuple[str, ...] | None]]) -> dict[str, tuple[str, ...] | None]:
    values: dict[str, tuple[str, ...] | None] = {}
    for name, words in settings:
        if name in values:
            raise InputError(f"{name} is given twice; remove one of the lines")
        values[name] = words
    return values


def _single(name: str, words: tuple[str, ...] | None) -> str | None:
    if words is not None and len(words) > 1:
        raise InputError(f"{name} is one word, but got {' '.join(words)}")
    return words[0] if words else None


def _check_format(words: tuple[str, ...] | None) -> None:
    found = _single("format", words)
    if found is None or found == str(FORMAT):
        return
    if found.isdecimal() and int(found) > FORMAT:
        raise InputError(f"written by a newer oche: format {found}, this one reads up to {FORMAT}; update oche")
    raise InputError(f"format {found!r} cannot be read, only format {FORMAT}; `oche config` prints such a file")


def stranger(name: str, command: str, options: Iterable[str], written: Callable[[str], str] = repr) -> str:
    """What to say of a dotted name that is no option of this command.

    Args:
        name: of the stranger.
        command: that does not know it.
        options: that the command knows.
        written: how names of options are written where it stands.
    """
    others = [other for other, kind in COMMANDS.items() if name in option_fields(kind)]
    if others:
        return (
            f"{name} is an option of `oche {'` and `oche '.join(others)}`, not of `oche {command}`; "
            f"remove it, or use `oche {others[0]}`"
        )
    near = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(written, near))}? " if near else ""
    return f"unknown option {written(name)}; {hint}`oche config {command}` lists all"


# -- writing -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    """An option in a file: its dotted name, its value as YAML, and what a comment says of it."""

    name: str
    value: str
    help: str = ""
    origin: str = ""


def _document(command: str, lines: Iterable[_Line]) -> str:
    """Lines as YAML, with the groups as nested mappings."""
    text = [f"format: {FORMAT}", f"command: {command}"]
    group = ""
    for line in lines:
        head, _, last = line.name.rpartition(".")
        if head != group:
            text += ["", f"{head}:"]
        group, indent = head, "  " * bool(head)
        if line.help:
            text.append(f"{indent}# {line.help}")
        entry = f"{indent}{last}: {line.value}"
        text.append(f"{entry:<{COMMENT_COLUMN}}  # {line.origin}" if line.origin else entry)
    return "\n".join(text) + "\n"


def _scalar(value: object) -> str:
    """A value as YAML on one line."""
    if value is None:
        return "null"
    words = _words(value)
    if len(words) > 1:
        return f"[{', '.join(words)}]"
    if not isinstance(value, str):
        return words[0]
    text: str = yaml.safe_dump(value, allow_unicode=True, width=float("inf")).removesuffix("...\n").strip()
    if "\n" in text or not value.isprintable():
        text = yaml.safe_dump(value, default_style='"', width=float("inf")).strip()
    return text


def _words(value: object) -> list[str]:
    """A value as the words that a command line has for it."""
    if isinstance(value, tuple):
        return [str(item) for item in value]
    if isinstance(value, bool):
        return [str(value).lower()]
    return [repr(value) if isinstance(value, float) else str(value)]


def _default(option: Field[Any]) -> Any:
    """The default of an option, or the example of one that must be given."""
    return option.metadata["example"] if option.default is MISSING else option.default


def _negative(option: str) -> str:
    """`--data.flip` is turned off by `--data.no-flip`."""
    head, _, last = option.rpartition(".")
    return f"{head}.no-{last}" if head else f"--no-{last.removeprefix('--')}"
