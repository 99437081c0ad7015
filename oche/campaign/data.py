"""The images of a campaign: named in its results file, read once in each process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from oche.config.options import NamedData
from oche.data.dataset import Dataset
from oche.data.load import load
from oche.data.options import KNOWN
from oche.data.split import TEST_SEED
from oche.errors import InputError


@dataclass(frozen=True)
class CampaignData:
    """A data set that every process can find, and that is known to be the same everywhere.

    Attributes:
        options: where it lies and how it is cut.
        fingerprint: of its images, when the campaign was planned.
        seed: decides which images are left where their number is limited.
    """

    options: NamedData
    fingerprint: str
    # One choice of images, whatever the seed of a cell: seeds are compared on the same data.
    seed: int = TEST_SEED

    @classmethod
    def of(cls, options: NamedData) -> CampaignData:
        """Read it for the first time.

        Raises:
            InputError: it cannot be found or read.
        """
        return cls(options, _load(options, TEST_SEED).fingerprint)

    @property
    def name(self) -> str:
        """The name by which results call it: of a file without its directory, which is another one elsewhere."""
        return data_name(self.options.name)

    def read(self) -> Dataset:
        """The images.

        Raises:
            InputError: they are not those of the plan.
        """
        dataset = _load(self.options, self.seed)
        if dataset.fingerprint != self.fingerprint:
            raise InputError(f"the data {self.options.name!r} have changed since the campaign began; bring them back")
        return dataset


def data_name(name: str) -> str:
    """`cifar10` for that, `images.npz` for a path to it."""
    return name if name in KNOWN else Path(name).name


@cache
def _load(options: NamedData, seed: int) -> Dataset:
    return load(options.name, options, seed)
