"""What the commands `show`, `methods`, `spaces` and `data` print."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from oche.architecture import Architecture
from oche.data.options import KNOWN, PATHS
from oche.methods import METHODS
from oche.report.drawing import draw
from oche.run_directory import read_json, read_space
from oche.spaces.registry import SPACES, known_architectures, space


def show_run(run: str) -> None:
    """What was run, what was found, and how it scored.

    Raises:
        InputError: there is no readable run at this path.
    """
    path, console = Path(run), Console()
    config, manifest = read_json(path, "config.json"), read_json(path, "manifest.json")
    options = config["options"]
    method = f" with {options['method']}" if "method" in options else ""
    console.print(f"oche {config['command']} of {manifest['data']['name']}{method}, seed {manifest['seed']}")
    console.print(f"started {manifest['started']} on {manifest['device']}, torch {manifest['packages']['torch']}")
    if not (path / "architecture.json").exists():
        console.print("no architecture yet: the search is running, or it was interrupted")
        return
    print(draw(read_space(path), Architecture.load(path / "architecture.json")))
    if not (path / "result.json").exists():
        console.print("no result yet: the run is going on, or it was interrupted")
        return
    result = read_json(path, "result.json")
    if "search" in result:
        print(f"verdict: {result['search']['verdict']}")
    if "network" in result:
        _show_networks(console, [("found", result["network"])], result.get("random", []))


def _show_networks(console: Console, rows: list[tuple[str, dict]], random: list[dict]) -> None:  # type: ignore[type-arg]
    table = Table("network", "test accuracy", "validation accuracy", "parameters", "seconds")
    for name, scores in [*rows, *((f"random {i + 1}", s) for i, s in enumerate(random))]:
        cells = [f"{scores[part]['accuracy']:.2%}" if scores[part] else "-" for part in ("test", "validation")]
        table.add_row(name, *cells, f"{scores['parameters']:,}", f"{scores['seconds']:.0f}")
    console.print(table)


def list_methods() -> None:
    """A table of the search methods."""
    table = Table("method", "what it is", "paper")
    for name, method in METHODS.items():
        table.add_row(name, method.summary, method.reference)
    Console().print(table)


def list_spaces() -> None:
    """A table of the spaces, and one of the known architectures."""
    console = Console()
    table = Table("space", "edges", "candidates", "architectures")
    for name in SPACES:
        named = space(name)
        candidates = sorted({c for edge in named.domain.edges.values() for c in map(str, edge.candidates)})
        table.add_row(name, str(len(named.domain.edges)), ", ".join(candidates), f"{named.size:.3g}")
    console.print(table)
    known = Table("known architecture", "space", "parameters (CIFAR-10)", "parameters (ImageNet)")
    for name, entry in known_architectures().items():
        sizes = (entry.cifar_parameters, entry.imagenet_parameters)
        known.add_row(name, entry.architecture.space, *(f"{n:,}" for n in sizes))
    console.print(known)


def list_data() -> None:
    """A table of the data sets by name, and of the files that can be given instead."""
    table = Table("data", "what it is")
    for name, line in (KNOWN | PATHS).items():
        table.add_row(name, line)
    Console().print(table)
