"""An artifact at a URL is whole or not there, whatever kills its writer or reader and whatever becomes of its files."""

import errno
import os
import shutil
import socket
import sys
import uuid
from contextlib import contextmanager

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from genrec import stage
from genrec.artifacts import read_manifest
from genrec.errors import ArtifactError, ConfigError
from genrec.objects import BEGUN, open_store
from tests.small_shop import small_config

CONTENT = {"a.txt": "alpha", "deep/b.txt": "beta", "empty": ""}


def build_with(content):
    def build(config, directory):
        for name, text in content.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text(text)
        return {}

    return build


def make_artifact(run, content=CONTENT):
    """data/ of a run, and its manifest."""
    stage.run("data", stage.Command(small_config(run), clean=True), build_with(content))
    return run / "data", read_manifest(run / "data")


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    return f"memory://{uuid.uuid4().hex}/run" if request.param == "memory" else f"file://{tmp_path}/bucket/run"


def fetched(url, target):
    """What a reader gets: {file: text}, None where there is no artifact."""
    store = open_store(url)
    manifest = store.read_manifest("data")
    if manifest is None:
        return None
    target.mkdir(exist_ok=True)
    store.get("data", manifest, target)
    return {path.relative_to(target).as_posix(): path.read_text() for path in target.rglob("*") if path.is_file()}


def test_what_is_put_there_is_what_comes_back(url, tmp_path):
    directory, manifest = make_artifact(tmp_path / "a")
    assert fetched(url, tmp_path / "before") is None
    open_store(url).put("data", directory, manifest)
    assert open_store(url).read_manifest("data") == manifest
    assert fetched(url, tmp_path / "after") == CONTENT
    assert open_store(url).list_artifacts("data") == open_store(url).list_artifacts("sids") == []
    for name in ("sids/wide", "sids/rqvae"):
        open_store(url).put(name, directory, manifest)
    open_store(url).announce("sids/begun")
    assert open_store(url).list_artifacts("sids") == ["sids/rqvae", "sids/wide"]


class Killed(KeyboardInterrupt):
    pass


STEPS = ("put_file", "get_file", "mv", "rm", "pipe_file", "cat_file", "find")


@contextmanager
def killed_at(monkeypatch, step, half=False):
    """Within: the process ends at the file system's `step`-th call, before it or in the middle of it."""
    calls = []

    def planted(name, original):
        def call(self, *words, **more):
            calls.append(name)
            if len(calls) == step:
                if half and name in ("put_file", "get_file"):
                    original(self, *words, **more)
                    tear(self, name, words)
                raise Killed
            return original(self, *words, **more)

        return call

    with monkeypatch.context() as patch:
        for kind in (LocalFileSystem, MemoryFileSystem):
            for name in STEPS:
                patch.setattr(kind, name, planted(name, getattr(kind, name)))
        yield calls


def tear(files, name, words):
    """Half of the target is there."""
    if name == "get_file":
        os.truncate(words[1], os.path.getsize(words[1]) // 2)
        return
    with files.open(words[1], "rb") as file:
        content = file.read()
    with files.open(words[1], "wb") as file:
        file.write(content[: len(content) // 2])


OTHER = {"a.txt": "ALPHA", "c.txt": "gamma"}


@pytest.mark.parametrize("half", [False, True])
def test_a_writer_killed_at_any_step_leaves_the_old_one_or_the_new_one(url, tmp_path, monkeypatch, half):
    old, new = make_artifact(tmp_path / "old"), make_artifact(tmp_path / "new", OTHER)
    for step in range(1, 100):
        here = f"{url}-{step}"
        open_store(here).put("data", *old)
        with killed_at(monkeypatch, step, half) as calls:
            try:
                open_store(here).put("data", *new)
            except Killed:
                pass
        assert fetched(here, tmp_path / f"seen-{half}-{step}") in (CONTENT, OTHER)
        open_store(here).put("data", *new)
        assert fetched(here, tmp_path / f"then-{half}-{step}") == OTHER
        if len(calls) < step:
            break
    assert step >= 8, "two files, the manifest in two steps, what it was and what is to go"


@pytest.mark.parametrize("half", [False, True])
def test_a_reader_killed_at_any_step_goes_on_to_the_same(url, tmp_path, monkeypatch, half):
    open_store(url).put("data", *make_artifact(tmp_path / "a"))
    for step in range(1, 100):
        target = tmp_path / f"target-{step}"
        with killed_at(monkeypatch, step, half) as calls:
            try:
                fetched(url, target)
            except Killed:
                pass
        assert fetched(url, target) == CONTENT
        if len(calls) < step:
            break
    assert step == 5, "a manifest, three files, and none"


def test_what_was_sent_or_fetched_before_is_not_moved_again(url, tmp_path, monkeypatch):
    directory, manifest = make_artifact(tmp_path / "a")
    with killed_at(monkeypatch, 4) as calls, pytest.raises(Killed):
        open_store(url).put("data", directory, manifest)
    assert calls == ["cat_file", "find", "put_file", "put_file"]
    with killed_at(monkeypatch, 0) as calls:
        assert open_store(url).put("data", directory, manifest) == ["deep/b.txt", "empty"]
    assert calls.count("put_file") == 3, "the two files that were missing, and the manifest"
    fetched(url, tmp_path / "target")
    (tmp_path / "target/a.txt").write_text("alphA")
    (tmp_path / "target/of_another.txt").write_text("x")
    with killed_at(monkeypatch, 0) as calls:
        assert fetched(url, tmp_path / "target") == CONTENT
    assert calls.count("get_file") == 1


def test_files_of_an_artifact_that_was_replaced_are_removed(tmp_path):
    url = f"file://{tmp_path}/bucket"
    old, new = make_artifact(tmp_path / "old"), make_artifact(tmp_path / "new", OTHER)
    for made in (old, new):
        open_store(url).put("data", *made)
    assert {path.name for path in (tmp_path / "bucket/data").iterdir()} == {"manifest.json", new[1].fingerprint}


# Damage


@pytest.fixture
def stored(tmp_path):
    """(URL, directory of its files, manifest)."""
    directory, manifest = make_artifact(tmp_path / "a")
    open_store(f"file://{tmp_path}/bucket").put("data", directory, manifest)
    return f"file://{tmp_path}/bucket", tmp_path / "bucket/data" / manifest.fingerprint, manifest


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "alp",
            "a.txt is damaged: 5 bytes in the manifest, 3 found; remove .*bucket/data; `genrec prepare` on a machine",
        ),
        ("alphA", "a.txt is damaged: sha256 [0-9a-f]{16} in the manifest, [0-9a-f]{16} found; remove .*bucket/data"),
    ],
)
def test_a_damaged_object_is_named_with_both_values(stored, tmp_path, content, said):
    url, files, _ = stored
    (files / "a.txt").write_text(content)
    with pytest.raises(ArtifactError, match=said):
        fetched(url, tmp_path / "target")
    (files / "a.txt").write_text("alpha")
    assert fetched(url, tmp_path / "target") == CONTENT


