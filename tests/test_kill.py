"""kill -9 half-way, then the same command: the artifact equals that of a run that was left alone.

For the stages that test_pipeline.py does not kill. Random vectors stand for the embeddings, which take long.
"""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from genrec import stage
from genrec.artifacts import read_manifest
from genrec.pipeline import STAGES
from tests import ROOT, parse_flags

# stage -> what its .partial directory holds when it is killed
HALF_WAY = {"data": "catalog.parquet", "sids": "codebooks.npz", "convert": "train/*", "sequential": "sasrec/*"}
PLACES = {name: name for name in HALF_WAY} | {"sids": "sids/rqkmeans"}  # in a run
NUM_ITEMS, WIDTH = 200, 16  # of the toy shop; of the vectors


def flags(directory):
    config = str(ROOT / "config/tiny.yaml")
    return ["--config", config, "--run.dir", str(directory / "run"), "--data.raw_dir", str(directory / "raw")]


def command(name, directory):
    more = ["--num_epochs", "3"] if name == "sequential" else []
    return [sys.executable, str(ROOT / STAGES[name].script), *flags(directory), *more]


def finish(name, directory):
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command(name, directory), capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr


def write_vectors(config, partial):
    vectors = np.random.default_rng(0).normal(size=(NUM_ITEMS, WIDTH)).astype(np.float32)
    np.save(partial / f"{config.data.dataset}.emb.npy", vectors)
    return {}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    directory = tmp_path_factory.mktemp("unbroken")
    finish("data", directory)
    stage.run("embeddings", parse_flags(flags(directory)), write_vectors)
    for name in ("sids", "convert", "sequential"):
        finish(name, directory)
    return directory


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "sequential" else []) for name in HALF_WAY]
)
def test_killed_half_way_goes_on_to_the_same_artifact(unbroken, tmp_path, name):
    shutil.copytree(unbroken / "run", tmp_path / "run", ignore=shutil.ignore_patterns(name))
    kill_half_way(name, tmp_path)
    finish(name, tmp_path)
    assert not (tmp_path / "run" / f"{PLACES[name]}.partial").exists()
    again, before = (read_manifest(directory / "run" / PLACES[name]) for directory in (tmp_path, unbroken))
    assert again.files == before.files and again.fingerprint == before.fingerprint


def kill_half_way(name, directory, attempts=5):
    """Kills the stage once what HALF_WAY names is there; begins again where the stage was faster than we."""
    final = directory / "run" / PLACES[name]
    partial = final.with_name(f"{final.name}.partial")
    for _ in range(attempts):
        process = subprocess.Popen(command(name, directory), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while process.poll() is None and not any(partial.glob(HALF_WAY[name])):
            time.sleep(0.001)
        process.kill()
        _, said = process.communicate()
        if partial.exists():
            return
        assert final.exists(), said.decode()
        shutil.rmtree(final)
    pytest.fail(f"{name} was never killed half-way in {attempts} attempts")
