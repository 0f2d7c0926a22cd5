"""Files that were changed after they were made are refused when an artifact is read, with both values."""

import os

import pytest

from genrec import stage, verify
from genrec.errors import ArtifactError
from tests import parse_flags


@pytest.fixture
def run(tmp_path):
    """A run with a data artifact of two files, read by the embeddings stage."""

    def build(config, directory):
        (directory / "below").mkdir()
        (directory / "a.txt").write_text("hello")
        (directory / "below/b.txt").write_text("world")
        return {}

    stage.run("data", command(tmp_path), build)
    return tmp_path / "run"


def command(tmp_path, *flags):
    return parse_flags(["--config", "tiny", "--run.dir", str(tmp_path / "run"), *flags])


def read(run, *flags):
    stage.run("embeddings", command(run.parent, "--clean", *flags), lambda config, directory: {})


@pytest.mark.parametrize("name", ["a.txt", "below/b.txt"])
@pytest.mark.parametrize(
    ("content", "message"),
    [("jello", "sha256 [0-9a-f]{16} in the manifest"), ("longer one", "5 bytes in the manifest, 10 bytes")],
)
def test_an_altered_file_is_refused_with_both_values(run, name, content, message):
    read(run)
    (run / "data" / name).write_text(content)
    with pytest.raises(ArtifactError, match=f"{name} was changed after it was made: {message}"):
        read(run)


def test_a_lost_file_is_named(run):
    (run / "data/below/b.txt").unlink()
    with pytest.raises(ArtifactError, match="lacks b.txt.*genrec prepare --clean"):
        read(run)


def test_files_are_hashed_once_and_again_after_a_change_or_when_asked(run, monkeypatch):
    hashed = []

    monkeypatch.setattr(verify, "sha256", lambda path, own=verify.sha256: hashed.append(path.name) or own(path))

    def reads(*flags):
        hashed.clear()
        verify._verified.clear()  # as in a process of its own
        read(run, *flags)
        return [name for name in hashed if name.endswith(".txt")]

    assert sorted(reads()) == ["a.txt", "b.txt"] and reads() == []
    os.utime(run / "data/a.txt", ns=(1, 1))
    assert reads() == ["a.txt"] and reads() == []
    monkeypatch.delenv(verify.ALWAYS, raising=False)
    assert sorted(reads("--run.verify", "always")) == ["a.txt", "b.txt"]
    monkeypatch.delenv(verify.ALWAYS)


def test_a_torn_memory_is_no_memory(run):
    read(run)
    (run / "data" / verify.REMEMBERED).write_text("[1, ")
    verify._verified.clear()
    read(run)
