"""Machines that share a run by its URL: what one has made the other reads, and neither loses what the other made."""

import os
import shutil
import uuid

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from genrec import artifacts, remote, stage
from genrec.artifacts import read_manifest
from genrec.commandline import Command
from genrec.config import Run
from genrec.errors import ArtifactError, ConfigError
from genrec.lock import only_writer
from genrec.objects import open_store
from genrec.remote import choose_move, fetch_artifacts, inherit_remote, remote_of
from tests.small_shop import small_config
from tests.test_objects import Killed, deny, killed_at


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}/run"


@pytest.fixture(autouse=True)
def no_disk(monkeypatch):
    """What is handed to the disk is tested elsewhere, and takes its time; so does git."""
    monkeypatch.setattr(stage, "git_commit", lambda: "unknown")
    monkeypatch.setattr(artifacts, "flush_path", lambda path: None)


def command(run, url, *switches, **sections):
    config = small_config(run, **({"run": {"dir": str(run), "remote": url}} | sections))
    return Command(config, **dict.fromkeys(switches, True))


def without_url(run):
    return Command(small_config(run))


OTHER = {"data": {"dataset": "small", "source": "toy", "max_history": 7}}  # settings


def make(run, url, text, name="data", *switches, **sections):
    """A stage of one file; its content."""

    def build(config, directory):
        (directory / "out.txt").write_text(text)
        return {}

    stage.run(name, command(run, url, *switches, **sections), build)
    return (run / name / "out.txt").read_text()


def never(run, url, name, *switches, **sections):
    """The same where the artifact is there already."""

    def build(config, directory):
        raise AssertionError("built twice")

    stage.run(name, command(run, url, *switches, **sections), build)
    return (run / name / "out.txt").read_text()


def there(url, name="data"):
    manifest = open_store(url).read_manifest(name)
    return manifest and manifest.fingerprint


def files_of(run):
    """Of the artifacts and what may be left beside them, without locks and notes."""
    return {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file() and path.name[0] != "."}


@pytest.mark.parametrize(
    ("here", "far", "seen", "move"),
    [
        ("", "", None, "none"),
        ("", "b", None, "fetch"),
        ("", "b", "b", "fetch"),
        ("a", "", None, "send"),
        ("a", "", "a", "send"),
        ("a", "a", None, "none"),
        ("a", "b", "a", "fetch"),
        ("a", "b", "b", "send"),
        ("a", "b", None, "conflict"),
        ("a", "b", "", "conflict"),
        ("a", "b", "c", "conflict"),
    ],
)
def test_what_is_moved_follows_from_here_there_and_what_was_last_seen(here, far, seen, move):
    assert choose_move(here, far, seen) == move


# Two machines


def test_what_one_machine_has_made_the_other_reads(tmp_path, url, capsys):
    a, b = tmp_path / "a", tmp_path / "b"
    make(a, url, "catalogue")
    assert f"data: sent to {url}/data: 1 file, 0.0 MiB" in capsys.readouterr().out
    assert make(b, url, "vectors", "embeddings") == "vectors"
    said = capsys.readouterr().out
    assert f"data: fetched from {url}/data: 1 file" in said and f"embeddings: sent to {url}/embeddings" in said
    assert (b / "data/out.txt").read_text() == "catalogue"
    assert never(b, url, "data") == "catalogue" and never(a, url, "embeddings") == "vectors"
    assert read_manifest(a / "data") == read_manifest(b / "data")
    capsys.readouterr()
    assert never(b, url, "embeddings") == "vectors"
    assert capsys.readouterr().out == "embeddings: up to date\n"
    assert files_of(a) == files_of(b) == {f"{name}/{file}" for name in ("data", "embeddings") for file in FILES}


FILES = ("manifest.json", "out.txt")


def test_a_fetched_artifact_is_not_hashed_again(tmp_path, url, monkeypatch):
    make(tmp_path / "a", url, "catalogue")
    never(tmp_path / "b", url, "data")
    monkeypatch.setattr("genrec.verify.sha256", None)
    stage.require(command(tmp_path / "b", url).config, "data")


