"""A run directory with a small seeded shop: data/ and embeddings/ finished, so that sids can be made."""

import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from genrec import stage
from genrec.artifacts import CATALOG, SEQUENCES, SPLITS
from genrec.data.catalog import Catalog, save_catalog
from genrec.data.sequences import Sequences, Split, save_sequences, save_splits
from genrec.pipeline import artifact_dir
from tests import ROOT, parse_flags

NUM_ITEMS, WIDTH, GROUPS = 90, 16, 6
SMALL = [
    "--config",
    str(ROOT / "config/tiny.yaml"),
    "--sids.codebook_size",
    "12",
    "--sids.num_epochs",
    "8",
    "--sids.alpha",
    "0",
]


def shop_vectors():
    """(N, D): GROUPS kinds of items, and the first three items alike to the last bit."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(GROUPS, WIDTH))[np.arange(NUM_ITEMS) % GROUPS]
    vectors = (kinds + 0.3 * rng.normal(size=(NUM_ITEMS, WIDTH))).astype(np.float32)
    vectors[1] = vectors[2] = vectors[0]
    return vectors


def write_data(config, partial):
    names = np.array([f"item {i}" for i in range(NUM_ITEMS)], dtype=object)
    kinds = np.array([f"Shop,kind {i % GROUPS}" for i in range(NUM_ITEMS)], dtype=object)
    save_catalog(Catalog(names, names, names, np.array(["b"] * NUM_ITEMS, dtype=object), kinds), partial / CATALOG)
    rng, users, events = np.random.default_rng(1), 30, 6
    item = (
        rng.integers(NUM_ITEMS // GROUPS, size=(users, events)) * GROUPS + np.arange(users)[:, None] % GROUPS
    ).ravel()
    offset = np.arange(users + 1) * events
    sequences = Sequences(item.astype(np.int32), np.arange(len(item)), offset, np.arange(users).astype(str))
    save_sequences(sequences, partial / SEQUENCES)
    user = np.arange(users, dtype=np.int32)
    ends = {"train": offset[:-1] + 3, "valid": offset[:-1] + 4, "test": offset[:-1] + 5}
    save_splits({name: Split(user, end) for name, end in ends.items()}, partial / SPLITS)
    return {}


def write_vectors(config, partial, vectors=None):
    np.save(partial / f"{config.data.dataset}.emb.npy", shop_vectors() if vectors is None else vectors)
    return {}


class Run:
    """A run directory and its commands."""

    def __init__(self, directory):
        self.dir = directory
        self.flags = [*SMALL, "--run.dir", str(directory)]

    def sids(self, *flags):
        from genrec.stages.sids import build

        command = parse_flags([*self.flags, *flags], "sids")
        stage.run("sids", command, build)
        self.made = artifact_dir(command.config, "sids")
        return self.made

    def embed(self, vectors):
        """Another artifact of embeddings in place of the one there."""
        command = parse_flags([*self.flags, "--clean"])
        stage.run("embeddings", command, partial(write_vectors, vectors=vectors))

    def script(self, name, *flags):
        program = ["bash"] if name.endswith(".sh") else [sys.executable]
        environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
        command = [*program, str(ROOT / "rq" / name), *self.flags, *flags]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self.dir)

    def json(self, name):
        return json.loads((self.made / name).read_text())


@pytest.fixture
def run(tmp_path):
    command = parse_flags([*SMALL, "--run.dir", str(tmp_path)])
    stage.run("data", command, write_data)
    stage.run("embeddings", command, write_vectors)
    return Run(tmp_path)
