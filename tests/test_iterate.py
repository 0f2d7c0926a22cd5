"""The loop on the toy shop: a planted fault is found, cured, measured; a kill, a dry run and misuse."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace

import pytest

from genrec import artifacts, cli, stage
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
    """subprocess.run without the wait for imports: `python -m genrec ...` runs in this process."""
    assert command[1:3] == ["-m", "genrec"]
    try:
        with redirect_stdout(stdout):
            cli.main(command[3:])
    except SystemExit as stopped:
        return SimpleNamespace(returncode=stopped.code)
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
        faulty = iterate.LoopRun(command(directory).config, directory / "faulty.json")
        for name in ("data", "sequential"):
            iterate.call_stage(name, faulty)
        iterate.run_loop(command(directory))
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
    assert report["training"]["best_at"] == 1.0  # one epoch can only be best at its end
    assert report["summary"] == report["valid"]["summary"] and set(report["baselines"]["valid"]) == {
        "popular",
        "last_item",
        "item_knn",
    }
    assert report["split"] == "valid" and not (looped / "run/analysis").exists()
    scored = {
        split: json.loads((looped / f"run/evaluation{split}/sasrec/results.json").read_text())
        for split in ("", "_valid")
    }
    assert scored[""]["rows"]["split"] == "test" and scored["_valid"]["rows"]["split"] == "valid"


def test_a_second_call_makes_nothing_anew_and_a_dry_run_goes_as_far_as_it_can(looped, capsys):
    before = {path: path.stat().st_mtime_ns for path in looped.rglob("manifest.json")}
    iterate.run_loop(command(looped))
    assert "best on valid" in capsys.readouterr().out
    more = command(looped, "--iterate.rounds", "2")
    iterate.run_loop(more._replace(dry_run=True))
    said = capsys.readouterr().out
    assert "round 1: data as before; anew: sequential, evaluation" in said
    assert "round 2: analysis of" in said and "rounds/1 on valid rows" in said
    assert "best on valid" in said
    iterate.run_loop(command(looped)._replace(dry_run=True))
    assert "best on valid" in capsys.readouterr().out
    other = command(looped, "--analysis.model", "item_knn")  # whose rows were not analysed
    iterate.run_loop(other._replace(dry_run=True))
    said = capsys.readouterr().out
    assert "round 1: analysis of" in said and "What the last loop here found" in said and "best on valid" in said
    assert {path: path.stat().st_mtime_ns for path in looped.rglob("manifest.json")} == before


def test_a_loop_killed_in_a_round_goes_on_to_the_same_numbers(looped, tmp_path, monkeypatch):
    shutil.copytree(looped / "run", tmp_path / "run", ignore=shutil.ignore_patterns("rounds"))
    shutil.copytree(looped / "raw", tmp_path / "raw")
    share, publish = artifacts.share_directory, stage.publish

    def dies_in_data(source, target):
        shutil.copytree(source, target.with_name("data.tmp"))
        raise KeyboardInterrupt

    def dies_when_trained(job):
        if job.stage == "sequential":
            raise KeyboardInterrupt
        publish(job)

    monkeypatch.setattr(artifacts, "share_directory", dies_in_data)
    with pytest.raises(iterate.ArtifactError, match="the same command goes on"):
        iterate.run_loop(command(tmp_path))
    monkeypatch.setattr(artifacts, "share_directory", share)
    monkeypatch.setattr(stage, "publish", dies_when_trained)
    with pytest.raises(iterate.ArtifactError, match="the same command goes on"):
        iterate.run_loop(command(tmp_path))
    monkeypatch.setattr(stage, "publish", publish)
    assert (tmp_path / "run/rounds/1/sequential.partial").exists()
    iterate.run_loop(command(tmp_path))
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob("*.partial"))
    again, unbroken = (rounds(directory)["rounds"][0] for directory in (tmp_path, looped))
    assert (again["valid"], again["test"]) == (unbroken["valid"], unbroken["test"])


def test_rejected_advice_is_not_tried_again_and_the_better_run_stays(looped, tmp_path, monkeypatch, capsys):
    shutil.copytree(looped / "run", tmp_path / "run", ignore=shutil.ignore_patterns("rounds"))
    shutil.copytree(looped / "raw", tmp_path / "raw")
    monkeypatch.setattr("genrec.advice.rounds.LoopRound.kept", False)
    iterate.run_loop(command(tmp_path, "--iterate.rounds", "2"))
    assert "round 2: nothing that was not tried before is advised" in capsys.readouterr().out
    assert rounds(tmp_path)["best"] == str(tmp_path / "run") and len(rounds(tmp_path)["rounds"]) == 1


def split_stages(directory, model: str, *flags: str, **values) -> tuple[list[str], list[str]]:
    config = command(directory, "--evaluation.models", model, *flags).config
    plan = SimpleNamespace(values={key.replace("__", "."): value for key, value in values.items()})
    return iterate.split_stages(iterate.LoopRun(config, directory / "x"), plan)


def test_only_what_depends_on_a_change_is_made_anew(tmp_path):
    stages = ["data", "embeddings", "sids", "sft"]
    for key, kept in {
        "sft__learning_rate": ["data", "embeddings", "sids"],
        "sids__alpha": ["data", "embeddings"],
        "evaluation__num_beams": stages,
        "data__max_history": [],
    }.items():
        assert split_stages(tmp_path, "[sft]", **{key: 1}) == (kept, [name for name in stages if name not in kept]), key
    assert split_stages(tmp_path, "[sasrec]", evaluation__limit=1) == (["data", "sequential"], [])


def test_a_reward_that_reads_a_stage_brings_it_before_rl(tmp_path):
    asked = ("[sft, rl]", "--rl.reward_type", "sasrec,ranking")
    stages = ["data", "embeddings", "sids", "sequential", "sft", "rl"]
    assert split_stages(tmp_path, *asked, data__max_history=5) == ([], stages)
    assert split_stages(tmp_path, *asked, rl__beta=0.1) == (stages[:-1], ["rl"])


def test_an_advised_teacher_brings_its_stage_before_sft(tmp_path):
    """The run before was taught by nobody, so its language model read no sequential model."""
    taught = split_stages(tmp_path, "[sft]", "--sft.teacher", "sasrec", sft__teacher={"sasrec": 1.0})
    assert taught == (["data", "embeddings", "sids", "sequential"], ["sft"])


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