def test_a_run_that_was_made_without_a_url_is_sent_with_all_that_a_stage_reads(tmp_path, url):
    a = tmp_path / "a"
    for name in ("data", "embeddings"):
        stage.run(name, without_url(a), lambda config, directory: {})
    make(a, url, "ids", "sequential")
    assert there(url) and there(url, "sequential") and not there(url, "embeddings")


def test_what_was_made_anew_replaces_the_other_machines_copy(tmp_path, url, capsys):
    a, b = tmp_path / "a", tmp_path / "b"
    make(a, url, "first")
    never(b, url, "data")
    make(b, url, "second", "data", "clean")
    assert never(a, url, "data") == "second"
    assert "data: fetched from" in capsys.readouterr().out
    make(a, url, "third", "data", "clean")
    make(b, url, "vectors", "embeddings")
    assert (b / "data/out.txt").read_text() == "third"


def test_a_changed_input_makes_what_was_made_of_it_stale_there_too(tmp_path, url):
    a, b = tmp_path / "a", tmp_path / "b"
    make(a, url, "first")
    make(a, url, "vectors", "embeddings")
    make(b, url, "second", "data", "clean")
    with pytest.raises(
        ArtifactError, match=f"{url}/embeddings was made with other settings: data is now .*--run.remote"
    ):
        never(b, url, "embeddings")
    with pytest.raises(ArtifactError, match="embeddings was made with other settings: data is now"):
        never(a, url, "embeddings")


def test_other_settings_are_refused_before_anything_is_fetched(tmp_path, url):
    make(tmp_path / "a", url, "first")
    with pytest.raises(
        ArtifactError, match=f"{url}/data was made with other settings: data.max_history is 6 there, 7 asked"
    ):
        never(tmp_path / "b", url, "data", **OTHER)
    assert not files_of(tmp_path / "b")
    assert make(tmp_path / "b", url, "other", "data", "clean", **OTHER) == "other"


def test_a_dry_run_says_what_would_be_fetched_and_fetches_nothing(tmp_path, url, capsys):
    make(tmp_path / "a", url, "catalogue")
    capsys.readouterr()
    for name, more in (("data", {}), ("data", OTHER), ("embeddings", {}), ("sids", {})):
        stage.run(name, command(tmp_path / "b", url, "dry_run", **more), None)
    assert capsys.readouterr().out.splitlines() == [
        f"data: to fetch: {url}/data",
        f"data: stale: data.max_history is 6 there, 7 asked ({url}/data)",
        "embeddings: to run",
        "sids: to run (after embeddings)",
    ]
    assert not (tmp_path / "b").exists()


# Two makers


def test_of_two_makers_the_second_to_end_is_refused_and_both_keep_what_they_made(tmp_path, url, capsys, monkeypatch):
    a, b = tmp_path / "a", tmp_path / "b"

    def build(config, directory):
        monkeypatch.setattr("socket.gethostname", lambda: "second")
        make(b, url, "of b")
        assert f"data: process {os.getpid()} on " in capsys.readouterr().out
        (directory / "out.txt").write_text("of a")
        return {}

    with pytest.raises(
        ArtifactError, match=f"a/data and {url}/data were made by two .*remove .*a/data to take.*--clean"
    ):
        stage.run("data", command(a, url), build)
    assert [(run / "data/out.txt").read_text() for run in (a, b)] == ["of a", "of b"]
    assert there(url) == read_manifest(b / "data").fingerprint
    for _ in range(2):
        with pytest.raises(ArtifactError, match="were made by two"):
            make(a, url, "vectors", "embeddings")
    shutil.rmtree(a / "data")
    assert never(a, url, "data") == "of b", "the first way on"


def test_what_another_machine_sent_in_the_last_moment_is_not_replaced(tmp_path, url, monkeypatch):
    a, b, share = tmp_path / "a", tmp_path / "b", stage.share

    def other_is_quick(job):
        monkeypatch.setattr(stage, "share", share)
        make(b, url, "of b")
        return False

    monkeypatch.setattr(stage, "share", other_is_quick)
    with pytest.raises(ArtifactError, match="were made by two"):
        make(a, url, "of a")
    assert there(url) == read_manifest(b / "data").fingerprint


