"""The data stage as a command: what it writes, refuses, and says."""

import gzip
import json
import os
import subprocess
import sys

import pytest

from genrec.artifacts import read_manifest
from genrec.data.catalog import load_catalog
from genrec.data.sequences import load_sequences, load_splits
from genrec.run_choice import RECORD
from genrec.stages import prepare
from tests import ROOT
from tests.data.raw import item, real, review, write_shop

FILES = {"catalog.parquet", "sequences.npz", "splits.npz", "report.json"}


def run(*words, cwd=ROOT, script="data/prepare.py", **environment):
    command = ["bash"] if script.endswith(".sh") else [sys.executable]
    return subprocess.run(
        [*command, str(ROOT / script), *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable, **environment},
    )


def toy(tmp_path, *words):
    places = ("--raw_dir", tmp_path / "raw", "--run.dir", tmp_path / "run")
    return run("--config", ROOT / "config" / "tiny.yaml", *places, *words)


def test_the_toy_store_is_prepared_once_and_then_up_to_date(tmp_path):
    first = toy(tmp_path)
    assert first.returncode == 0, first.stderr
    directory = tmp_path / "run" / "data"
    assert {path.name for path in directory.iterdir()} == FILES | {"manifest.json"}
    fingerprint = read_manifest(directory).fingerprint
    assert toy(tmp_path).stdout.splitlines()[1:] == ["data: up to date"]
    assert toy(tmp_path, "--clean").returncode == 0
    assert read_manifest(directory).fingerprint == fingerprint


def test_the_artifact_holds_what_the_report_says(tmp_path):
    assert toy(tmp_path, "--run.seed", 7).returncode == 0
    directory = tmp_path / "run" / "data"
    report = json.loads((directory / "report.json").read_text())
    catalog, sequences = load_catalog(directory / "catalog.parquet"), load_sequences(directory / "sequences.npz")
    splits = load_splits(directory / "splits.npz")
    assert report["items"] == len(catalog) and report["users"] == len(sequences)
    assert report["rows"] == {name: len(part) for name, part in splits.items()}
    for account in report["read"].values():
        assert account["read"] == account["kept"] + sum(account["dropped"].values())
    assert report["read"]["events"]["kept"] == len(sequences.item) == report["events"]


def small_shop(tmp_path, events):
    return write_shop(tmp_path / "raw", events, [item(i) for i in "abcdef"])


def amazon(tmp_path, *words):
    return run("--dataset", "shop", "--raw_dir", tmp_path / "raw", "--run.dir", tmp_path / "run", *words)


EVENTS = [review(u, i, 1_400_000_000 + n) for n, i in enumerate("abcdef") for u in "uvwxyz"]


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "raw").mkdir()
    return tmp_path


def test_bad_lines_are_on_the_screen_and_in_the_report(raw):
    small_shop(raw, [*EVENTS, "{half"])
    done = amazon(raw, "--max_bad_share", 0.1)
    assert done.returncode == 0, done.stderr
    assert "1 not valid JSON (line 37)" in done.stdout
    report = json.loads((raw / "run" / "data" / "report.json").read_text())
    assert report["read"]["events"]["first_lines"] == {"not valid JSON": [37]}


def one_error(done, *parts):
    """Exit 1, one line, no traceback."""
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    for part in parts:
        assert part in done.stderr


def test_bad_input_ends_in_one_line_and_no_artifact(raw):
    small_shop(raw, [review("u", "a", 1_400_000_000), review("v", "a", 1_400_000_000)])
    one_error(amazon(raw), "2 outside the k-core", "nothing that a key can change")
    small_shop(raw, [])
    one_error(amazon(raw), "no usable event")
    small_shop(raw, [*EVENTS, "{half"])
    one_error(amazon(raw), "1 of 37 lines", "line 37")
    path = raw / "raw" / "shop_5.json.gz"
    path.write_bytes(gzip.compress(b"{}" * 5000)[:-6])
    one_error(amazon(raw), "damaged or cut short", "shop_5.json.gz")
    path.unlink()
    one_error(amazon(raw, "--url", "file:///no/such/{file}"), "file:///no/such/shop_5.json.gz", "--data.raw_dir")
    assert not (raw / "run" / "data").exists()


