"""The command that says whether it helped."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from genrec.artifacts import Manifest, write_json
from genrec.errors import ArtifactError, ConfigError
from genrec.evaluation.report import write_report
from genrec.stages import compare
from tests import ROOT
from tests.evaluation.scores import make_report


@pytest.fixture
def two_models(tmp_path):
    for name, made in {"one": make_report(0), "two": make_report(1, lift=0.05)}.items():
        (tmp_path / name).mkdir()
        write_report(replace(made, model=name), tmp_path / name, seed=0)
    return tmp_path


def test_the_script_writes_text_json_and_picture(two_models):
    command = [sys.executable, "compare_results.py", "--baseline", two_models / "one" / "results.json"]
    command += ["--optimized", two_models / "two", "--output_dir", two_models / "out"]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "optimized is better" in done.stdout and "users won/" in done.stdout
    written = json.loads((two_models / "out" / "comparison.json").read_text())
    assert written["test_set"] == "f00d" and written["overall"][0]["metric"] == "hr@1"
    assert (two_models / "out" / "comparison.png").stat().st_size > 10_000


def test_a_whole_evaluation_asks_for_one_of_its_models(two_models):
    write_json(two_models / "results.json", {"models": {"one": {}, "two": {}}})
    with pytest.raises(ArtifactError, match="holds 2 models; name one: .*one, .*two"):
        compare.find_model_directory(two_models)
    assert compare.find_model_directory(two_models / "one" / "results.json") == two_models / "one"
    write_json(two_models / "results.json", {"models": {"two": {}}})
    assert compare.find_model_directory(two_models / "results.json") == two_models / "two"


def test_every_pair_has_a_place_of_its_own(two_models, monkeypatch, capsys):
    monkeypatch.chdir(two_models)
    compare.main(["one", "two"])
    compare.main(["--baseline", "two/results.json", "--optimized", "one"])
    places = sorted(path.name for path in (two_models / "outputs/comparison").iterdir())
    assert places == ["one_vs_two", "two_vs_one"]
    paths = [Path("outputs/quickstart/evaluation/sft"), Path("outputs/slower/evaluation_valid/rl/results.json")]
    assert compare.name_place(paths).name == "quickstart.sft_vs_slower.evaluation_valid.rl"
    assert "written: outputs/comparison/two_vs_one/comparison.json" in capsys.readouterr().out


def test_a_run_is_asked_for_a_row_of_its_table(two_models):
    (two_models / "data").mkdir()
    write_json(two_models / "data/manifest.json", vars(Manifest("data", 1, "d", {}, {}, {}, {}, {}, "", 0.0)))
    (two_models / "evaluation/sft").mkdir(parents=True)
    write_json(two_models / "evaluation/sft/results.json", {})
    with pytest.raises(ConfigError, match="is a run; name a row of its table, as .*/evaluation/sft; it has sft"):
        compare.choose_models(compare.ComparisonOptions(models=[two_models, two_models / "one"]))


def test_a_missing_file_is_one_clear_line(tmp_path):
    command = [sys.executable, "compare_results.py", "--baseline", str(tmp_path), "--optimized", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "results.json cannot be read" in done.stderr
