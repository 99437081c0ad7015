"""What a comparison consists of: its cells, who judges them, and which can be computed at a moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from oche.api import resolve_device
from oche.bench.encoding import SPACE as NASBENCH201
from oche.campaign.data import CampaignData, data_name
from oche.campaign.ledger import Entry, Ledger, key_of
from oche.campaign.task import Task
from oche.compare.judge import Judge, judge
from oche.compare.query import QueryCell, is_query
from oche.compare.tasks import RANDOM, RandomSearch, Reference, Search, Setting
from oche.config.options import CompareCommand, NamedData, SpaceOptions
from oche.config.resolve import resolve_space
from oche.errors import InputError
from oche.medium import IMAGES
from oche.methods import method
from oche.nn.structure import check_channels
from oche.presets import preset
from oche.recipe import Recipe
from oche.spaces.registry import space as named_space
from oche.training.protocol import protocol

KIND = "comparison"
"""Of its results file."""

UNREAD = "no images were read"
"""In place of their fingerprint."""

DEFAULTS: Mapping[str, Any] = {
    "methods": ["darts", RANDOM],
    "seeds": [0, 1, 2],
    "spaces": ["bench125"],
    "data": ["digits"],
    "preset": "tiny",
    "engine": "fast",
    "references": 8,
}
"""What a comparison is where nothing else is said."""

GROWS = ("methods", "seeds", "spaces", "data")
"""What may be added to a comparison that has begun: new cells beside the old ones."""


def settled(options: CompareCommand, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a comparison is: what the options say, what its results file says, and defaults for the rest.

    Args:
        options: as given.
        before: of the results file; None: there is none yet.

    Returns:
        Plain values for the header of the results file; nothing in it belongs to one machine.

    Raises:
        InputError: the options contradict the file.
    """
    lists = {"methods": options.methods, "seeds": options.seeds, "spaces": options.space.name}
    asked: dict[str, Any] = {name: list(value.all) for name, value in lists.items() if value is not None}
    if "methods" in asked:  # in one form, so that no search is made twice
        asked["methods"] = list(dict.fromkeys(str(Recipe.of(name)) for name in asked["methods"]))
    if options.data.name is not None:
        asked["data"] = [data_name(name) for name in options.data.name.all]
    cut = {name: getattr(options.data, name) for name in ("limit", "size", "flip", "crop_padding")}
    cut["size"] = cut["size"] and list(cut["size"])
    size = {name: getattr(options.space, name) for name in ("cells", "channels", "reductions")}
    single = {f"data.{k}": v for k, v in cut.items()} | {f"space.{k}": v for k, v in size.items()}
    single |= {f"search.{k}": v for k, v in asdict(options.search).items()}
    single |= {name: getattr(options, name) for name in ("preset", "engine", "random_epochs", "references", "truth")}
    single["table"] = options.table and options.table.name
    asked |= {name: value for name, value in single.items() if value is not None}
    if before is None:
        return {**dict.fromkeys(single), **DEFAULTS, **asked, "threads": options.threads}
    asked["threads"] = options.threads
    for name, value in asked.items():
        if name in GROWS:
            asked[name] = [*before[name], *(item for item in value if item not in before[name])]
        elif value != before[name]:
            option = name.replace("_", "-")
            raise InputError(
                f"the results were computed with {option} {before[name]}, but now --{option} {value} is given, and "
                "cells of both could not be compared; leave it out, or begin another results file"
            )
    return {**before, **asked}


@dataclass(frozen=True)
class Arena:
    """One space on one data set: what its cells have in common, and who judges them."""

    setting: Setting
    judge: Judge

    def is_mine(self, entry: Entry) -> bool:
        """Whether a result belongs here."""
        return all(entry["cell"][key] == name for key, name in self.setting.names.items())


