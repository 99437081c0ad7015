import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits
from torchvision import datasets

from oche.data.augment import Augment
from oche.data.dataset import Part
from oche.data.images import ImageFiles
from oche.data.load import load
from oche.data.options import DataOptions
from oche.errors import InputError
from oche.task import ImageTask

RNG = np.random.default_rng(0)
REAL = Path(__file__).parents[3] / "shared" / "data" / "cifar10-15k.npz"


def pixels(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, **changes: Any) -> str:
    """A small valid .npz file, but for the changes; a change to None leaves the array out."""
    arrays = {
        "x_train": pixels(12, 8, 8, 3),
        "y_train": np.arange(12) % 3,
        "x_test": pixels(6, 8, 8, 3),
        "y_test": np.arange(6) % 3,
    } | changes
    np.savez(path / "data.npz", **{name: array for name, array in arrays.items() if array is not None})
    return str(path / "data.npz")


def draw(path: Path, image: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def folder(root: Path, parts: tuple[str, ...] = ("train", "test"), count: int = 5) -> str:
    for part in parts:
        for name in ("cat", "dog"):
            for i in range(count):
                draw(root / part / name / f"{i}.png", pixels(8, 6, 3))
    return str(root)


def memory(part: Part) -> torch.Tensor:
    assert isinstance(part.images, torch.Tensor)
    return part.images


# Digits


def test_digits_are_scikit_learns_split_by_class() -> None:
    digits = load("digits")
    assert digits.task == ImageTask(channels=1, height=8, width=8, classes=10)
    assert digits.augment == Augment(crop_padding=1)
    assert (len(digits.train), len(digits.test)) == (1438, 359)
    together = torch.cat((memory(digits.train), memory(digits.test))).flatten(1)
    source = torch.from_numpy(load_digits().data / 16 * 255).round().byte()
    assert sorted(map(bytes, together.numpy())) == sorted(map(bytes, source.numpy()))
    assert int(together.max()) == 255
    assert "20%" in digits.notes[0]


def test_the_test_part_does_not_depend_on_the_seed() -> None:
    assert torch.equal(memory(load("digits", seed=0).test), memory(load("digits", seed=1).test))


# Options


def test_limit_keeps_the_class_shares_and_follows_the_seed() -> None:
    first, again, other = (load("digits", DataOptions(limit=100), seed=s) for s in (0, 0, 1))
    assert len(first.train) == 100
    assert len(first.test) == 359
    assert torch.bincount(first.train.labels).sub(10).abs().max() <= 1
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint
    assert len(load("digits", DataOptions(limit=10_000)).train) == 1438


def test_flip_and_crop_padding_replace_the_default() -> None:
    options = DataOptions(flip=True, crop_padding=0)
    assert load("digits", options).augment == Augment(crop_padding=0, flip=True)


# NumPy files


@pytest.mark.parametrize(
    ("shape", "task"),
    [
        ((12, 8, 10), (1, 8, 10)),
        ((12, 8, 10, 1), (1, 8, 10)),
        ((12, 1, 8, 10), (1, 8, 10)),
        ((12, 8, 10, 3), (3, 8, 10)),
        ((12, 3, 8, 10), (3, 8, 10)),
    ],
)
def test_npz_layouts(tmp_path: Path, shape: tuple[int, ...], task: tuple[int, int, int]) -> None:
    images = pixels(*shape)
    found = load(save(tmp_path, x_train=images, x_test=images[:6], y_train=(np.arange(12) % 3)[:, None]))
    assert found.train.shape == task
    expected = images if shape[1:] == task else images.reshape(12, 8, 10, -1).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(memory(found.train).numpy(), expected)
    assert found.classes == ("0", "1", "2")
    assert found.name == "data"


def test_npz_of_floating_point_stays_unscaled(tmp_path: Path) -> None:
    images = RNG.standard_normal((12, 8, 8))
    found = load(save(tmp_path, x_train=images, x_test=images[:6]))
    np.testing.assert_array_equal(memory(found.train)[:, 0].numpy(), images.astype(np.float32))


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/cifar10-15k.npz")
def test_real_cifar10() -> None:
    found = load(str(REAL))
    assert found.task == ImageTask(channels=3, height=32, width=32, classes=10)
    assert (len(found.train), len(found.test)) == (12_000, 3_000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None, "y_test": None}, "x_test, y_test is missing among x_train, y_train.*numpy.savez"),
        ({"x_train": pixels(12, 3, 8, 3)}, r"\(12, 3, 8, 3\) and both axes fit.*moveaxis"),
        ({"x_train": pixels(12, 8, 8, 4)}, r"\(12, 8, 8, 4\) and it has neither"),
        ({"x_train": pixels(12, 64)}, r"\(12, 64\) and it has neither"),
        ({"x_test": pixels(6, 8, 8)}, r"same number of axes, but x_test has the shape \(6, 8, 8\)"),
        ({"x_test": pixels(6, 9, 8, 3)}, r"must agree.*\(3, 8, 8, .*\) and \(3, 9, 8, "),
        ({"x_test": pixels(6, 8, 8, 3) / 255}, r"must agree.*torch.uint8\) and .*torch.float32\)"),
        ({"x_train": np.zeros((12, 8, 8, 3), dtype=np.int64)}, "x_train is int64; convert"),
        (
            {"x_train": np.full((12, 8, 8, 3), np.nan), "x_test": np.ones((6, 8, 8, 3))},
            "training images hold NaN or inf",
        ),
        (
            {"x_test": np.full((6, 8, 8, 3), np.inf), "x_train": np.ones((12, 8, 8, 3))},
            "test images hold NaN or inf",
        ),
        ({"x_test": np.zeros((0, 8, 8, 3)), "y_test": np.zeros(0, dtype=int)}, "at least one image"),
        ({"y_train": np.arange(11) % 3}, "12 images and 11 labels"),
        ({"y_train": np.arange(12) % 3 + 0.5}, "y_train has the shape .* and type float64"),
        ({"y_train": np.eye(12)}, r"y_train has the shape \(12, 12\)"),
        ({"y_train": np.arange(12) % 3 - 1}, "training labels run from -1 to 1"),
        ({"y_test": np.arange(6)}, "test labels run from 0 to 5; number the classes from 0"),
        ({"y_train": np.arange(12) % 3 * 2}, r"class '1' \(label 1\) has none"),
        ({"y_train": np.arange(12) * 10**9}, "without gaps, but y_train goes up to 11000000000"),
        ({"y_train": np.zeros(12, dtype=int), "y_test": np.zeros(6, dtype=int)}, "at least 2 classes"),
        ({"x_train": np.array([object()])}, "Object arrays cannot be loaded"),
    ],
)
def test_bad_npz(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=r"data '.*data\.npz': .*" + message):
        load(save(tmp_path, **changes))


