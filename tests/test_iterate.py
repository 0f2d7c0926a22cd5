"""The loop on the toy shop: a planted fault is found, cured, measured; a kill, a dry run and misuse."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace

import pytest

from genrec import stage
from genrec.advice.plan import nested
from genrec.advice.rounds import round_config, stages_for, unchanged
from genrec.artifacts import read_manifest
from genrec.commandline import Command
from genrec.stages import iterate
from tests import ROOT, parse_flags

FAULT = ["--sequential.num_epochs", "1", "--iterate.advice", "all"]  # one pass where the preset makes eighteen


def command(directory, *flags: str) -> Command:
    """SASRec on the toy shop, so that no embeddings and no language model are needed."""
    shop = ["--config", str(ROOT / "config/tiny.yaml"), "--data.raw_dir", str(directory / "raw")]
    return parse_flags([*shop, "--run.dir", str(directory / "run"), "--evaluation.models", "[sasrec]", *FAULT, *flags])


def here(command: list[str], stdout) -> SimpleNamespace:
    """subprocess.run without the wait for imports: the script runs in this process."""
    before, sys.argv = sys.argv, command[1:]
    try:
        with redirect_stdout(stdout):
            runpy.run_path(command[1], run_name="__main__")
    except SystemExit as stopped:
        return SimpleNamespace(returncode=stopped.code)
    finally:
        sys.argv = before
    return SimpleNamespace(returncode=0)


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setattr(iterate, "subprocess", SimpleNamespace(run=here))


@pytest.fixture(scope="module")
def looped(tmp_path_factory):
    """A run with the fault, and one round."""
    directory = tmp_path_factory.mktemp("loop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iterate, "subprocess", SimpleNamespace(run=here))
        faulty = iterate.Run(command(directory).config, directory / "faulty.json")
        for name in ("data", "sequential"):
            iterate.call(name, faulty)
        iterate.iterate(command(directory))
    return directory


def rounds(directory) -> dict:
    return json.loads((directory / "run/rounds/rounds.json").read_text())


def test_one_round_cures_a_planted_fault(looped):
    (found,) = rounds(looped)["rounds"]
    assert "hyperparameter" in found["advice"] and found["changes"]["sequential.num_epochs"] == {"from": 1, "to": 2}
    for split in ("valid", "test"):
        ndcg = found[split][0]
        assert ndcg["metric"] == "ndcg@10" and ndcg["difference"]["low"] > 0, split
    assert found["held"] == "yes" and found["kept"] and rounds(looped)["best"] == str(looped / "run/rounds/1")
    table = (looped / "run/rounds/rounds.txt").read_text()
    assert "sequential.num_epochs: 1 -> 2" in table and "HR@10 at most" in table


def test_what_the_advice_leaves_alone_is_the_same_files(looped):
    shared = looped / "run/rounds/1/data/sequences.npz"
    assert os.path.samefile(shared, looped / "run/data/sequences.npz")
    before, after = (read_manifest(looped / run / "sequential") for run in ("run", "run/rounds/1"))
    assert before.config["sequential.num_epochs"] == 1 and after.config["sequential.num_epochs"] == 2


def test_advice_comes_from_valid_rows(looped):
    report = json.loads((looped / "run/analysis_valid/sasrec/badcase_report.json").read_text())
    assert report["training"] == {"best_at": 1.0}  # one epoch can only be best at its end
    assert report["split"] == "valid" and not (looped / "run/analysis").exists()
    scored = {
        split: json.loads((looped / f"run/evaluation{split}/sasrec/results.json").read_text())
        for split in ("", "_valid")
    }
    assert scored[""]["rows"]["split"] == "test" and scored["_valid"]["rows"]["split"] == "valid"


def test_a_second_call_makes_nothing_anew_and_a_dry_run_goes_as_far_as_it_can(looped, capsys):
    before = {path: path.stat().st_mtime_ns for path in looped.rglob("manifest.json")}
    iterate.iterate(command(looped))
    assert "best on valid" in capsys.readouterr().out
    more = command(looped, "--iterate.rounds", "2")
    iterate.iterate(more._replace(dry_run=True))
    said = capsys.readouterr().out
    assert "round 1: data as before; anew: sequential, evaluation" in said
    assert "round 2: analysis of" in said and "rounds/1 on valid rows" in said
    assert {path: path.stat().st_mtime_ns for path in looped.rglob("manifest.json")} == before


def test_a_loop_killed_in_a_round_goes_on_to_the_same_numbers(looped, tmp_path, monkeypatch):
    shutil.copytree(looped / "run", tmp_path / "run", ignore=shutil.ignore_patterns("rounds"))
    shutil.copytree(looped / "raw", tmp_path / "raw")
    share, publish = iterate.share, stage.publish

    def dies_in_data(source, target):
        shutil.copytree(source, target.with_name("data.sharing"))
        raise KeyboardInterrupt

    def dies_when_trained(partial, final):
        if final.name == "sequential":
            raise KeyboardInterrupt
        publish(partial, final)

    monkeypatch.setattr(iterate, "share", dies_in_data)
    with pytest.raises(KeyboardInterrupt):
        iterate.iterate(command(tmp_path))
    monkeypatch.setattr(iterate, "share", share)
    monkeypatch.setattr(stage, "publish", dies_when_trained)
    with pytest.raises(iterate.ArtifactError, match="the same command goes on"):
        iterate.iterate(command(tmp_path))
    monkeypatch.setattr(stage, "publish", publish)
    assert (tmp_path / "run/rounds/1/sequential.partial").exists()
    iterate.iterate(command(tmp_path))
    assert not list(tmp_path.rglob("*.sharing")) and not list(tmp_path.rglob("*.partial"))
    again, unbroken = (rounds(directory)["rounds"][0] for directory in (tmp_path, looped))
    assert (again["valid"], again["test"]) == (unbroken["valid"], unbroken["test"])


def test_rejected_advice_is_not_tried_again_and_the_better_run_stays(looped, tmp_path, monkeypatch, capsys):
    shutil.copytree(looped / "run", tmp_path / "run", ignore=shutil.ignore_patterns("rounds"))
    shutil.copytree(looped / "raw", tmp_path / "raw")
    monkeypatch.setattr("genrec.advice.rounds.Round.kept", False)
    iterate.iterate(command(tmp_path, "--iterate.rounds", "2"))
    assert "round 2: nothing that was not tried before is advised" in capsys.readouterr().out
    assert rounds(tmp_path)["best"] == str(tmp_path / "run") and len(rounds(tmp_path)["rounds"]) == 1


def test_only_what_depends_on_a_change_is_made_anew():
    stages = stages_for(("sids", "sft"))
    assert stages == ["data", "embeddings", "sids", "sft"]
    for key, kept in {
        "sft.learning_rate": ["data", "embeddings", "sids"],
        "sids.alpha": ["data", "embeddings"],
        "evaluation.num_beams": stages,
        "data.max_history": [],
    }.items():
        assert unchanged(stages, SimpleNamespace(values={key: 1})) == kept, key
    assert stages_for(("sequential",)) == ["data", "sequential"]


def test_a_reward_that_reads_a_stage_brings_it_before_rl(tmp_path):
    config = command(tmp_path, "--evaluation.models", "[sft, rl]", "--rl.reward_type", "sasrec,ranking").config
    shared, anew = iterate.divided(iterate.Run(config, tmp_path / "x"), SimpleNamespace(values={"data.max_history": 5}))
    assert shared == [] and anew == ["data", "embeddings", "sids", "sequential", "sft", "rl"]
    shared, anew = iterate.divided(iterate.Run(config, tmp_path / "x"), SimpleNamespace(values={"rl.beta": 0.1}))
    assert shared == ["data", "embeddings", "sids", "sequential", "sft"] and anew == ["rl"]


def test_a_round_trains_and_scores_the_analysed_model_alone(tmp_path):
    both = ["--sequential.models", "[sasrec, sasrec_bce]", "--evaluation.models", "[popular, sasrec]"]
    base = command(tmp_path, *both).config
    report = {"model": "sasrec", "config": base.model_dump(mode="json")}
    for values, trained in (
        ({"sequential.num_epochs": 2}, ["sasrec"]),
        ({"evaluation.limit": 9}, ["sasrec", "sasrec_bce"]),
    ):
        plan = SimpleNamespace(values=values, overlay=nested(report, values))
        config = round_config(base, plan, tmp_path / "1")
        assert (config.sequential.models, config.evaluation.models) == (trained, ["sasrec"])
        assert config.run.dir == tmp_path / "1" and config.analysis.model == "sasrec"


@pytest.mark.parametrize(
    "flags",
    [["--evaluation.models", "[popular]"], ["--analysis.model", "sft"], ["--evaluation.split", "valid"]],
)
def test_a_model_without_knobs_or_rows_is_refused_in_one_line(tmp_path, flags):
    arguments = [
        "--config",
        str(ROOT / "config/tiny.yaml"),
        "--run.dir",
        str(tmp_path),
        "--evaluation.models",
        "[sasrec]",
    ]
    script = [sys.executable, str(ROOT / "iterate.py"), *arguments, *flags]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "the loop improves one of sft" in done.stderr and not list(tmp_path.iterdir())
