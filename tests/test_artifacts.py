"""Files are whole or not there, and one that cannot be read is named."""

import pytest

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
