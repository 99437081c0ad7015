"""Small texts written by the tests; the real Penn Treebank where it is there."""

import sys
from pathlib import Path
from typing import Any

import pytest

from oche.data.kind import is_text
from oche.data.load import load
from oche.data.options import KNOWN, DataOptions
from oche.data.read import load as read
from oche.errors import InputError
from oche.text.corpus import Corpus
from oche.text.load import load_text

PTB = Path(__file__).parents[3] / "shared" / "data" / "ptb"
PREPARED = {
    "ptb.train.txt": " the cat sat \n on the <unk> mat \n\n",
    "ptb.valid.txt": " the cat \n",
    "ptb.test.txt": " a dog sat \n",
}
PLAIN = {
    "train.txt": "The cat's mat. The cat sat...\n\n'The  cat_2', x==1;\n-------\n==",
    "valid.txt": "The dog.\n",
    "test.txt": "cat cat\n",
}


def write(directory: Path, files: dict[str, str | bytes | None]) -> str:
    for name, text in files.items():
        if text is not None:
            (directory / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(directory)


def words(corpus: Corpus, part: str) -> list[str]:
    return [corpus.vocabulary[i] for i in corpus.parts[part].tolist()]


# Prepared texts


@pytest.mark.parametrize("name", ["ptb", "directory"])
def test_a_prepared_text(tmp_path: Path, name: str) -> None:
    root = write(tmp_path, PREPARED)
    found = load_text("ptb", DataOptions(root=root)) if name == "ptb" else load_text(root)
    assert found.name == (name if name == "ptb" else tmp_path.name)
    assert found.vocabulary == ("the", "cat", "sat", "<eos>", "on", "<unk>", "mat")
    assert words(found, "training") == ["the", "cat", "sat", "<eos>", "on", "the", "<unk>", "mat", "<eos>", "<eos>"]
    assert words(found, "validation") == ["the", "cat", "<eos>"]
    assert words(found, "test") == ["<unk>", "<unk>", "sat", "<eos>"]
    (note,) = found.notes
    assert note == (
        "the vocabulary has 7 words; what is not in it is read as <unk>: 0.0% of the training, 0.0% of the validation, "
        "50.0% of the test words"
    )


def test_a_prepared_text_without_unknown_words(tmp_path: Path) -> None:
    files = {"ptb.train.txt": "a b\n", "ptb.valid.txt": "a\n", "ptb.test.txt": "b b\n"}
    found = load_text(write(tmp_path, files))
    assert found.vocabulary == ("a", "b", "<eos>")
    assert found.notes == ()
    unknown = load_text(write(tmp_path, {"ptb.test.txt": "c\n"}))
    assert unknown.vocabulary == ("a", "b", "<eos>", "<unk>")
    assert words(unknown, "test") == ["<unk>", "<eos>"]


@pytest.mark.skipif(not PTB.exists(), reason="needs ../shared/data/ptb")
def test_real_penn_treebank() -> None:
    found = load_text("ptb", DataOptions(root=str(PTB)))
    assert [len(part) for part in found.parts.values()] == [929_589, 73_760, 82_430]
    assert len(found.vocabulary) == 10_000
    assert found.notes == ()
    assert found.decode(found.train[24:44]).startswith("\npierre <unk> N years old will join the board as")


# Plain texts


def test_a_plain_text_keeps_words_that_occur_twice_in_training(tmp_path: Path) -> None:
    found = load_text(write(tmp_path, PLAIN))
    # Without the rule: The cat's mat . The cat sat ... <eos> ' The cat_2 ' , x == 1 ; <eos> --- <eos> == <eos>
    expected = "The <unk> <unk> <unk> The <unk> <unk> <unk> <eos> ' The <unk> ' <unk> <unk> == <unk> <unk> <eos> <unk>"
    assert words(found, "training") == [*expected.split(), "<eos>", "==", "<eos>"]
    assert words(found, "validation") == ["The", "<unk>", "<unk>", "<eos>"]  # cat occurs once in training
    assert words(found, "test") == ["<unk>", "<unk>", "<eos>"]


def test_words_of_a_plain_text(tmp_path: Path) -> None:
    line = "Don't l\u2019été <unk> <eos> a-b!! ?!…… 3.14 __init__ ((x)) ----------- 中文"
    files = {"train.txt": f"{line}\n{line}\n", "valid.txt": "x", "test.txt": "x"}
    found = load_text(write(tmp_path, files))
    expected = "Don't l\u2019été <unk> < eos > a - b !! ? ! …… 3 . 14 __init__ (( x )) --- 中文 <eos>"
    assert words(found, "training") == expected.split() * 2


def test_marks_belong_to_their_letter(tmp_path: Path) -> None:
    line = "हिन्दी भाषा! क्\u200dष-ภาษาไทย x\u0301y \u2764\ufe0f\u2764\ufe0f"
    files = {"train.txt": f"{line}\n{line}\n", "valid.txt": "x", "test.txt": "x"}
    expected = "हिन्दी भाषा ! क्\u200dष - ภาษาไทย x\u0301y \u2764\ufe0f\u2764\ufe0f <eos>"
    assert words(load_text(write(tmp_path, files)), "training") == expected.split() * 2


def test_the_limit_counts_end_and_unknown_and_ties_go_to_the_first(tmp_path: Path) -> None:
    files = {"train.txt": "d c c b b b a a\n", "valid.txt": "a b c d e\n", "test.txt": "b\n"}
    found = load_text(write(tmp_path, files), DataOptions(vocabulary=4))
    assert found.vocabulary == ("<unk>", "c", "b", "<eos>")  # a is as frequent as c, and d too rare
    assert words(found, "validation") == ["<unk>", "b", "c", "<unk>", "<unk>", "<eos>"]
    assert len(load_text(str(tmp_path), DataOptions(vocabulary=100)).vocabulary) == 5


def test_what_the_training_text_is_cut_to_decides_the_vocabulary(tmp_path: Path) -> None:
    files = {"train.txt": "a a b\nb b\n", "valid.txt": "a b\n", "test.txt": "b\n"}
    found = load_text(write(tmp_path, files), DataOptions(limit=3))
    assert words(found, "training") == ["a", "a", "<unk>"]
    assert words(found, "validation") == ["a", "<unk>", "<eos>"]
    assert words(load_text(str(tmp_path), DataOptions(limit=1000)), "training") == [
        "a",
        "a",
        "b",
        "<eos>",
        "b",
        "b",
        "<eos>",
    ]


def test_a_single_file_is_cut_by_lines(tmp_path: Path) -> None:
    text = "\n \n".join(f"line {i} line {i}" for i in range(20)) + "\n"
    path = Path(write(tmp_path, {"book.txt": text})) / "book.txt"
    found = load_text(str(path))
    assert found.name == "book"
    assert [len(part) // 5 for part in found.parts.values()] == [16, 2, 2]
    assert words(found, "training")[:6] == ["line", "0", "line", "0", "<eos>", "line"]
    assert words(found, "test") == ["line", "<unk>", "line", "<unk>", "<eos>"] * 2
    assert found.notes[0].startswith("of 20 lines the first 80% are the training text")
    assert "0.0% of the training, 40.0% of the validation, 40.0% of the test words" in found.notes[1]


def test_line_ends_and_byte_order_marks_of_other_systems_change_nothing(tmp_path: Path) -> None:
    base = load_text(write(tmp_path, PLAIN))
    other = {name: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() for name, text in PLAIN.items()}
    assert load_text(write(tmp_path, other)).fingerprint == base.fingerprint
    assert load_text(write(tmp_path, {"valid.txt": "The cow.\n"})).fingerprint == base.fingerprint  # unknown, too
    assert load_text(write(tmp_path, {"valid.txt": "The The.\n"})).fingerprint != base.fingerprint


# Python's help


def test_the_embedded_text_is_real_and_split_by_topics() -> None:
    found, again = load_text("python-help"), load_text("python-help")
    train, valid, test = map(len, found.parts.values())
    assert train > 40_000
    assert all(0.04 < part / (train + valid + test) < 0.25 for part in (valid, test))
    assert 1_000 < len(found.vocabulary) < 10_000
    assert found.fingerprint == again.fingerprint
    assert "Python " + sys.version.split()[0].rstrip("+") in found.notes[0]


def test_no_paragraph_of_the_embedded_text_is_in_two_parts() -> None:
    """Topics of Python's help repeat each other: without care a third of the test text would be trained on."""
    from oche.text.sources import python_help

    seen = [{" ".join(p.split()) for p in text.split("\n\n")} for text in python_help().texts]
    assert all(len(part) > 50 for part in seen)
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_python_without_its_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(InputError, match=r"data 'python-help': the help texts .* not installed .*standard library"):
        load_text("python-help")


# What cannot be read


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (PREPARED | {"ptb.valid.txt": None}, r"ptb.train.txt, ptb.valid.txt, ptb.test.txt, but ptb.valid.txt cannot"),
        (PLAIN | {"train.txt": None, "test.txt": None}, "but train.txt and test.txt cannot be found in .*; add what"),
        (PLAIN | {"test.txt": " \n\n"}, "test.txt has no words; give a longer text"),
        (PLAIN | {"test.txt": ""}, "test.txt has no words; give a longer text"),
        (
            PLAIN | {"valid.txt": "été\n".encode() + "été\n".encode("latin1")},
            "valid.txt is not encoded as UTF-8: byte 0xe9 at offset 6 cannot be decoded; convert it.*iconv.*valid.txt",
        ),
        (PLAIN | {"train.txt": "été".encode("utf-16")}, "train.txt is not .*byte 0xff at offset 0 "),
        (PLAIN | {"train.txt": "cat".encode("utf-16-le")}, "train.txt is no text: it has a zero at byte 1; save"),
    ],
)
def test_files_that_are_no_texts(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    name = write(tmp_path, files)
    assert is_text(name)
    with pytest.raises(InputError, match=f"^data '.*': .*{message}"):
        load_text(name)


def test_ptb_needs_its_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"directory of ptb.train.txt, .* is not given; give it as --data.root DIR"):
        load_text("ptb")
    with pytest.raises(InputError, match=r"but ptb.train.txt and ptb.valid.txt and ptb.test.txt cannot be found in"):
        load_text("ptb", DataOptions(root=str(tmp_path)))
    with pytest.raises(InputError, match="cannot be found"):
        load_text("ptb", DataOptions(root=str(tmp_path / "missing")))