def test_a_manifest_without_its_files_is_named(stored, tmp_path):
    url, files, _ = stored
    shutil.rmtree(files)
    with pytest.raises(ArtifactError, match="bucket/data lacks a.txt, which its manifest lists. If it was replaced"):
        fetched(url, tmp_path / "target")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "manifest.json cannot be read: it is not valid JSON"),
        (b"[]", "is no Manifest"),
        (b'{"stage": "data"}', "is no Manifest"),
    ],
)
def test_a_manifest_that_is_none_is_named(stored, content, said):
    url, files, _ = stored
    (files.parent / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=said):
        open_store(url).read_manifest("data")


def test_a_manifest_cannot_lead_out_of_its_artifact_or_lie_about_its_files(stored):
    url, files, manifest = stored
    path = files.parent / "manifest.json"
    whole = path.read_text()
    path.write_text(whole.replace('"a.txt"', '"../../a.txt"'))
    with pytest.raises(ArtifactError, match="'../../a.txt' must be a path below it"):
        open_store(url).read_manifest("data")
    path.write_text(whole.replace('"a.txt"', '"other.txt"'))
    with pytest.raises(ArtifactError, match=f"has the fingerprint {manifest.fingerprint}, its files "):
        open_store(url).read_manifest("data")


# File systems that do not do what is asked


def deny(name, error):
    def denied(self, *words, **more):
        raise error

    return name, denied


def test_a_place_that_denies_writing_is_one_line(stored, tmp_path, monkeypatch):
    url, _, manifest = stored
    directory, other = make_artifact(tmp_path / "b", OTHER)
    monkeypatch.setattr(LocalFileSystem, *deny("put_file", PermissionError(errno.EACCES, "Permission denied", "x")))
    for act in (lambda store: store.put("data", directory, other), lambda store: store.announce("data")):
        with pytest.raises(ArtifactError, match="bucket/data cannot be written: .*Permission denied.*; look at"):
            act(open_store(url))
    assert open_store(url).read_manifest("data") == manifest


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("Unable to locate credentials"), "RuntimeError: Unable to locate credentials"),
        (TimeoutError("timed out"), "timed out"),
        (FileNotFoundError("The specified bucket does not exist"), "The specified bucket does not exist"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
    ],
)
def test_whatever_a_file_system_fails_of_is_one_line(tmp_path, monkeypatch, error, said):
    directory, manifest = make_artifact(tmp_path / "a")
    monkeypatch.setattr(LocalFileSystem, *deny("put_file", error))
    with pytest.raises(ArtifactError, match=f"cannot be written: .*{said}; look at the address") as raised:
        open_store(f"file://{tmp_path}/bucket").put("data", directory, manifest)
    assert "\n" not in str(raised.value)


def test_a_full_disk_here_is_told_as_such(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(LocalFileSystem, *deny("get_file", OSError(errno.ENOSPC, "No space left on device", "x")))
    with pytest.raises(OSError, match="No space left"):
        fetched(stored[0], tmp_path / "target")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nowhere://x/y", "run.remote nowhere://x/y cannot be used .*nowhere.*; it takes s3://BUCKET/PATH"),
        ("s3://bucket/x", "run.remote s3://bucket/x needs a package that is not installed: pip install 'genrec.s3.'"),
        ("gs://bucket/x", "run.remote gs://bucket/x needs a package that is not installed: pip install gcsfs"),
    ],
)
def test_a_protocol_without_a_way_to_it_is_one_line(url, said, monkeypatch):
    for name in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=said):
        open_store(url)


# Who is making it


def test_others_see_who_is_making_an_artifact(url, monkeypatch):
    store = open_store(url)
    assert store.maker("data") == ""
    store.announce("data")
    assert store.maker("data") == "", "this machine's own lock says so here"
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert store.maker("data").startswith(f"process {os.getpid()} on ")
    store.withdraw("data")
    store.withdraw("data")
    assert store.maker("data") == "" and BEGUN == "begun.json"