def test_a_reader_neither_sends_nor_waits_for_who_writes(tmp_path, url):
    a = tmp_path / "a"
    make(a, f"{url}-other", "catalogue")
    with only_writer(a / "data"):
        fetch_artifacts(command(a, url).config, ["data"])
    assert not there(url)


def test_clean_is_the_other_way_on_of_two_makers(tmp_path, url):
    a, b = tmp_path / "a", tmp_path / "b"
    for run, place in ((a, url), (b, f"{url}-other")):
        make(run, place, f"of {run.name}")
    with pytest.raises(ArtifactError, match="were made by two"):
        never(b, url, "data")
    assert make(b, url, "of b", "data", "clean") == "of b"
    assert never(a, url, "data") == "of b"


def test_two_that_made_the_same_are_no_two(tmp_path, url):
    for name in ("a", "b"):
        make(tmp_path / name, f"{url}-{name}", "same")
    assert never(tmp_path / "b", f"{url}-a", "data") == "same"


# Kills and failures


def test_killed_anywhere_the_same_command_ends_alike_on_both_machines(tmp_path, monkeypatch):
    """B fetches, sends and replaces what A had made, A takes that over; each is killed at each step that it takes."""
    step = 0
    while True:
        step += 1
        url, a, b = f"file://{tmp_path}/{step}/bucket", tmp_path / f"{step}/a", tmp_path / f"{step}/b"
        make(a, url, "first")
        done = True
        for act in (
            lambda url=url, b=b: make(b, url, "vectors", "embeddings"),
            lambda url=url, b=b: make(b, url, "second", "data", "clean"),
            lambda url=url, a=a: never(a, url, "data"),
        ):
            with killed_at(monkeypatch, step, half=True) as calls:
                try:
                    act()
                except Killed:
                    done = False
            if len(calls) >= step:
                act()
        assert (a / "data/out.txt").read_text() == (b / "data/out.txt").read_text() == "second"
        assert (
            read_manifest(a / "data") == read_manifest(b / "data")
            and there(url) == read_manifest(a / "data").fingerprint
        )
        assert files_of(a) == {"data/manifest.json", "data/out.txt"}, "nothing is left between"
        if done:
            break
    assert step > 12


@pytest.mark.parametrize("number", [1, 2])
def test_killed_in_the_swap_of_a_fetched_input_nothing_is_lost(tmp_path, url, monkeypatch, number):
    a, b = tmp_path / "a", tmp_path / "b"
    make(a, url, "first")
    never(b, url, "data")
    make(a, url, "second", "data", "clean")
    replace, calls = os.replace, []

    def killed_here(source, target):
        if str(source).endswith(("b/data", ".coming")):
            calls.append(source)
            if len(calls) == number:
                raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed_here)
        with pytest.raises(Killed):
            fetch_artifacts(command(b, url).config, ["data"])
    fetch_artifacts(command(b, url).config, ["data"])
    assert (b / "data/out.txt").read_text() == "second" and files_of(b) == {"data/manifest.json", "data/out.txt"}


def test_what_could_not_be_sent_is_whole_here_and_sent_by_the_same_command(tmp_path, url, monkeypatch):
    a = tmp_path / "a"
    with monkeypatch.context() as patch:
        put = MemoryFileSystem.put_file
        denied = deny("put_file", TimeoutError("timed out"))[1]
        patch.setattr(
            MemoryFileSystem,
            "put_file",
            lambda self, path, *rest, **more: (denied if "out.txt" in str(path) else put)(self, path, *rest, **more),
        )
        with pytest.raises(
            ArtifactError, match="cannot be written: .*timed out.*a/data is whole, and the same command"
        ):
            make(a, url, "catalogue")
    assert (a / "data/out.txt").read_text() == "catalogue" and not there(url)
    assert never(a, url, "data") == "catalogue" and there(url)


