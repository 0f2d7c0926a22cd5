"""Tables at a URL make the artifact that the same tables on a disk make; they are copied once, file by file, whole."""

import uuid
from pathlib import Path

import fsspec
import pytest

from genrec import artifacts
from genrec.artifacts import read_manifest
from genrec.config import Data
from genrec.data.table_urls import fetch_tables, with_copies
from genrec.errors import ArtifactError, ConfigError
from genrec.stages import prepare
from tests.data.shards.test_sharded import draw_events, write_parts
from tests.test_objects import Killed, killed_at


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """(a folder of events, the same at a URL)."""
    monkeypatch.setattr(artifacts, "flush_path", lambda path: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    folder, url = write_parts(tmp_path / "events", draw_events()), f"memory://{uuid.uuid4().hex}/events"
    fsspec.filesystem("memory").put(folder, url, recursive=True)
    return folder, url


def words(events, run, *more):
    return ["--source", "table", "--dataset", "s", "--events", events, "--run.dir", str(run), *more]


@pytest.mark.parametrize("more", [[], ["--shard_size", "1"]])
def test_tables_at_a_url_make_what_they_make_on_a_disk(shop, tmp_path, capsys, more):
    folder, url = shop
    prepare.main(words(folder, tmp_path / "disk", *more))
    prepare.main(words(url, tmp_path / "url", *more))
    manifests = [read_manifest(tmp_path / name / "data") for name in ("disk", "url")]
    assert manifests[0].made == manifests[1].made and manifests[0].fingerprint == manifests[1].fingerprint
    assert f"data: fetched {url}: 3 files, 0.0 MiB in" in capsys.readouterr().out
    prepare.main(words(url, tmp_path / "again", *more))
    assert "fetched" not in capsys.readouterr().out


def data_at(url, tmp_path, role="events"):
    return Data(source="table", raw_dir=tmp_path / "raw", **{"events": "e.csv", role: url})


def test_a_file_alone_keeps_its_name_and_two_urls_do_not_meet(shop, tmp_path):
    _, url = shop
    first, second = (fetch_tables(data_at(f"{url}/part-{part}.csv", tmp_path, "items")).items for part in (0, 1))
    assert first.endswith("/part-0.csv") and second.endswith("/part-1.csv")
    other = with_copies(data_at(f"{url}-other/part-0.csv", tmp_path, "items")).items
    assert other.endswith("/part-0.csv") and other != first


def test_killed_at_any_file_it_goes_on_with_those_that_are_missing(shop, tmp_path, monkeypatch):
    _, url = shop
    wanted = {f"part-{part}.csv": fsspec.filesystem("memory").cat_file(f"{url}/part-{part}.csv") for part in range(3)}
    with killed_at(monkeypatch, 3, half=True) as calls, pytest.raises(Killed):
        fetch_tables(data_at(url, tmp_path))
    assert calls == ["find", "get_file", "get_file"]
    with killed_at(monkeypatch, 0) as calls:
        folder = fetch_tables(data_at(url, tmp_path)).events
    assert calls.count("get_file") == 2
    assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == wanted


def test_what_is_no_url_of_a_table_is_left(tmp_path):
    for data in (Data(source="table", events="e.csv", items="hf:somebody/shop"), Data(source="movielens")):
        assert with_copies(data) == fetch_tables(data) == data


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        (
            "memory://nowhere/e.csv",
            ArtifactError,
            "data.events memory://nowhere/e.csv is not there; it names",
        ),
        ("nothing://x/e.csv", ConfigError, "data.events nothing://x/e.csv cannot be used"),
    ],
)
def test_a_url_that_leads_nowhere_is_one_line(shop, tmp_path, url, error, said):
    with pytest.raises(error, match=said):
        fetch_tables(data_at(url, tmp_path))


def test_copies_go_into_a_folder_that_is_there(shop, tmp_path):
    data = data_at(shop[1], tmp_path).model_copy(update={"raw_dir": tmp_path / "mistyped"})
    with pytest.raises(ArtifactError, match="there is no folder .*mistyped"):
        fetch_tables(data)