def test_another_setting_is_refused_and_the_artifact_stays(raw):
    small_shop(raw, EVENTS)
    assert amazon(raw).returncode == 0
    one_error(amazon(raw, "--item_k", 4), "data.item_k is 5 there, 4 asked", "--run.dir", "--clean")
    small_shop(raw, EVENTS[::-1])
    one_error(amazon(raw), "reviews is now")


@pytest.mark.parametrize("script", ["data/amazon18_data_process.sh", "data/amazon23_data_process.sh"])
def test_the_seed_command_works_from_inside_data_and_outside(raw, script):
    small_shop(raw, EVENTS)
    if "23" in script:
        events = [
            {"user_id": r["reviewerID"], "parent_asin": r["asin"], "timestamp": r["unixReviewTime"] * 1000}
            for r in EVENTS
        ]
        write_shop(raw / "raw", events, [{**item(i), "parent_asin": i} for i in "abcdef"], dataset="x")
        (raw / "raw" / "x_5.json.gz").rename(raw / "raw" / "shop.jsonl.gz")
        (raw / "raw" / "meta_x.json.gz").rename(raw / "raw" / "meta_shop.json.gz")
    flags = "--dataset shop --user_k 5 --item_k 4 --st_year 2010 --st_month 1 --ed_year 2020 --ed_month 1".split()
    flags += ["--output_path", "./Amazon", "--raw_dir", raw / "raw"]
    done = run(*flags, "--run.dir", raw / "run", cwd=raw, script=script)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in (raw / "Amazon" / "shop").iterdir()}
    endings = ("train.inter", "valid.inter", "test.inter", "item.json", "inter.json", "user2id", "item2id")
    assert made == {f"shop.{ending}" for ending in endings} | {RECORD}
    again = run(*flags[:-4], "--output_path", "./Other", *flags[-2:], "--run.dir", raw / "run", cwd=raw, script=script)
    assert "up to date" in again.stdout and (raw / "Other" / "shop" / "shop.item.json").exists()


@pytest.mark.parametrize("flag", ["--dataset=A_B", "--dataset A_B", "--category=A_B", "--category A_B"])
@pytest.mark.parametrize("year", ["18", "23"])
def test_the_seed_command_passes_on_what_it_is_given(flag, year):
    script = f"data/amazon{year}_data_process.sh"
    said = run("--user_k", 5, *flag.split(), "--ed_year", 2017, script=script, PYTHON="echo").stdout.split()
    assert said[said.index("--source") + 1] == f"amazon{year}" and said[-2:] == ["--ed_year", "2017"]


def test_an_import_brings_its_sids_along(tmp_path):
    folder = real("minionerec_industrial")
    flags = ("--source", "minionerec", "--raw_dir", folder, "--run.dir", tmp_path)
    assert run(*flags).returncode == 0
    name = "Industrial_and_Scientific.index.json"
    assert (tmp_path / "data" / name).read_bytes() == (folder / "Amazon" / "index" / name).read_bytes()


def test_help_names_every_knob_of_the_seed(tmp_path):
    shown = run("--help", cwd=tmp_path).stdout
    for flag in "dataset user_k item_k st_year st_month ed_year ed_month output_path raw_dir compat url".split():
        assert f"--{flag} " in shown


@pytest.mark.parametrize(("name", "near"), [("teashpo", "teashop"), ("Sofware", "Software")])
def test_a_mistyped_shop_is_no_category_to_download(tmp_path, monkeypatch, capsys, name, near):
    assert toy(tmp_path, "--run.dir", tmp_path / "outputs/teashop").returncode == 0
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        prepare.main(["--data.dataset", name])
    said = capsys.readouterr().err
    assert f"amazon18 has no category '{name}', and raw no file of that name; did you mean '{near}'" in said
    assert "--run.dir of a run that is there (outputs/teashop)" in said