@dataclass(frozen=True)
class Comparison:
    """Methods x spaces x data x seeds.

    Attributes:
        methods: names; `random` is random search.
        seeds: of each.
        arenas: spaces on data sets.
        references: random architectures to train in arenas without a table.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    arenas: tuple[Arena, ...]
    references: int

    @classmethod
    def of(cls, config: Mapping[str, Any], options: CompareCommand, results: Path) -> Comparison:
        """Read the data, look up the tables, and refuse what cannot be compared, before anything is computed.

        Args:
            config: as `settled` says.
            options: where things lie on this machine.
            results: the results file, beside which unfinished searches are kept.

        Raises:
            InputError: an unknown name, data that cannot be read, or a table that does not cover them.
        """
        queries = [name for name in config["methods"] if is_query(name)]
        searches = [method(name) for name in config["methods"] if name != RANDOM and name not in queries]
        if not searches and not queries:
            raise InputError(
                "random search gets the seconds that another method took, but it is alone; give --methods darts,random"
            )
        for name in config["spaces"]:
            if named_space(name).medium is not IMAGES:
                raise InputError(
                    f"comparisons are of image networks, but space {name!r} is for {named_space(name).medium.name}; "
                    f"give each method and seed a run of its own: oche run --space {name} --method darts --seed 0 "
                    "--baseline random:3"
                )
        if config["table"] is not None and options.table is None:
            raise InputError(f"the results are scored by a table of yours; give --table .../{config['table']} again")
        sizes, device = preset(config["preset"]), str(resolve_device(options.device))
        arenas = []
        for data in _located(config, options):
            by_table = set(config["methods"]) == set(queries) and set(config["spaces"]) == {NASBENCH201}
            # NAS-Bench-201's trainings are over: who only asks it needs no images.
            images = CampaignData(data, UNREAD) if by_table else CampaignData.of(data)
            for name in config["spaces"]:
                shape = {key: config[f"space.{key}"] for key in ("cells", "channels", "reductions")}
                space = resolve_space(SpaceOptions(name=name, **shape), sizes)
                for search in searches:
                    fitted = search.fitted(space.name, config["truth"] or images.name)
                    fitted.check(space)
                    check_channels(fitted.structure, space.supernet_stack.channels)
                known = judge(space, config["truth"] or images.name, images.fingerprint, options.table)
                rules = protocol(sizes.protocol)
                rules = replace(rules, stack=space.fitting(rules.stack))
                if not space.has_auxiliary:
                    rules = replace(rules, auxiliary=0.0)
                if known is None:
                    space.check_kinds(rules.stack, images.read().task)
                paper = [m.epochs for m in searches]
                epochs = config["search.epochs"] or sizes.epochs or max(paper, default=rules.epochs)
                setting = Setting(
                    space=space,
                    data=images,
                    truth=config["truth"] or images.name,
                    epochs=epochs,
                    batch=config["search.batch"],
                    logit_lr=config["search.logit_lr"],
                    validation=rules.validation if known is None else known.validation,
                    protocol=rules if known is None else None,
                    random_epochs=config["random_epochs"] or epochs,
                    device=device,
                    threads=config["threads"],
                    engine=config["engine"],
                    work=work_directory(results),
                    table=options.table,
                )
                for query in queries:
                    QueryCell(query, config["seeds"][0], setting).course()  # refuses what cannot be searched
                label = f"{rules.name} training here, test after it, {config['references']} random architectures"
                arenas.append(Arena(setting, known or Judge(label=label)))
        return cls(tuple(config["methods"]), tuple(config["seeds"]), tuple(arenas), config["references"])

    @property
    def searches(self) -> tuple[str, ...]:
        """The methods but random search."""
        return tuple(name for name in self.methods if name != RANDOM)

    @property
    def cells(self) -> int:
        """How many there are."""
        references = sum(arena.judge.everything is None for arena in self.arenas) * self.references
        return len(self.arenas) * len(self.methods) * len(self.seeds) + references

    def ready(self, ledger: Ledger) -> Iterator[Task]:
        """The tasks that can be done now: random search waits for the searches that decide its budget."""
        for arena in self.arenas:
            if arena.judge.everything is None:
                for number in range(self.references):
                    yield Reference(number, arena.setting)
        for seed in self.seeds:
            for arena in self.arenas:
                searches = [_search(name, seed, arena.setting) for name in self.searches]
                yield from searches
                over = [ledger.entries.get(key_of(task.cell)) for task in searches]
                finished = [entry for entry in over if entry is not None]
                seconds = [entry["seconds"] for entry in finished if entry["status"] == "done"]
                if RANDOM in self.methods and len(finished) == len(searches) and seconds:
                    yield RandomSearch(max(seconds), seed, arena.setting)

    def arena(self, entry: Entry) -> Arena:
        """Where a result belongs."""
        return next(arena for arena in self.arenas if arena.is_mine(entry))


def _search(name: str, seed: int, setting: Setting) -> Search | QueryCell:
    return QueryCell(name, seed, setting) if is_query(name) else Search(name, seed, setting)


def work_directory(results: Path) -> Path:
    """Where the unfinished searches of a comparison are kept."""
    return results.with_name(f".{results.name}.work")


def _located(config: Mapping[str, Any], options: CompareCommand) -> list[NamedData]:
    """The data of the comparison, where they lie on this machine."""
    given = {data_name(name): name for name in (options.data.name.all if options.data.name is not None else ())}
    cut = {name: config[f"data.{name}"] for name in ("limit", "flip", "crop_padding")}
    size = config["data.size"] and tuple(config["data.size"])
    here = {name: getattr(options.data, name) for name in ("root", "download", "stream", "workers")}
    return [NamedData(name=given.get(name, name), **cut, size=size, **here) for name in config["data"]]