def broken_npz(kind: str) -> bytes:
    whole = b"PK\x03\x04" + bytes(range(256)) * 4
    return {"empty": b"", "text": b"hello", "broken": whole, "pickle": pickle.dumps([1])}[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "broken", "pickle"])
def test_a_file_that_is_no_npz(tmp_path: Path, kind: str) -> None:
    (tmp_path / "data.npz").write_bytes(broken_npz(kind))
    with pytest.raises(InputError, match=r"cannot be read as a NumPy .npz file"):
        load(str(tmp_path / "data.npz"))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_npz(tmp_path: Path, compressed: bool) -> None:
    path = Path(save(tmp_path))
    if compressed:
        with np.load(path) as arrays:
            np.savez_compressed(path, **arrays)
    data = bytearray(path.read_bytes())
    data[300:360] = b"\xff" * 60
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"cannot be read as a NumPy .npz file"):
        load(str(path))


def test_a_single_array_under_the_name_of_an_npz(tmp_path: Path) -> None:
    with (tmp_path / "data.npz").open("wb") as file:
        np.save(file, pixels(3, 3))
    with pytest.raises(InputError, match=r"cannot be read as a NumPy .npz file"):
        load(str(tmp_path / "data.npz"))


# Image files


def test_a_directory_with_train_and_test(tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / ".cache").mkdir()
    found = load(folder(tmp_path))
    assert found.task == ImageTask(channels=3, height=8, width=6, classes=2)
    assert found.classes == ("cat", "dog")
    assert found.notes == ()
    for part, where in ((found.train, "train"), (found.test, "test")):
        files = [tmp_path / where / name / f"{i}.png" for name in ("cat", "dog") for i in range(5)]
        expected = np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files])
        np.testing.assert_array_equal(memory(part).numpy(), expected)
        assert part.labels.tolist() == [0] * 5 + [1] * 5


def test_a_directory_of_classes_gets_a_stated_test_part(tmp_path: Path) -> None:
    found = load(folder(tmp_path, parts=(".",)), seed=7)
    assert torch.bincount(found.train.labels).tolist() == [4, 4]
    assert torch.bincount(found.test.labels).tolist() == [1, 1]
    assert "no test part: 20%" in found.notes[0]


