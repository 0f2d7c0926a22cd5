"""A stage is whole or not there: skipped when up to date, refused when it would change, resumed when it was killed."""

import json
import os
import subprocess
import sys

import pytest

from genrec import stage
from genrec.artifacts import read_manifest
from genrec.commandline import Command
from genrec.errors import ArtifactError, reason_unwritable
from tests import ROOT, parse_flags
from tests.small_shop import small_config, small_shop, write_data, write_sids


def command(tmp_path, *flags):
    return parse_flags(["--config", str(ROOT / "config/tiny.yaml"), "--run.dir", str(tmp_path / "run"), *flags])


def write(text):
    def build(config, directory):
        (directory / "out.txt").write_text(text)
        return {"letters": len(text)}

    return build


def test_writes_manifest_last_and_skips_when_up_to_date(tmp_path, capsys):
    stage.run("data", command(tmp_path), write("hello"))
    manifest = read_manifest(tmp_path / "run/data")
    assert manifest.statistics == {"letters": 5} and manifest.config["run.seed"] == 42
    assert not (tmp_path / "run/data.partial").exists()
    stage.run("data", command(tmp_path), write("other"))
    assert "up to date" in capsys.readouterr().out
    assert (tmp_path / "run/data/out.txt").read_text() == "hello"


def test_killed_while_it_wrote_what_it_was_begun_with_it_begins_again(tmp_path):
    (tmp_path / "run/data.partial").mkdir(parents=True)
    (tmp_path / "run/data.partial/.begun.json.tmp").write_text('{"conf')
    stage.run("data", command(tmp_path), write("hello"))
    assert read_manifest(tmp_path / "run/data").files.keys() == {"out.txt"}


def test_other_settings_are_refused_by_name_and_lose_nothing(tmp_path):
    stage.run("data", command(tmp_path), write("hello"))
    with pytest.raises(ArtifactError, match="data.user_k is 5 there, 7 asked.*--run.dir.*--clean"):
        stage.run("data", command(tmp_path, "--data.user_k", "7"), write("other"))
    assert (tmp_path / "run/data/out.txt").read_text() == "hello"


def test_a_knob_of_speed_changes_nothing(tmp_path, capsys):
    stage.run("data", command(tmp_path), write("hello"))
    stage.run("data", command(tmp_path, "--data.raw_dir", "elsewhere"), write("other"))
    assert "up to date" in capsys.readouterr().out


def test_clean_starts_anew(tmp_path):
    stage.run("data", command(tmp_path), write("hello"))
    stage.run("data", command(tmp_path, "--data.user_k", "7", "--clean"), write("other"))
    assert (tmp_path / "run/data/out.txt").read_text() == "other"


def test_a_changed_input_makes_a_stage_stale(tmp_path):
    stage.run("data", command(tmp_path), write("hello"))
    stage.run("embeddings", command(tmp_path), write("vectors"))
    stage.run("data", command(tmp_path, "--data.user_k", "7", "--clean"), write("other"))
    with pytest.raises(ArtifactError, match="data is now .*, it was made from"):
        stage.run("embeddings", command(tmp_path, "--data.user_k", "7"), write("vectors"))


def test_an_input_that_changes_under_way_is_the_one_that_was_read(tmp_path):
    now = {"texts": "before"}

    def build(config, directory):
        now.update(texts="after", download="fetched")
        return write("made of what stood there")(config, directory)

    stage.run("data", command(tmp_path), build, lambda config: dict(now))
    assert read_manifest(tmp_path / "run/data").inputs == {"texts": "before", "download": "fetched"}
    with pytest.raises(ArtifactError, match="texts is now after, it was made from before"):
        stage.run("data", command(tmp_path), build, lambda config: dict(now))


def test_a_missing_input_names_the_script_to_run(tmp_path):
    with pytest.raises(ArtifactError, match="run first: genrec prepare"):
        stage.run("embeddings", command(tmp_path), write("vectors"))


def test_an_artifact_with_a_lost_file_is_not_used(tmp_path):
    stage.run("data", command(tmp_path), write("hello"))
    (tmp_path / "run/data/out.txt").unlink()
    with pytest.raises(ArtifactError, match="lacks out.txt"):
        stage.run("embeddings", command(tmp_path), write("vectors"))


def killed(config, directory):
    (directory / "half.txt").write_text("half")
    raise KeyboardInterrupt