def test_what_is_said_is_what_was_moved(tmp_path, url, capsys):
    make(tmp_path / "a", url, "catalogue")
    store = open_store(url)
    store.files.rm(store.path_of("data", "manifest.json"))  # as though it had been killed before
    capsys.readouterr()
    never(tmp_path / "a", url, "data")
    assert f"data: sent to {url}/data: 0 of 1 file, 0.0 MiB in" in capsys.readouterr().out


def test_a_place_that_denies_writing_is_told_before_the_work(tmp_path, monkeypatch):
    url = f"file://{tmp_path}/bucket"
    make(tmp_path / "a", url, "catalogue")
    monkeypatch.setattr(LocalFileSystem, *deny("put_file", PermissionError(13, "Permission denied", "x")))
    with pytest.raises(
        ArtifactError, match="embeddings cannot be written: .*Permission denied.*leave --run.remote out"
    ):
        never(tmp_path / "b", url, "embeddings")
    stage.run("embeddings", without_url(tmp_path / "b"), lambda config, directory: {})  # the way on


def test_a_failed_build_withdraws_its_announcement(tmp_path, url):
    def build(config, directory):
        raise ConfigError("no")

    with pytest.raises(ConfigError):
        stage.run("data", command(tmp_path / "a", url), build)
    store = open_store(url)
    assert not store.files.find(store.root)


def test_a_damaged_object_is_refused_and_mended_by_what_the_line_says(tmp_path):
    url = f"file://{tmp_path}/bucket"
    make(tmp_path / "a", url, "catalogue")
    next((tmp_path / "bucket/data").glob("*/out.txt")).write_text("cat")
    with pytest.raises(ArtifactError, match="out.txt is damaged: 9 bytes in the manifest, 3 found; remove"):
        never(tmp_path / "b", url, "data")
    assert not (tmp_path / "b/data").exists()
    shutil.rmtree(tmp_path / "bucket/data")
    never(tmp_path / "a", url, "data")
    assert never(tmp_path / "b", url, "data") == "catalogue"


def test_a_file_that_was_changed_here_is_not_sent(tmp_path, url):
    make(tmp_path / "a", f"{url}-other", "catalogue")
    (tmp_path / "a/data/out.txt").write_text("changed!!")
    with pytest.raises(ArtifactError, match="out.txt was changed after it was made"):
        never(tmp_path / "a", url, "data")
    assert not there(url)


def test_a_persons_file_and_link_are_not_replaced(tmp_path, url):
    a, b = tmp_path / "a", tmp_path / "b"
    make(a, url, "first")
    never(b, url, "data")
    make(a, url, "second", "data", "clean")
    (b / "data/mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="mine.txt is no file of this artifact, and a newer one is to be fetched"):
        never(b, url, "data")
    (b / "data/mine.txt").unlink()
    (b / "data").rename(tmp_path / "elsewhere")
    (b / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="data is a symbolic link, and a newer artifact is to be fetched"):
        never(b, url, "data")


# Several processes


def test_of_several_processes_the_first_fetches_and_the_others_wait(tmp_path, url, monkeypatch):
    a, b = tmp_path / "a", tmp_path / "b"
    make(a, url, "catalogue")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    waited = []

    def first_fetches(seconds):
        waited.append(seconds)
        shutil.copytree(a / "data", b / "data")

    monkeypatch.setattr(remote.time, "sleep", first_fetches)
    fetch_artifacts(command(b, url).config, ["data"])
    assert waited == [remote.HEARTBEAT] and (b / "data/out.txt").exists()


# The URL


def test_runs_inside_a_run_lie_inside_it_there_and_others_nowhere(tmp_path):
    run = Run(dir=tmp_path / "run", remote="s3://bucket/run/")
    assert inherit_remote(run, tmp_path / "run/seeds/3") == "s3://bucket/run/seeds/3"
    assert inherit_remote(run, tmp_path / "run_updated") is None
    assert inherit_remote(run.model_copy(update={"remote": None}), tmp_path / "run/seeds/3") is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/mnt/runs", "run.remote: a URL is needed, such as s3://BUCKET/runs/x; of a directory file:///mnt/runs/x"),
        ("s3://", "run.remote: a URL is needed"),
        ("sftp://me:secret@host/x", "run.remote: a URL must hold no password; credentials come from the environment"),
        ("s3://bucket/x?token=secret", "run.remote: a URL must hold no query; credentials and options come from"),
        ("file://bucket/x", "run.remote: of a directory the whole path is needed, such as file:///mnt/runs/x"),
    ],
)
def test_a_url_that_is_none_is_one_line(tmp_path, url, said):
    with pytest.raises(ConfigError, match=said) as caught:
        command(tmp_path, url)
    assert "secret" not in str(caught.value)