def test_streamed_files_hold_the_same_images(tmp_path: Path) -> None:
    name = folder(tmp_path)
    whole, lazy = load(name), load(name, DataOptions(stream=True))
    assert isinstance(lazy.train.images, ImageFiles)
    indices = torch.tensor([7, 0, 3])
    assert torch.equal(lazy.train.read(indices), memory(whole.train)[indices])
    assert lazy.train.nbytes == whole.train.nbytes


def test_large_directories_stream_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = folder(tmp_path)
    monkeypatch.setattr("oche.data.sources.listing.MEMORY_LIMIT", 20 * 8 * 6 * 3 - 1)
    assert isinstance(load(name).train.images, ImageFiles)
    monkeypatch.setattr("oche.data.sources.listing.MEMORY_LIMIT", 20 * 8 * 6 * 3)
    assert isinstance(load(name).train.images, torch.Tensor)


def test_gray_files_have_one_channel_unless_colour_is_among_them(tmp_path: Path) -> None:
    folder(tmp_path, parts=(".",))
    for file in tmp_path.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    assert load(str(tmp_path)).task.channels == 1
    Image.new("RGBA", (6, 8)).save(tmp_path / "dog" / "4.png")
    assert load(str(tmp_path)).task.channels == 3


def test_size_resizes_files(tmp_path: Path) -> None:
    name = folder(tmp_path)
    draw(tmp_path / "train" / "cat" / "0.png", pixels(20, 30, 3))
    found = load(name, DataOptions(size=(4, 5)))
    assert found.train.shape == (3, 4, 5)
    with pytest.raises(InputError, match=r"cat/0.png is 20x30 and .*cat/1.png is 8x6.*--data.size 20 30"):
        load(name)


def table(path: Path, text: str) -> str:
    for i in range(10):
        draw(path / "images" / f"{i}.png", pixels(4, 4))
    (path / "list.csv").write_text(text)
    return str(path / "list.csv")


SPLIT = "\n".join(
    ["path,label,split", *(f"images/{i}.png,{10 - i % 2},{'test' if i > 3 else 'train'}" for i in range(6))]
)


def test_a_csv_file(tmp_path: Path) -> None:
    found = load(table(tmp_path, SPLIT))
    assert found.classes == ("9", "10")  # by number
    assert found.train.labels.tolist() == [1, 0, 1, 0]
    assert found.test.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(memory(found.test)[0, 0].numpy(), Image.open(tmp_path / "images" / "4.png"))


def test_a_csv_file_without_split_gets_a_stated_test_part(tmp_path: Path) -> None:
    lines = ["\ufefflabel,path", *(f"{'ab'[i % 2]},images/{i}.png" for i in range(10))]
    found = load(table(tmp_path, "\n".join(lines)))
    assert (len(found.train), len(found.test)) == (8, 2)
    assert "no test part: 20%" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "path and label is missing among no columns"),
        ("path,class\na,b", "label is missing among path, class; begin the file with path,label"),
        ("path,label\n", "lists no train images"),
        ("path,label,split\nimages/0.png,a,train", "lists no test images"),
        ("path,label,split\nimages/0.png,a,valid", "line 2 needs .* split='valid'"),
        ("path,label\nimages/0.png,", "line 2 needs a path, a label"),
        ("path,label\nimages/0.png", "line 2 needs a path, a label"),
        (SPLIT + "\nimages/0.png,10,test", r"images/0.png is in the lines 2 and 8"),
        ("path,label\nimages/10.png,a", "images/10.png cannot be read as an image.*replace"),
        ("path,label\nlist.csv,a", "list.csv cannot be read as an image"),
        ("path,label\nimages/0.png,a\nimages/1.png,b", "class 'a' has 1 of 2 images"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(table(tmp_path, text))


def test_a_csv_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"path,label\n\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as a CSV file"):
        load(str(tmp_path / "list.csv"))


@pytest.mark.parametrize("stream", [False, True])
def test_a_truncated_image(tmp_path: Path, stream: bool) -> None:
    name = folder(tmp_path)
    file = tmp_path / "test" / "dog" / "4.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(InputError, match=r"dog.4\.png cannot be read as an image"):
        load(name, DataOptions(stream=stream)).test.read(torch.tensor([9]))


