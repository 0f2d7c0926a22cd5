"""The whole pipeline through several nodes of a Ray cluster, one of them killed on the way: what one machine makes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from genrec.artifacts import read_manifest, sha256
from tests.data.shards.test_sharded import draw_events, write_parts
from tests.engine.test_torch_workers import make_run, workers_in

pytestmark = pytest.mark.slow
GENREC = [sys.executable, "-m", "genrec"]
ALONE = os.environ | {"OMP_NUM_THREADS": "1"}
SHOP = {
    "data": {"source": "table", "dataset": "shop", "max_history": 6, "user_k": 3, "item_k": 3},
    "sids": {"num_levels": 2, "codebook_size": 8, "factors": 4},
    "sequential": {"hidden_size": 8, "num_layers": 1, "num_heads": 1, "num_epochs": 1},
    "sft": {
        "scratch": {"hidden_size": 16, "num_layers": 1, "intermediate_size": 16, "vocab_size": 400, "dropout": 0.1},
        "tasks": {"sid_to_sid": 1},
        "num_epochs": 12,
        "eval_step": 0.05,
        "early_stop": 0,
        "valid_size": 16,
    },
    "rl": {"tasks": {"sid_to_sid": 1}, "sample_size": 64, "valid_size": 16},
    "evaluation": {"models": ["popular", "sasrec", "sft", "rl"], "num_beams": 10, "batch_size": 2},
}


def write_config(directory):
    """The file of a shop's configuration; its events lie beside it."""
    write_parts(directory / "events", draw_events(rows=900))
    path = directory / "shop.yaml"
    events = {"data": SHOP["data"] | {"events": str(directory / "events"), "st_year": None, "st_month": None}}
    path.write_text(yaml.safe_dump(SHOP | events | {"run": {"device": "cpu"}}))
    return path


def on_ray(directory, config, *more):
    words = ["--config", "tiny", "--config", str(config), "--yes", "--run.engine", "ray", "--run.workers", "2"]
    return [*GENREC, "run", *words, "--run.dir", str(directory), *more]


def run(words, directory):
    done = subprocess.run(words, capture_output=True, text=True, cwd=directory, env=ALONE)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def parent_of(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def names_below(process):
    """What a process has started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if parent_of(entry.name) == process:
                found.append((entry / "cmdline").read_bytes().rstrip(b"\0").decode())
        except (OSError, ValueError):
            continue
    return found


def raylet_of(node):
    return node.all_processes["raylet"][0].process.pid


def results_of(run_dir):
    """What the stages made, by hashes: fingerprints, and of what names the run's own paths its weights and lists."""
    stages = ("data", "embeddings", "sids/rqkmeans", "convert", "sequential", "sft", "rl")
    lists = [path for path in sorted(run_dir.glob("evaluation/*/recommendations.npz"))]
    return {name: read_manifest(run_dir / name).fingerprint for name in stages}, [sha256(path) for path in lists]


def test_the_pipeline_of_three_nodes_of_which_one_is_killed_is_that_of_one_machine(tmp_path):
    """The machine of the command sends to a URL; a second machine, with an empty directory, takes it from there."""
    pytest.importorskip("ray.train", reason="ray is not installed: pip install 'genrec[ray]'")
    from ray.cluster_utils import Cluster

    config = write_config(tmp_path)
    run(on_ray(tmp_path / "one", config), tmp_path)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    url = f"file://{tmp_path}/bucket/shop"
    words = on_ray(tmp_path / "three", config, "--run.ray_address", cluster.address, "--run.remote", url)
    try:
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=ALONE
        )
        while process.poll() is None and not list(tmp_path.glob("three/sft.partial/checkpoint-*/whole.json")):
            time.sleep(0.01)
        homes = [parent_of(worker) for worker in workers_in(tmp_path)]
        hosts = [node for node in nodes if raylet_of(node) in homes]
        assert hosts, "of two workers one is not at the head"
        lost = max(hosts, key=lambda node: "ray::Refusals" in names_below(raylet_of(node)))
        cluster.remove_node(lost, allow_graceful=False)
        said, _ = process.communicate()
    finally:
        cluster.shutdown()
    assert process.returncode == 0, said[-3000:]
    assert "sft: going on from where it was stopped" in said
    assert results_of(tmp_path / "three") == results_of(tmp_path / "one")
    (tmp_path / "b").mkdir()
    words = ["--config", "tiny", "--config", str(config), "--run.dir", "run", "--run.remote", url]
    said = run([*GENREC, "evaluate", *words], tmp_path / "b")
    assert all(f"evaluation: {name}: up to date" in said for name in SHOP["evaluation"]["models"])
    assert results_of(tmp_path / "three")[1] == [
        sha256(path) for path in sorted(tmp_path.glob("b/run/evaluation/*/recommendations.npz"))
    ]
    user = json.loads((tmp_path / "three/evaluation/sft/eval_results.jsonl").read_text().splitlines()[0])["user"]
    said = run([*GENREC, "recommend", "--run.dir", "run", "--run.remote", url, "--user", str(user)], tmp_path / "b")
    assert f"user {user}:" in said


def started_by(mark):
    """Processes that inherited a variable of the environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if mark in environment:
            found.append(int(entry.name))
    return found


def test_ctrl_c_leaves_no_process_of_the_cluster_that_was_started_here(tmp_path):
    pytest.importorskip("ray.train", reason="ray is not installed: pip install 'genrec[ray]'")
    config, mark = make_run(tmp_path / "ray"), f"GENREC_TEST={tmp_path}"
    words = [*GENREC, "sft", "--config", config, "--run.engine", "ray", "--run.workers", "2", "--num_epochs", "500"]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env=ALONE | {"GENREC_TEST": str(tmp_path)},
    )
    while process.poll() is None and not list(tmp_path.glob("ray/sft.partial/checkpoint-*/whole.json")):
        time.sleep(0.05)
    assert len(started_by(mark.encode())) > 3, "the command, the cluster and its workers"
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130 and said.rstrip().endswith("the same command goes on from here"), said[-2000:]
    deadline = time.monotonic() + 30
    while started_by(mark.encode()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not started_by(mark.encode())