def test_a_killed_stage_goes_on_with_its_work(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        stage.run("data", command(tmp_path), killed)
    assert not (tmp_path / "run/data").exists()

    def goes_on(config, directory):
        assert (directory / "half.txt").exists()
        return {}

    stage.run("data", command(tmp_path), goes_on)
    assert (tmp_path / "run/data/half.txt").exists()


def test_half_done_work_of_other_settings_is_never_thrown_away_in_silence(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        stage.run("data", command(tmp_path), killed)
    with pytest.raises(ArtifactError, match="made with other settings"):
        stage.run("data", command(tmp_path, "--data.user_k", "7"), write("other"))
    assert (tmp_path / "run/data.partial/half.txt").exists()
    stage.run("data", command(tmp_path, "--data.user_k", "7", "--clean"), write("other"))


def test_killed_before_anything_was_written_leaves_nothing_to_refuse(tmp_path):
    def at_once(config, directory):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.run("data", command(tmp_path), at_once)
    stage.run("data", command(tmp_path, "--data.user_k", "7"), write("other"))


def test_killed_between_manifest_and_rename_is_only_renamed(tmp_path, monkeypatch, capsys):
    def killed_here(job):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "publish", killed_here)
        with pytest.raises(KeyboardInterrupt):
            stage.run("data", command(tmp_path), write("hello"))

    def never(config, directory):
        raise AssertionError("built twice")

    stage.run("data", command(tmp_path), never)
    assert (tmp_path / "run/data/out.txt").read_text() == "hello" and "up to date" in capsys.readouterr().out


def test_a_directory_that_is_no_artifact_is_not_written_over(tmp_path):
    (tmp_path / "run/data").mkdir(parents=True)
    (tmp_path / "run/data/mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="no manifest.json; move it away"):
        stage.run("data", command(tmp_path), write("hello"))


def test_dry_run_says_what_and_why_and_writes_nothing(tmp_path, capsys):
    stage.run("embeddings", command(tmp_path, "--dry-run"), write("x"))
    assert "embeddings: to run (after data)" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_a_broken_manifest_is_one_clear_error(tmp_path):
    stage.run("data", command(tmp_path), write("hello"))
    (tmp_path / "run/data/manifest.json").write_text('{"stage": ')
    with pytest.raises(ArtifactError, match="cannot be read"):
        stage.run("data", command(tmp_path), write("hello"))


def test_same_bytes_same_fingerprint(tmp_path):
    stage.run("data", command(tmp_path), write("hello"))
    first = read_manifest(tmp_path / "run/data").fingerprint
    stage.run("data", command(tmp_path, "--clean"), write("hello"))
    assert read_manifest(tmp_path / "run/data").fingerprint == first
    assert json.loads((tmp_path / "run/data/manifest.json").read_text())["files"]["out.txt"]["bytes"] == 5


def test_an_unwritable_run_directory_is_one_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    done = subprocess.run(
        [sys.executable, "data/prepare.py", "--config", "config/tiny.yaml", "--run.dir", str(blocked / "run")],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 1 vs 2"), "No space left on device"),
        (PermissionError(13, "Permission denied", "/x"), "Permission denied (/x)"),
        (RuntimeError("shapes differ"), ""),
        (FileNotFoundError(2, "No such file", "/x"), ""),
    ],
)
def test_what_keeps_a_stage_from_writing(error, said):
    assert reason_unwritable(error) == said


def test_a_model_that_is_given_stands_in_for_the_runs_own(tmp_path):
    """rl --model_path: the run needs no sft of its own, and the model given is what the artifact was made from."""
    for name in ("data", "embeddings", "sids"):
        stage.run(name, command(tmp_path), write(name))
    with pytest.raises(ArtifactError, match="run first: genrec sft"):
        stage.run("rl", command(tmp_path), write("policy"))
    given = command(tmp_path, "--rl.model_path", "elsewhere")
    stage.run("rl", given, write("policy"), lambda config: {"model_path": "abc"})
    assert read_manifest(tmp_path / "run/rl").inputs.keys() == {"data", "sids", "model_path"}
    with pytest.raises(ArtifactError, match="model_path is now def, it was made from abc"):
        stage.run("rl", given, write("policy"), lambda config: {"model_path": "def"})


# --clean


def test_clean_leaves_the_old_artifact_until_the_new_one_is_whole(tmp_path):
    stage.run("data", command(tmp_path), write("old"))
    with pytest.raises(KeyboardInterrupt):
        stage.run("data", command(tmp_path, "--clean"), killed)
    assert (tmp_path / "run/data/out.txt").read_text() == "old"
    stage.run("data", command(tmp_path, "--clean"), write("new"))
    assert (tmp_path / "run/data/out.txt").read_text() == "new"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".data.lock", "data"]


