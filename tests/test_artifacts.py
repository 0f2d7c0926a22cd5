"""Files are whole or not there, and one that cannot be read is named."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from genrec import artifacts
from genrec.artifacts import read_json, whole_file, write_json
from genrec.errors import ArtifactError


def test_a_write_that_fails_leaves_the_file_before(tmp_path):
    path = tmp_path / "value.bin"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half of it")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"before"
    with whole_file(path) as file:
        file.write(b"after")
    assert path.read_bytes() == b"after" and list(tmp_path.iterdir()) == [path]


def test_what_a_rename_publishes_is_on_the_disk_before_it(tmp_path, monkeypatch):
    """A power cut after the rename must not find a name without its content."""
    calls, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda at: calls.append(os.readlink(f"/proc/self/fd/{at}")) or sync(at))
    monkeypatch.setattr(os, "replace", lambda source, target: calls.append("rename") or replace(source, target))
    write_json(tmp_path / "value.json", 1)
    assert calls == [f"{tmp_path}/value.json.tmp", "rename"]
    calls.clear()
    write_directory(tmp_path / "d", fails=False)
    assert calls == [f"{tmp_path}/d.tmp/new", f"{tmp_path}/d.tmp", "rename", str(tmp_path)]


def test_json_comes_back_as_it_was(tmp_path):
    value = {"title": "Größe 42", "codes": [1, 2], "none": None}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value


@pytest.mark.parametrize(
    "content", [b"", b'{"cut": ', b"\xff\xfe\x00", b"[" * 100_000], ids=["empty", "cut", "bytes", "deep"]
)
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "value.json").write_bytes(content)
    with pytest.raises(ArtifactError, match="value.json cannot be read"):
        read_json(tmp_path / "value.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere.json cannot be read: .*No such file"):
        read_json(tmp_path / "nowhere.json")


def write_directory(path, fails: bool) -> None:
    with artifacts.whole_directory(path) as beside:
        (beside / "new").write_text("new")
        if fails:
            raise KeyboardInterrupt


def test_a_directory_that_is_interrupted_stays_as_it_was_and_a_whole_one_replaces_it(tmp_path):
    path = tmp_path / "d"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_directory(path, fails=True)
    assert [file.name for file in path.iterdir()] == ["old"]
    write_directory(path, fails=False)
    assert [file.name for file in path.iterdir()] == ["new"] and [file.name for file in tmp_path.iterdir()] == ["d"]


def test_json_lines_come_back_with_what_line_readers_take_for_line_ends(tmp_path):
    records = [{"title": "a\u2028b\x85c"}, [1, None], "é"]
    artifacts.write_json_lines(tmp_path / "r.jsonl", records)
    assert artifacts.read_json_lines(tmp_path / "r.jsonl") == records
    assert (tmp_path / "r.jsonl").read_bytes().count(b"\n") == 3


def test_a_line_that_is_not_json_is_named_by_its_number(tmp_path):
    (tmp_path / "r.jsonl").write_text('{"a": 1}\n\n{"a": \n')
    with pytest.raises(ArtifactError, match="r.jsonl cannot be read: line 3 is not valid JSON"):
        artifacts.read_json_lines(tmp_path / "r.jsonl")


def test_arrays_come_back_and_equal_arrays_are_equal_bytes(tmp_path):
    for name in ("one", "two"):
        artifacts.save_arrays(tmp_path / f"{name}.npz", x=np.arange(3), names=np.array(["a", "b"]))
        artifacts.save_array(tmp_path / f"{name}.npy", np.ones((2, 2), np.float32))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert artifacts.load_arrays(tmp_path / "one.npz")["names"].tolist() == ["a", "b"]
    assert (np.load(tmp_path / "one.npy", allow_pickle=False) == 1).all()


def test_a_fingerprint_follows_names_and_contents_and_not_hidden_files(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(1))
    before = artifacts.directory_fingerprint(tmp_path)
    (tmp_path / ".hidden").write_text("x")
    assert artifacts.directory_fingerprint(tmp_path) == before
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    assert artifacts.directory_fingerprint(tmp_path) != before


def test_a_record_is_read_once(tmp_path, monkeypatch):
    """What was checked is what is taken, also where the file is replaced meanwhile."""
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": "data"}))
    read, opened = Path.open, []
    monkeypatch.setattr(Path, "open", lambda path, *rest, **more: opened.append(path) or read(path, *rest, **more))
    with pytest.raises(ArtifactError, match="is no Manifest: format_version"):
        artifacts.read_record(tmp_path / "manifest.json", artifacts.Manifest, "remove it")
    assert opened == [tmp_path / "manifest.json"]
