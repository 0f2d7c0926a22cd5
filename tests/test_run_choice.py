"""One rule says which run a command belongs to, and every command's first line says what came of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from genrec.commandline import parse, stage_program
from genrec.errors import ArtifactError, ConfigError
from genrec.places import HOME, RUN_SAID
from genrec.run_choice import RECORD, find_run, record_run
from tests import ROOT, parse_flags
from tests.small_shop import small_config, small_shop, write_data


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A working directory with a prepared run in outputs/small, a model in it, and a link to that model."""
    monkeypatch.chdir(tmp_path)
    write_data(small_config(Path("outputs/small")), small_shop())
    Path("outputs/small/sft").mkdir()
    Path("outputs/small/rl").mkdir()
    Path("outputs/baseline_model").symlink_to("small/sft")
    return tmp_path


def run_of(*flags, section=""):
    command = parse_flags(list(flags), section)
    return str(command.config.run.dir), command.run.reason


def test_the_data_set_names_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_of() == ("outputs/Industrial_and_Scientific", "the data set's name")
    assert run_of("--dataset", "Office_Products")[0] == "outputs/Office_Products"
    assert run_of("--config", "datasets/toys_and_games", "--config", "0.5b")[0] == "outputs/Industrial_and_Scientific"
    assert run_of("--config", "0.5b", "--config", "datasets/toys_and_games")[0] == "outputs/Toys_and_Games"
    assert run_of("--config", "1.5b", "--dataset", "Office_Products")[0] == "outputs/Office_Products_1.5b"
    assert run_of("--config", "quickstart") == ("outputs/quickstart", "quickstart.yaml")
    assert run_of("--run.dir", "a/{dataset}/b") == ("a/Industrial_and_Scientific/b", "--run.dir")


@pytest.mark.parametrize(
    ("flag", "place", "section"),
    [
        ("--root", "outputs/small", "embeddings"),
        ("--root", "outputs/small/data", "sids"),
        ("--base_model", "outputs/small/sft", "evaluation"),
        ("--base_model", "outputs/baseline_model", "evaluation"),
        ("--model", "outputs/baseline_model", "analysis"),
        ("--model_path", "./outputs/baseline_model/", "rl"),
    ],
)
def test_a_directory_of_a_run_names_it(shop, flag, place, section):
    assert run_of(flag, place, section=section) == ("outputs/small", f"where {flag} came from")
    assert run_of(flag, place, "--run.dir", "other", section=section) == ("other", "--run.dir")


def test_a_record_names_the_run_wherever_the_files_went(shop, tmp_path):
    out = tmp_path / "data" / "Amazon18" / "small"
    out.mkdir(parents=True)
    record_run(out, Path("outputs/small"))
    assert json.loads((out / RECORD).read_text()) == {"run": "../../../outputs/small"}
    assert run_of("--root", str(out))[0] == "outputs/small"
    (out / RECORD).write_text('{"run": "../nowhere"}')
    with pytest.raises(ArtifactError, match="the run .*/Amazon18/nowhere, which is not there; pass --run.dir"):
        run_of("--root", str(out))


def test_a_link_among_the_files_names_the_run(shop, tmp_path):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "small.index.json").symlink_to(tmp_path / "outputs/small/data/catalog.parquet")
    assert find_run(tmp_path / "index", "small") == tmp_path / "outputs" / "small"
    assert find_run(tmp_path / "index", "other") is None


def test_a_root_that_came_from_no_run_is_refused_with_the_ways_on(shop, tmp_path):
    with pytest.raises(ConfigError, match=f"{tmp_path} came from no run.*--run.dir DIR.*outputs/Industrial"):
        parse_flags(["--root", str(tmp_path)], "sids")


def test_rl_from_a_link_to_the_runs_own_sft_is_rl_from_its_own_sft(shop):
    assert parse_flags(["--model_path", "outputs/baseline_model"], "rl").config.rl.model_path is None
    elsewhere = ["--model_path", "outputs/small/sft", "--run.dir", "other"]
    assert parse_flags(elsewhere, "rl").config.rl.model_path == Path("outputs/small/sft")


def test_the_runs_own_data_settings_hold_where_no_file_and_no_flag_says_otherwise(shop):
    command = parse_flags(["--root", "outputs/small"])
    made = json.loads((shop / "outputs/small/data/manifest.json").read_text())["config"]
    asked = command.config.data.model_dump(mode="json")
    assert {key: asked[key.removeprefix("data.")] for key in made if key.startswith("data.")} == {
        key: value for key, value in made.items() if key.startswith("data.")
    }
    assert command.origins["data.dataset"] == "outputs/small/data"
    assert parse_flags(["--root", "outputs/small", "--data.user_k", "9"]).config.data.user_k == 9
    assert parse_flags(["--config", "0.5b", "--root", "outputs/small"]).config.data.user_k == 5


def test_a_file_named_by_the_environment_stands_in_for_the_preset(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("extends: 0.5b.yaml\nsft: {num_epochs: 7}\n")
    monkeypatch.setenv("GENREC_CONFIG", str(tmp_path / "mine.yaml"))
    assert parse_flags([]).config.sft.num_epochs == 7
    assert parse_flags(["--config", "0.5b"]).config.sft.num_epochs == 3


def test_the_first_line_says_the_run_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    parse(stage_program("genrec sft", "", "sft"), [])
    assert capsys.readouterr().out == "run: outputs/Industrial_and_Scientific (the data set's name)\n"
    monkeypatch.setenv(RUN_SAID, "outputs/Industrial_and_Scientific")
    parse(stage_program("genrec sft", "", "sft"), [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "script",
    ["data/amazon18_data_process.sh", "convert_dataset.sh", "sft_single_gpu_swanlab.sh", "rq/rqvae.sh", "rl.sh",
     "evaluate.sh", "analyze_badcase.sh", "rq/text2emb/amazon_text2emb.sh"],
)  # fmt: skip
def test_every_script_says_the_run_first_wherever_it_is_called(script, tmp_path):
    environment = {**os.environ, HOME: str(tmp_path), "PYTHON": sys.executable}
    words = ["bash", str(ROOT / script), "--dataset", "Nothing_Here", "--dry-run", "--data.url", "file:///nowhere"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "run: outputs/Nothing_Here (the data set's name)", done.stderr
    assert not any(tmp_path.iterdir())
