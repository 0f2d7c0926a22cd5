"""Workers on Ray make what torchrun's processes make, also when one of them is killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from genrec.artifacts import sha256
from genrec.commandline import Command
from genrec.config_checks import validate
from genrec.engine import torch_workers
from genrec.engine.torch_workers import relayed, run_on_engine
from genrec.errors import ArtifactError
from tests.small_model import write_model
from tests.small_shop import small_config, small_shop, write_data, write_sids

TRAINED = {
    "sft": {
        "scratch": {"hidden_size": 16, "num_layers": 1, "vocab_size": 400},
        "train_from_scratch": True,
        "tasks": {"sid_to_sid": 1},
        "num_epochs": 8,
        "batch_size": 8,
        "micro_batch_size": 4,
        "eval_step": 0.1,
        "early_stop": 0,
        "valid_size": 8,
    },
    "evaluation": {"models": ["popular", "sft"], "num_beams": 8, "batch_size": 2},
}
ON_RAY = ["--run.engine", "ray", "--run.workers", "2"]


def make_run(directory):
    """A run with data and SIDs, and the file of its configuration."""
    config, shop = small_config(directory, **TRAINED), small_shop(num_items=17)
    write_data(config, shop)
    write_sids(config, shop)
    path = directory.with_suffix(".yaml")
    data = {"dataset": "small", "source": "toy", "max_history": 6}
    path.write_text(yaml.safe_dump({"run": {"dir": str(directory)}, "data": data, **TRAINED}))
    return path


def test_without_ray_and_in_a_dry_run_the_stage_is_in_this_process(monkeypatch, tmp_path):
    done = []
    monkeypatch.setattr(torch_workers, "carry_out", lambda stage, command: done.append((stage, command)))
    local = Command(small_config(tmp_path))
    asked = Command(small_config(tmp_path, run={"dir": str(tmp_path), "engine": "ray", "workers": 2}), dry_run=True)
    run_on_engine("sft", local)
    run_on_engine("rl", asked)
    assert done == [("sft", local), ("rl", asked._replace(config=local.config))]


def test_what_is_missing_is_told_before_a_cluster_is_asked(tmp_path):
    config = small_config(tmp_path, run={"dir": str(tmp_path), "engine": "ray", "workers": 2})
    with pytest.raises(ArtifactError, match="data is not there yet; run first: genrec prepare"):
        run_on_engine("sft", Command(config))


def test_what_is_there_is_refused_or_left_without_a_cluster(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch_workers, "cluster", None)
    ray = {"dir": str(tmp_path), "engine": "ray", "workers": 2}
    config, shop = small_config(tmp_path, run=ray, **TRAINED), small_shop(num_items=17)
    write_data(config, shop)
    write_sids(config, shop)
    write_model(config, shop, "sft", 0, best=1)
    run_on_engine("sft", Command(config))
    assert capsys.readouterr().out.splitlines()[-1] == "sft: up to date"
    other = config.model_copy(update={"sft": config.sft.model_copy(update={"num_epochs": 9.0})})
    with pytest.raises(ArtifactError, match=r"sft.num_epochs is 8.0 there, 9.0 asked"):
        run_on_engine("sft", Command(other))


def test_what_a_worker_says_comes_to_the_screen_whole(tmp_path, capsys):
    with relayed(tmp_path / "screen.txt"), (tmp_path / "screen.txt").open("a", buffering=1) as file:
        print("step 1", file=file)
        time.sleep(0.3)
        print("step 2", file=file)
    assert capsys.readouterr().out == "step 1\nstep 2\n"


def workers_in(directory):
    """Processes of Ray Train that work in a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            title, where = (entry / "cmdline").read_bytes(), os.readlink(entry / "cwd")
        except OSError:
            continue
        if title.startswith(b"ray::RayTrainWorker") and where == str(directory):
            found.append(int(entry.name))
    return sorted(found)


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_that_a_checkpoint_holds(tmp_path):
    pytest.importorskip("ray.train", reason="ray is not installed: pip install 'genrec[ray]'")
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    pair, ray = make_run(tmp_path / "pair"), make_run(tmp_path / "ray")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "genrec"]
    subprocess.run([*torchrun, "sft", "--config", pair], check=True, capture_output=True, env=alone, cwd=tmp_path)

    genrec = [sys.executable, "-m", "genrec"]
    process = subprocess.Popen(
        [*genrec, "sft", "--config", ray, *ON_RAY],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env=alone,
    )
    while process.poll() is None and not list(tmp_path.glob("ray/sft.partial/checkpoint-*/whole.json")):
        time.sleep(0.01)
    victims = workers_in(tmp_path)
    assert len(victims) == 2, process.communicate()[0]
    os.kill(victims[1], signal.SIGKILL)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "sft: going on from where it was stopped" in said and said.rstrip().endswith("sft: up to date")
    assert sha256(tmp_path / "ray/sft/model.safetensors") == sha256(tmp_path / "pair/sft/model.safetensors")
    assert not (tmp_path / "ray" / ".ray").exists()

    for config, more in ((pair, []), (ray, ON_RAY)):
        subprocess.run(
            [*genrec, "evaluate", "--config", config, *more], check=True, capture_output=True, env=alone, cwd=tmp_path
        )
    tables = [tmp_path / name / "evaluation" / "sft" for name in ("pair", "ray")]
    assert len({sha256(next(table.glob("recommendations.npz"))) for table in tables}) == 1


@pytest.mark.slow
def test_rl_by_two_workers_is_rl_by_two_processes(tmp_path):
    """Both begin from the same SFT model and seed."""
    pytest.importorskip("ray.train", reason="ray is not installed: pip install 'genrec[ray]'")
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    rl = {
        "num_generations": 4,
        "batch_size": 16,
        "micro_batch_size": 8,
        "sample_train": True,
        "sample_size": 16,
        "learning_rate": 1e-3,
        "eval_step": 0.5,
        "valid_size": 8,
        "num_epochs": 1,
    }
    weights = []
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for name, launcher, more in (("pair", torchrun, []), ("ray", [], ON_RAY)):
        path = make_run(tmp_path / name)
        known = yaml.safe_load(path.read_text()) | {"rl": rl}
        path.write_text(yaml.safe_dump(known))
        write_model(validate(known), small_shop(num_items=17), "sft", 0, best=1)
        command = [sys.executable, *launcher, "-m", "genrec", "rl", "--config", path, *more]
        done = subprocess.run(command, capture_output=True, text=True, env=alone, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        weights.append(tmp_path / name / "rl" / "model.safetensors")
    before = sha256(tmp_path / "pair" / "sft" / "model.safetensors")
    assert sha256(weights[0]) == sha256(weights[1]) and sha256(tmp_path / "ray/sft/model.safetensors") == before
    training = [json.loads(path.with_name("training.json").read_text()) for path in weights]
    assert training[0]["curve"] == training[1]["curve"] and len(training[0]["curve"]) > 0