def test_a_killed_clean_goes_on_with_its_work(tmp_path):
    stage.run("data", command(tmp_path), write("old"))
    with pytest.raises(KeyboardInterrupt):
        stage.run("data", command(tmp_path, "--clean"), killed)

    def goes_on(config, directory):
        assert (directory / "half.txt").exists()
        return {}

    stage.run("data", command(tmp_path, "--clean"), goes_on)
    assert (tmp_path / "run/data/half.txt").exists() and not (tmp_path / "run/data/out.txt").exists()


def test_clean_checks_what_it_needs_before_it_touches_anything(tmp_path):
    stage.run("data", command(tmp_path), write("data"))
    stage.run("embeddings", command(tmp_path), write("vectors"))
    (tmp_path / "run/data").rename(tmp_path / "away")
    with pytest.raises(ArtifactError, match="run first: genrec prepare"):
        stage.run("embeddings", command(tmp_path, "--clean"), write("other"))
    assert (tmp_path / "run/embeddings/out.txt").read_text() == "vectors"


@pytest.mark.parametrize("name", ["data", "data.partial"])
def test_what_others_put_there_is_never_removed(tmp_path, name):
    foreign = tmp_path / "run" / name / "thesis.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("years of work")
    for flags in ([], ["--clean"]):
        with pytest.raises(ArtifactError, match="move it away"):
            stage.run("data", command(tmp_path, *flags), write("hello"))
    assert foreign.read_text() == "years of work"


@pytest.mark.parametrize("step", [1, 2])
def test_killed_in_the_swap_nothing_is_lost(tmp_path, monkeypatch, step):
    stage.run("data", command(tmp_path), write("old"))
    replace, calls = os.replace, []

    def killed_here(source, target):
        if "/run/data" in str(source) and ".tmp" not in str(source) and ".verified" not in str(source):
            calls.append(source)
            if len(calls) == step:
                raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(stage.os, "replace", killed_here)
        with pytest.raises(KeyboardInterrupt):
            stage.run("data", command(tmp_path, "--clean"), write("new"))
    stage.run("data", command(tmp_path, *(["--clean"] if step == 1 else [])), write("new"))
    assert (tmp_path / "run/data/out.txt").read_text() == "new"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".data.lock", "data"]


def test_a_link_is_read_and_never_written_through(tmp_path):
    stage.run("data", command(tmp_path / "other"), write("data"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run/data").symlink_to(tmp_path / "other/run/data")
    stage.run("embeddings", command(tmp_path), write("vectors"))
    with pytest.raises(ArtifactError, match="is a symbolic link to .*other/run/data"):
        stage.run("data", command(tmp_path, "--clean"), write("new"))
    assert (tmp_path / "other/run/data/out.txt").read_text() == "data"


# Two processes


def test_a_second_process_is_refused_before_it_works(tmp_path):
    def build(config, directory):
        again = subprocess.run(
            [sys.executable, "-m", "genrec", "prepare", "--config", "tiny", "--run.dir", str(tmp_path / "run")],
            capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
        assert again.returncode == 1 and again.stderr.count("\n") == 1
        assert f"is being written by process {os.getpid()} on" in again.stderr
        return {}

    stage.run("data", command(tmp_path), build)


def test_a_dry_run_says_what_follows_from_a_stage_that_is_made_anew(tmp_path, capsys):
    config = small_config(tmp_path / "run", sids={"method": "rqkmeans", "codebook_size": 5})
    write_data(config, small_shop())
    write_sids(config, small_shop())
    other = small_config(tmp_path / "run", sids={"method": "rqkmeans", "codebook_size": 6})
    stage.run("convert", Command(config), lambda config, directory: {})
    capsys.readouterr()
    for asked, said in ((config, "convert: up to date\n"), (other, "convert: stale: after sids\n")):
        stage.run("convert", Command(asked, dry_run=True), lambda config, directory: {})
        assert capsys.readouterr().out == said
