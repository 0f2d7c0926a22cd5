"""The analysis stage on any model of an evaluation: its tree, resumption, refusals."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from genrec import stage
from genrec.artifacts import load_arrays, read_manifest, save_arrays
from genrec.commandline import Command
from genrec.config import Config
from genrec.diagnosis import plots
from genrec.errors import ArtifactError
from genrec.stages import analyze, evaluate
from genrec.stages.analyze import list_sequential
from genrec.store import RunStore
from tests import ROOT
from tests.small_shop import run_stage, small_config, small_shop, write_data, write_sids

MODELS = ["popular", "last_item"]
TREE = {
    "eval_results.jsonl",
    "badcase_report.json",
    "report.html",
    *(
        f"visualizations/{name}.png"
        for name in ("learning_curves", "failure_patterns", "failure_rate", "sid_quality", "rank_distribution")
    ),
    "visualizations/summary_report.txt",
}


def run_analysis(config: Config, **options) -> None:
    section = config.analysis.model_copy(update=options)
    command = Command(config.model_copy(update={"analysis": section}), clean=False, dry_run=False)
    stage.run("analysis", command, analyze.build, analyze.sources)


@pytest.fixture
def evaluated(tmp_path):
    config = small_config(tmp_path / "run", evaluation={"models": MODELS})
    write_data(config, small_shop())
    write_sids(config, small_shop())
    evaluate.evaluate(Command(config))
    return config


@pytest.mark.parametrize("model", MODELS)
def test_writes_the_tree_for_any_family(evaluated, model, capsys):
    run_analysis(evaluated, model=model, top_k=5)
    directory = evaluated.run.dir / "analysis" / model
    assert set(read_manifest(directory).files) == TREE
    report = json.loads((directory / "badcase_report.json").read_text())
    assert report["training"] is None  # both only count
    assert report["model"] == model and report["top_k"] == 5 and report["config"]["analysis"]["top_k"] == 5
    lines = [json.loads(line) for line in (directory / "eval_results.jsonl").read_text().splitlines()]
    bad = [line for line in lines if line["bad_case"]]
    assert len(lines) == 60 == report["summary"]["total_samples"]
    assert len(bad) == report["summary"]["bad_cases_count"]
    assert all(not 1 <= (line["rank"] or 0) <= 5 for line in bad)
    assert not any(line["causes"] for line in lines if not line["bad_case"])
    results = json.loads((evaluated.run.dir / "evaluation" / model / "results.json").read_text())
    assert report["summary"]["failure_rate"] == pytest.approx(1 - results["metrics"]["hr@5"]["mean"], abs=1e-6)
    assert str(directory / "report.html") in capsys.readouterr().out


def read_badcase_report(config: Config, stage_dir: str) -> dict:
    return json.loads((config.run.dir / stage_dir / "badcase_report.json").read_text())


def test_advice_sees_the_same_whichever_split_is_analysed(evaluated):
    run_analysis(evaluated, model="last_item")
    on_valid = evaluated.evaluation.model_copy(update={"split": "valid"})
    run_analysis(evaluated.model_copy(update={"evaluation": on_valid}), model="last_item")
    by_hand, of_loop = (read_badcase_report(evaluated, f"{name}/last_item") for name in ("analysis", "analysis_valid"))
    assert (by_hand["split"], of_loop["split"]) == ("test", "valid")
    for part in ("valid", "baselines", "history", "ties", "training", "sid_quality"):
        assert by_hand[part] == of_loop[part], part
    assert by_hand["valid"]["summary"] == of_loop["summary"]
    assert by_hand["baselines"]["valid"]["last_item"]["ahead"]["mean"] == 0


def test_two_models_stand_beside_each_other_and_a_second_call_does_nothing(evaluated, capsys):
    run_analysis(evaluated, model="popular")
    run_analysis(evaluated, model="last_item")
    run_analysis(evaluated, model="popular")
    assert "analysis: up to date" in capsys.readouterr().out
    with pytest.raises(ArtifactError, match="analysis.top_k is 10 there, 3 asked.*--clean"):
        run_analysis(evaluated, model="popular", top_k=3)


def test_a_stopped_analysis_goes_on_to_the_same_files(evaluated, monkeypatch, capsys):
    run_analysis(evaluated, model="popular")
    directory = evaluated.run.dir / "analysis/popular"
    unbroken = read_manifest(directory).fingerprint
    shutil.rmtree(directory)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setitem(plots.BADCASE_PLOTS, "sid_quality", stopped)
        run_analysis(evaluated, model="popular")
    assert not directory.exists()
    run_analysis(evaluated, model="popular")
    assert "going on from where it was stopped" in capsys.readouterr().out
    assert read_manifest(directory).fingerprint == unbroken


def stopped(report, path):
    raise KeyboardInterrupt


def test_altered_predictions_are_refused(evaluated):
    run_analysis(evaluated, model="popular")
    path = evaluated.run.dir / "evaluation/popular/recommendations.npz"
    arrays = load_arrays(path)
    save_arrays(path, **arrays | {"score": arrays["score"] + 1})
    with pytest.raises(ArtifactError, match="recommendations.npz was changed after it was made"):
        run_analysis(evaluated, model="popular")


def test_a_directory_of_another_evaluation_of_the_same_rows_is_read(evaluated, tmp_path):
    directory = evaluated.run.dir / "evaluation"
    directory.rename(tmp_path / "elsewhere")
    run_analysis(evaluated, model=str(tmp_path / "elsewhere" / "last_item"))
    assert (evaluated.run.dir / "analysis/last_item/report.html").exists()


def test_beam_loss_is_measured_against_the_exact_twin(evaluated, tmp_path):
    given = evaluated.run.dir / "evaluation/popular"
    arrays = load_arrays(given / "recommendations.npz")
    first = np.full_like(arrays["item"], -1)
    first[:, 0] = arrays["target"]
    twin = given.with_name("popular_exact")
    twin.mkdir()
    save_arrays(twin / "recommendations.npz", **arrays | {"item": first})
    run_analysis(evaluated, model="popular")
    report = json.loads((evaluated.run.dir / "analysis/popular/badcase_report.json").read_text())
    assert report["failure_patterns"]["beam_loss"]["count"] == report["summary"]["bad_cases_count"] > 0
    save_arrays(twin / "recommendations.npz", **arrays | {"target": arrays["target"] + 1})
    with pytest.raises(ArtifactError, match="ranks 60 other rows"):
        analyze.diagnose_run(
            evaluated.model_copy(update={"analysis": evaluated.analysis.model_copy(update={"model": "popular"})})
        )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("popularity", "there are: last_item, popular; run: genrec evaluate --models popularity"),
        ("OTHER", "was scored on other data: [0-9]+ of its 60 rows are not in this run's test split"),
    ],
)
def test_what_cannot_be_analysed_is_refused_with_the_way_on(evaluated, tmp_path, model, message):
    if model == "OTHER":
        other = small_config(tmp_path / "other", evaluation={"models": ["popular"]})
        write_data(other, small_shop(seed=1))
        evaluate.evaluate(Command(other))
        model = str(tmp_path / "other/evaluation/popular")
    with pytest.raises(ArtifactError, match=message):
        run_analysis(evaluated, model=model)


def test_a_row_that_is_not_there_is_scored_first(evaluated, capsys):
    scored = analyze.score_model(
        evaluated.model_copy(update={"analysis": evaluated.analysis.model_copy(update={"model": "item_knn"})})
    )
    assert scored.analysis.model == "item_knn" and (evaluated.run.dir / "evaluation/item_knn/results.json").exists()
    assert "evaluation: item_knn: done" in capsys.readouterr().out
    missing = evaluated.model_copy(update={"analysis": evaluated.analysis.model_copy(update={"model": "sasrec"})})
    with pytest.raises(ArtifactError, match="sequential is not there yet; run first: genrec sequential"):
        analyze.score_model(missing)


def test_without_an_evaluation_it_says_what_to_run_and_a_dry_run_plans(tmp_path, capsys):
    config = small_config(tmp_path / "run")
    write_data(config, small_shop())
    stage.run("analysis", Command(config, False, dry_run=True), analyze.build, analyze.sources)
    assert "analysis: to run" in capsys.readouterr().out
    with pytest.raises(ArtifactError, match="no predictions of 'sft' in .*; run: genrec evaluate --models sft"):
        run_analysis(config)


def test_a_run_without_sids_reports_them_as_not_measured(tmp_path):
    config = small_config(tmp_path / "run", evaluation={"models": ["popular"]})
    write_data(config, small_shop())
    evaluate.evaluate(Command(config))
    run_analysis(config, model="popular")
    report = json.loads((tmp_path / "run/analysis/popular/badcase_report.json").read_text())
    assert report["failure_patterns"]["wrong_at_level_1"]["finding"] == "not measured"
    assert "not_measured" in report["sid_quality"] and report["levels"] is None


def test_the_shell_command_of_the_seed(evaluated):
    flags = [
        "--config",
        str(evaluated.run.dir / "c.yaml"),
        "--model",
        "popular",
        "--category",
        "small",
        "--top_k",
        "10",
    ]
    (evaluated.run.dir / "c.yaml").write_text(
        f"run: {{dir: {evaluated.run.dir}}}\ndata: {{source: toy, max_history: 6}}\nevaluation: {{models: [popular]}}\n"
    )
    script = ["bash", str(ROOT / "analyze_badcase.sh"), *flags]
    done = subprocess.run(
        script, capture_output=True, text=True, env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, done.stderr
    assert "popular on test: the truth is missing from the first 10" in done.stdout


def test_the_sequential_models_that_could_teach_are_baselines_where_they_know_this_data(tmp_path):
    config = small_config(tmp_path / "run")
    write_data(config, small_shop())
    assert list_sequential(config) == []

    def build(config, directory):
        for name in ("sasrec", "sasrec_bce"):
            (directory / name).mkdir()
            (directory / name / "config.json").write_text("{}")
        return {}

    run_stage("sequential", config, build)
    assert list_sequential(config) == ["sasrec"]
    manifest, fingerprint = (
        config.run.dir / "sequential/manifest.json",
        RunStore.of(config).manifest("data").fingerprint,
    )
    manifest.write_text(manifest.read_text().replace(fingerprint, "0" * len(fingerprint)))
    assert list_sequential(config) == []