def test_deep_images_are_refused(tmp_path: Path) -> None:
    name = folder(tmp_path)
    Image.fromarray(np.full((8, 6), 60_000, dtype=np.uint16)).save(tmp_path / "train" / "cat" / "0.png")
    with pytest.raises(InputError, match=r"8 bits per channel, but .*0.png has mode I;16"):
        load(name)


def test_incomplete_directories(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no sub-directories"):
        load(str(tmp_path))
    name = folder(tmp_path, parts=("train",))
    with pytest.raises(InputError, match="has train/ but no test/"):
        load(name)
    folder(tmp_path, parts=("test",))
    (tmp_path / "train" / "bird").mkdir()
    with pytest.raises(InputError, match="bird is a class without images"):
        load(name)
    draw(tmp_path / "test" / "fish" / "0.png", pixels(8, 6, 3))
    (tmp_path / "train" / "bird").rmdir()
    with pytest.raises(InputError, match=r"class 'fish' .* has none"):
        load(name)


# torchvision's formats


def write_cifar(root: Path, kind: type[datasets.CIFAR10], labels: str, names: str) -> None:
    base = root / kind.base_folder
    base.mkdir()
    for name, _ in kind.train_list + kind.test_list:
        content = {"data": pixels(10, 3072), labels: list(range(10))}
        (base / name).write_bytes(pickle.dumps(content))
    (base / kind.meta["filename"]).write_bytes(pickle.dumps({names: [f"class{i}" for i in range(10)]}))


@pytest.mark.parametrize(
    ("name", "kind", "labels", "names"),
    [
        ("cifar10", datasets.CIFAR10, "labels", "label_names"),
        ("cifar100", datasets.CIFAR100, "fine_labels", "fine_label_names"),
    ],
)
def test_cifar(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: type[datasets.CIFAR10],
    labels: str,
    names: str,
) -> None:
    write_cifar(tmp_path, kind, labels, names)
    with pytest.raises(InputError, match="corrupted"):  # the checksums are not those of the real files
        load(name, DataOptions(root=str(tmp_path)))
    monkeypatch.setattr(kind, "train_list", [[file, None] for file, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [[file, None] for file, _ in kind.test_list])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": None})
    found = load(name, DataOptions(root=str(tmp_path)))
    assert found.task == ImageTask(channels=3, height=32, width=32, classes=10)
    assert found.augment == Augment(crop_padding=4, flip=True)
    for part, files in ((found.train, kind.train_list), (found.test, kind.test_list)):
        first = pickle.loads((tmp_path / kind.base_folder / files[0][0]).read_bytes())["data"][0]
        np.testing.assert_array_equal(memory(part)[0].flatten().numpy(), first)
    assert found.train.labels.tolist() == list(range(10)) * (len(found.train) // 10)


def write_fashion_mnist(root: Path) -> np.ndarray[Any, Any]:
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    images = pixels(20, 28, 28)
    for part in ("train", "t10k"):
        sizes = b"".join(n.to_bytes(4, "big") for n in images.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + images.tobytes())
        labels = (20).to_bytes(4, "big") + bytes(i % 10 for i in range(20))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + labels)
    return images


def test_fashion_mnist(tmp_path: Path) -> None:
    images = write_fashion_mnist(tmp_path)
    found = load("fashion-mnist", DataOptions(root=str(tmp_path)))
    assert found.task == ImageTask(channels=1, height=28, width=28, classes=10)
    np.testing.assert_array_equal(memory(found.test)[:, 0].numpy(), images)
    for damaged in (b"", b"\0\0\x08\x03", b"\xff" * 40):
        (tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read from"):
            load("fashion-mnist", DataOptions(root=str(tmp_path)))


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pixels(32, 32, 3, 20)
    for part in ("train", "test"):
        savemat(tmp_path / f"{part}_32x32.mat", {"X": images, "y": (np.arange(20) % 10 + 1)[:, None]})
    files = {part: ["", f"{part}_32x32.mat", None] for part in ("train", "test")}
    monkeypatch.setattr(datasets.SVHN, "split_list", files)
    found = load("svhn", DataOptions(root=str(tmp_path)))
    assert not found.augment.flip
    assert found.train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2  # SVHN calls the digit zero 10
    np.testing.assert_array_equal(memory(found.train)[3].numpy(), images[..., 3].transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "fashion-mnist"])
def test_absent_data_says_how_to_get_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"directory .* is not given; give it as --data.root DIR"):
        load(name)
    with pytest.raises(InputError, match=f"data '{name}'.*not found.*--data.download"):
        load(name, DataOptions(root=str(tmp_path)))


def test_a_failed_download_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.CIFAR10, "download", refuse)
    with pytest.raises(InputError, match=r"no route to host.*check the connection"):
        load("cifar10", DataOptions(root=str(tmp_path), download=True))