def test_the_data_set_stands_in_the_url_and_a_run_that_moves_has_none(tmp_path):
    config = command(tmp_path, "memory://runs/{dataset}").config
    assert config.run.remote == "memory://runs/small" and remote_of(config).store.url == "memory://runs/small"
    with pytest.raises(ConfigError, match="run.when_changed new_run begins other runs, and run.remote memory://x"):
        small_config(tmp_path, run={"remote": "memory://x", "when_changed": "new_run"})


def test_a_mistyped_url_holds_no_run_and_leaves_no_trace(tmp_path, url):
    with pytest.raises(ArtifactError, match=f"run.remote {url} holds no run: there is no {url}/data/manifest.json"):
        remote.require_run_there(command(tmp_path / "b", url).config)
    assert not (tmp_path / "b").exists()


def test_a_run_is_not_sent_into_its_own_directory_nor_read_from_another_ones(tmp_path):
    run = tmp_path / "run"
    for place in (run, run / "data"):
        with pytest.raises(ConfigError, match="lies in run.dir .*run, whose artifacts it is to hold too"):
            make(run, place.as_uri(), "catalogue")
    make(run, (tmp_path / "bucket").as_uri(), "catalogue")
    with pytest.raises(
        ArtifactError, match="is a run directory itself, not what run.remote sends; name it by --run.dir"
    ):
        make(tmp_path / "b", run.as_uri(), "vectors", "embeddings")


def remake_data(a, b, url):
    """Two machines have data and what was made of it; then one of them makes the data anew."""
    make(a, url, "catalogue")
    make(a, url, "vectors", "embeddings")
    fetch_artifacts(command(b, url).config, ["data", "embeddings"])
    make(a, url, "another", "data", "clean")


def test_what_does_not_fit_together_there_is_not_fetched(tmp_path, url, capsys):
    a, b, c = (tmp_path / name for name in "abc")
    remake_data(a, b, url)
    fetch_artifacts(command(b, url).config, ["data", "embeddings"])
    said = f"{url} is being made anew: embeddings there was made from data"
    assert said in capsys.readouterr().out and (b / "data/out.txt").read_text() == "catalogue"
    with pytest.raises(ArtifactError, match=f"{said}.* is not here, so wait for that"):
        fetch_artifacts(command(c, url).config, ["data", "embeddings"])
    make(a, url, "other vectors", "embeddings", "clean")
    fetch_artifacts(command(b, url).config, ["data", "embeddings"])
    assert [(b / name / "out.txt").read_text() for name in ("data", "embeddings")] == ["another", "other vectors"]


@pytest.mark.parametrize("fault", ["remove", "cut"])
def test_the_stage_s_own_command_mends_what_lacks_a_part_there(tmp_path, fault):
    url = (tmp_path / "bucket").as_uri()
    make(tmp_path / "a", url, "catalogue")
    (file,) = (tmp_path / "bucket/data").glob("*/out.txt")
    file.unlink() if fault == "remove" else file.write_text("cat")
    never(tmp_path / "a", url, "data")
    assert file.read_text() == "catalogue" and never(tmp_path / "b", url, "data") == "catalogue"


def test_a_dry_run_takes_what_is_to_be_fetched_for_what_it_is(tmp_path, url, capsys):
    a, b = tmp_path / "a", tmp_path / "b"
    make(a, url, "catalogue")
    make(a, url, "vectors", "embeddings")
    fetch_artifacts(command(b, url).config, ["embeddings"])
    capsys.readouterr()
    stage.run("embeddings", command(b, url, "dry_run"), None)
    assert capsys.readouterr().out.splitlines() == ["embeddings: up to date"]
