"""A CSV file with the columns `path`, `label` and, if there is a test part, `split` (train or test)."""

from __future__ import annotations

import csv
from pathlib import Path

from oche.data.dataset import Dataset
from oche.data.options import DataOptions
from oche.data.sources.listing import Listing, dataset
from oche.errors import InputError


def read(path: Path, options: DataOptions) -> Dataset:
    """The images listed in a file, their paths relative to it.

    Raises:
        InputError: the file cannot be read, a column or value is missing, a path is listed twice, or as for
            `listing.dataset`.
    """
    try:
        # -sig: spreadsheets write a byte-order mark
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = tuple(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"it cannot be read as a CSV file ({error}); save it as UTF-8 text with commas") from error
    missing = [column for column in ("path", "label") if column not in columns]
    if missing:
        raise InputError(
            f"the first line must name the columns path and label, but {' and '.join(missing)} is missing "
            f"among {', '.join(columns) or 'no columns'}; begin the file with path,label or path,label,split"
        )
    parts: dict[str, Listing] = {"train": [], "test": []}
    lines: dict[str, int] = {}
    for line, row in rows:
        image, label, part = row["path"], row["label"], row["split"] if "split" in columns else "train"
        if not image or not label or part not in parts:
            raise InputError(
                f"line {line} needs a path, a label and, in a column split, train or test, but has "
                f"{', '.join(f'{key}={row[key]!r}' for key in columns)}; complete it"
            )
        if image in lines:
            raise InputError(
                f"each image may be listed once, but {image} is in the lines {lines[image]} and {line}; "
                "remove one of them"
            )
        lines[image] = line
        parts[part].append((image, label))
    for part in ("train", "test") if "split" in columns else ("train",):
        if not parts[part]:
            raise InputError(f"the file lists no {part} images; add lines for them")
    test = parts["test"] if "split" in columns else None
    return dataset(path.stem, path.parent, parts["train"], test, options)