def test_a_file_that_is_missing_or_tiny(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        load_text(str(tmp_path / "missing.txt"))
    write(tmp_path, {"tiny.txt": "one\ntwo\n\n\n" * 4})
    with pytest.raises(InputError, match=r"needs at least 10 of them, but tiny.txt has 8; give a longer text"):
        load_text(str(tmp_path / "tiny.txt"))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    write(tmp_path, {"a.txt": "a"})
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"a.txt cannot be read \(Permission denied\); check its permissions"):
        load_text(str(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": False}, "--data.flip is for images and would be ignored for a text; leave it out"),
        ({"size": (4, 4)}, "--data.size is for images"),
        ({"crop_padding": 0}, "--data.crop-padding is for images"),
        ({"stream": False}, "--data.stream is for images"),
        ({"workers": 0}, "--data.workers is for images"),
        ({"download": True}, "--data.download is for images; no text is downloaded"),
        ({"root": "here"}, "--data.root here is for data known by name, such as ptb, and would be ignored here"),
    ],
)
def test_options_of_images_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"data 'python-help': {message}"):
        load_text("python-help", DataOptions(**options))


def test_options_of_texts_are_refused_for_images() -> None:
    with pytest.raises(InputError, match=r"data 'digits': --data.vocabulary 100 is for a text and would be ignored"):
        load("digits", DataOptions(vocabulary=100))
    with pytest.raises(InputError, match=r"vocabulary >= 3 must hold, .* but got 2; give --data.vocabulary 10000"):
        DataOptions(vocabulary=2)


# Images or text


def test_what_is_a_text(tmp_path: Path) -> None:
    assert [name for name in KNOWN if is_text(name)] == ["python-help", "ptb"]
    assert is_text("somewhere/a.TXT")
    assert not is_text("a.csv")
    assert not is_text("no such name")
    assert not is_text(str(tmp_path))
    images = tmp_path / "images"
    (images / "train" / "cat").mkdir(parents=True)
    write(images, {"train.txt": "train/cat/1.png"})  # many sets of images list them like this
    assert not is_text(str(images))
    write(images, {"valid.txt": "a", "test.txt": "a"})
    assert is_text(str(images))


def test_reading_whatever_it_is(tmp_path: Path) -> None:
    assert isinstance(read(write(tmp_path, PLAIN)), Corpus)
    assert len(read("digits", DataOptions(limit=50), 1).train) == 50
    with pytest.raises(InputError, match=r"unknown data set 'pbt'; did you mean 'ptb'\?"):
        read("pbt")


def test_a_text_where_only_images_can_be_used() -> None:
    with pytest.raises(InputError, match="data 'ptb': it is a text, but images are needed here; give images"):
        load("ptb")
