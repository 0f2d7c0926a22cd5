"""A run on S3, as a server on this machine speaks it: the whole way of an artifact, and what is told where it fails."""

import os
import uuid

import pytest

from genrec import stage
from genrec.artifacts import read_manifest
from genrec.errors import ArtifactError
from genrec.objects import open_store
from tests.test_objects import CONTENT, OTHER, build_with, fetched, make_artifact
from tests.test_remote import command, make, never

pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'genrec[s3]'")
moto = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]'")


@pytest.fixture(scope="module")
def server():
    """(URL of the server); credentials and its address come from the environment, as everywhere."""
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://127.0.0.1:{port}"
    before = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    import s3fs

    s3fs.S3FileSystem().mkdir("bucket")
    yield address
    os.environ.clear()
    os.environ.update(before)
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def url(server):
    return f"s3://bucket/{uuid.uuid4().hex}/run"


def test_what_is_put_there_is_what_comes_back_and_is_replaced_whole(url, tmp_path):
    store, old, new = open_store(url), make_artifact(tmp_path / "old"), make_artifact(tmp_path / "new", OTHER)
    assert store.read_manifest("data") is None and store.list_artifacts("sids") == []
    store.put("data", *old)
    assert fetched(url, tmp_path / "a") == CONTENT
    store.put("data", *new)
    assert fetched(url, tmp_path / "b") == OTHER
    store.put("sids/wide", *old)
    assert store.list_artifacts("sids") == ["sids/wide"]
    left = {path.split("/run/")[1].split("/")[1] for path in store.files.find(store.root)}
    assert left == {"manifest.json", old[1].fingerprint, new[1].fingerprint, "wide"} - {old[1].fingerprint}


def test_two_machines_share_a_run(url, tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    make(a, url, "catalogue")
    make(b, url, "vectors", "embeddings")
    assert never(a, url, "embeddings") == "vectors" and read_manifest(a / "data") == read_manifest(b / "data")
    make(b, url, "second", "data", "clean")
    assert never(a, url, "data") == "second"


def test_a_file_of_many_parts_comes_back_whole(url, tmp_path):
    size = 60 * 2**20  # s3fs sends what is larger than 50 MiB in parts
    directory, manifest = make_artifact(tmp_path / "a", {"weights.bin": "x" * size})
    open_store(url).put("data", directory, manifest)
    assert len(fetched(url, tmp_path / "b")["weights.bin"]) == size


def test_a_bucket_that_is_not_there_is_told_before_the_work_and_not_made(server, tmp_path):
    import s3fs

    with pytest.raises(ArtifactError, match="s3://nowhere/x/data cannot be written: .*bucket does not exist"):
        stage.run("data", command(tmp_path / "a", "s3://nowhere/x"), None)
    assert not s3fs.S3FileSystem().exists("nowhere")


def test_a_server_that_does_not_answer_is_one_line(url, tmp_path, monkeypatch):
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ArtifactError, match="data/manifest.json cannot be read: .*127.0.0.1:9.*; look at") as raised:
        stage.run("data", command(tmp_path / "a", url), build_with(CONTENT))
    assert "\n" not in str(raised.value)
    s3fs.S3FileSystem.clear_instance_cache()
