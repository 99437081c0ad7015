import os

import pytest

from oche.files import LONGEST_SLUG, WriteError, append_line, remove_temporary, slug, write_whole


def test_a_file_is_replaced_as_a_whole(tmp_path):
    file = tmp_path / "file"
    write_whole(file, b"one")
    write_whole(file, b"two")
    assert file.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_if_writing_fails_the_old_file_stays(tmp_path, monkeypatch, call):
    file = tmp_path / "file"
    write_whole(file, b"old")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(WriteError, match=r"cannot write '.*file': No space left on device"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_temporary_file_of_a_kill_is_removed(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*args: object) -> None:
        raise Killed

    monkeypatch.setattr(os, "replace", kill)
    monkeypatch.setattr("pathlib.Path.unlink", lambda *args, **options: None)  # a kill cleans nothing up
    with pytest.raises(Killed):
        write_whole(tmp_path / "file", b"new")
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.undo()
    remove_temporary(tmp_path)
    assert not list(tmp_path.iterdir())


def test_lines_are_added(tmp_path):
    append_line(tmp_path / "log", "ä")
    append_line(tmp_path / "log", "b")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "ä\nb\n"
    with pytest.raises(WriteError, match="cannot write"):
        append_line(tmp_path / "none" / "log", "a")


def test_texts_as_names_of_files(tmp_path):
    assert slug("darts-nasbench201-cifar10-0") == "darts-nasbench201-cifar10-0"
    assert slug("sdarts-rs+pt/objective=amended") == "sdarts-rs+pt~objective=amended"
    long = "a" * 300
    texts = ["a/b", "a~b", "a%7Eb", "a_b", "a:b=1e-3,c=2", "a@b=1e-3,c=2", "..", "a b", "x.npz", long, long + "b"]
    names = [slug(text) for text in texts]
    assert len(set(names)) == len(texts)
    assert max(map(len, names)) <= LONGEST_SLUG + 9
    for name in set(names) - {".."}:
        assert set(name).isdisjoint('/:\\*?"<>|')
        (tmp_path / name).touch()
    assert len(list(tmp_path.iterdir())) == len(texts) - 1
