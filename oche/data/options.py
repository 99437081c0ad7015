"""What a user can say about the data, and the data sets known by name. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from oche.errors import InputError

IMAGES: dict[str, str] = {
    "digits": "1,797 handwritten digits, 8x8 grayscale, 10 classes; part of scikit-learn, works offline",
    "cifar10": "60,000 photographs, 32x32 colour, 10 classes; needs --data.root DIR",
    "cifar100": "60,000 photographs, 32x32 colour, 100 classes; needs --data.root DIR",
    "svhn": "99,289 house numbers, 32x32 colour, 10 classes; needs --data.root DIR",
    "fashion-mnist": "70,000 pieces of clothing, 28x28 grayscale, 10 classes; needs --data.root DIR",
}
"""Images by name, with one line each."""

TEXTS: dict[str, str] = {
    "python-help": "the English help texts that come with Python, about 85,000 words; works offline",
    "ptb": "Penn Treebank, 929,589 words to train on, 10,000 different ones; needs --data.root DIR",
}
"""Texts by name, with one line each."""

KNOWN: dict[str, str] = IMAGES | TEXTS
"""Data sets by name, with one line each."""

DOWNLOADS = tuple(name for name in IMAGES if name != "digits")
"""Those that can be downloaded."""

PATHS: dict[str, str] = {
    "FILE.npz": "arrays x_train, y_train, x_test, y_test; images N x H x W, N x H x W x C or N x C x H x W",
    "FILE.csv": "columns path, label and, if you like, split (train or test); paths relative to the file",
    "DIRECTORY": "train/CLASS/*.png and test/CLASS/*.png, or CLASS/*.png, of which 20 % become the test part",
    "FILE.txt": "a text in UTF-8; of its lines the last 10 % become the test text, the 10 % before the validation text",
    "DIRECTORY of text": "train.txt, valid.txt and test.txt; or ptb.*.txt, whose words are split by spaces alone",
}
"""What may be given instead of a name, with one line each."""

MEMORY_LIMIT = 2 * 1024**3
"""Bytes of decoded images up to which they stay in memory: ten times CIFAR, and the data set together with
the two copied halves of a search (4 GiB) still leaves room for the search on a machine with 8 GiB."""


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How to find, cut and change the data.

    Raises:
        InputError: a number is out of its range.
    """

    root: str | None = field(
        default=None,
        metadata={"help": "directory of downloaded data (cifar10, cifar100, svhn, fashion-mnist), or of ptb"},
    )
    download: bool = field(default=False, metadata={"help": "download the data set to root where it is missing"})
    limit: int | None = field(
        default=None,
        metadata={
            "help": "use at most this many training images, the classes in proportion, chosen by the seed; of a text, "
            "the first so many training words"
        },
    )
    vocabulary: int | None = field(
        default=None,
        metadata={
            "help": "keep at most this many different words of a text, the most frequent ones (default: all that "
            "occur twice in a plain text, all of ptb)"
        },
    )
    size: tuple[int, int] | None = field(
        default=None, metadata={"help": "height and width in pixels to which image files are resized"}
    )
    flip: bool | None = field(
        default=None, metadata={"help": "mirror training images at random (default: what suits the data set)"}
    )
    crop_padding: int | None = field(
        default=None,
        metadata={"help": "shift training images at random by up to this many pixels (default: by data set)"},
    )
    stream: bool | None = field(
        default=None,
        metadata={"help": "read images batch by batch, not all at once (default: only when they are large)"},
    )
    workers: int | None = field(
        default=None,
        metadata={"help": "processes that decode streamed image files (default: by the number of CPU cores)"},
    )

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit >= 1 must hold, but got {self.limit}; give --data.limit 1000 or leave it out")
        if self.vocabulary is not None and self.vocabulary < 3:
            raise InputError(
                f"vocabulary >= 3 must hold, for the end of a line, unknown words and a word, but got "
                f"{self.vocabulary}; give --data.vocabulary 10000 or leave it out"
            )
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise InputError(f"size is height and width, both >= 1, but got {self.size}; give --data.size 32 32")
        if self.crop_padding is not None and self.crop_padding < 0:
            raise InputError(
                f"crop_padding >= 0 must hold, but got {self.crop_padding}; --data.crop-padding 0 turns it off"
            )
        if self.workers is not None and self.workers < 0:
            raise InputError(f"workers >= 0 must hold, but got {self.workers}; 0 reads in the main process")