# Names and options


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown data set 'cifar-10'; did you mean 'cifar10'"):
        load("cifar-10")


@pytest.mark.parametrize("name", ["missing.npz", "missing.csv"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        load(str(tmp_path / name))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 9}, "an image of each of the 10 classes, but got 9; give --data.limit 10"),
        ({"size": (4, 4)}, "--data.size 4 4 resizes image files only"),
        ({"crop_padding": 8}, "smaller than the image, but got 8 for 8x8 pixels; give --data.crop-padding 1"),
    ],
)
def test_options_that_do_not_fit_the_data(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load("digits", DataOptions(**options))


@pytest.mark.parametrize("kind", ["digits", "npz", "csv", "directory"])
def test_options_of_downloads_are_refused_for_other_data(tmp_path: Path, kind: str) -> None:
    given = {"digits": "digits", "npz": str(tmp_path / "a.npz"), "csv": "a.csv", "directory": str(tmp_path)}[kind]
    with pytest.raises(InputError, match=r"--data.root here is for data that can be downloaded \(cifar10.* ignored"):
        load(given, DataOptions(root="here"))
    with pytest.raises(InputError, match=r"--data.download is for cifar10, .* ignored"):
        load(given, DataOptions(download=True))


def test_a_wrong_name_matters_more_than_options_it_ignores() -> None:
    with pytest.raises(InputError, match="unknown data set 'cifar-10'; did you mean 'cifar10'"):
        load("cifar-10", DataOptions(root="here"))


def test_workers_without_streaming_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--data.workers 2 is for streamed images, but --data.no-stream"):
        load("digits", DataOptions(workers=2, stream=False))
    notes = load("digits", DataOptions(workers=2)).notes
    assert any(note.startswith("warning: --data.workers 2 is ignored") and "--data.stream" in note for note in notes)
    images = folder(tmp_path)
    assert any("ignored" in note for note in load(images, DataOptions(workers=0)).notes)
    assert not load("digits", DataOptions(workers=2, stream=True)).notes[1:]
    assert not load(images, DataOptions(workers=2, stream=True)).notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit >= 1 must hold, but got 0"),
        ({"size": (0, 4)}, r"both >= 1, but got \(0, 4\); give --data.size 32 32"),
        ({"crop_padding": -1}, "crop_padding >= 0 must hold, but got -1"),
        ({"workers": -1}, "workers >= 0 must hold, but got -1"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataOptions(**options)


# Fingerprints


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    same = {"x_train": pixels(12, 8, 8, 3), "x_test": pixels(6, 8, 8, 3)}
    base = load(save(tmp_path, **same)).fingerprint
    assert load(save(tmp_path, **same)).fingerprint == base
    pixel = same["x_train"].copy()
    pixel[0, 0, 0, 0] ^= 1
    labels = np.arange(6)[::-1] % 3
    swapped = {"x_test": same["x_train"][:6], "x_train": same["x_train"]}
    for change in ({"x_train": pixel}, {"y_test": labels}, swapped, {"x_train": same["x_train"] / 1.0}):
        arrays = same | change
        if arrays["x_train"].dtype != np.uint8:
            arrays["x_test"] = arrays["x_test"] / 1.0
        assert load(save(tmp_path, **arrays)).fingerprint != base


def test_the_fingerprint_of_streamed_files_follows_size_and_time(tmp_path: Path) -> None:
    def fingerprint(size: tuple[int, int] = (8, 6)) -> str:
        return load(str(tmp_path), DataOptions(stream=True, size=size)).fingerprint

    folder(tmp_path)
    base = fingerprint()
    assert fingerprint() == base
    assert fingerprint((4, 4)) != base
    os.utime(tmp_path / "train" / "cat" / "0.png", (0, 0))
    assert fingerprint() != base


def test_a_moved_directory_keeps_its_fingerprint(tmp_path: Path) -> None:
    before = load(folder(tmp_path / "a"), DataOptions(stream=True)).fingerprint
    (tmp_path / "a").rename(tmp_path / "b")
    assert load(str(tmp_path / "b"), DataOptions(stream=True)).fingerprint == before
