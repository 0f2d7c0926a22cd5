"""What rewards know: only what a chosen one asks for, each stage by its name where it is missing."""

import numpy as np
import pytest

from genrec import stage
from genrec.commandline import Command
from genrec.errors import ArtifactError
from genrec.sids import make_index
from genrec.store import RunStore
from genrec.training.knowledge import find_available, load_knowledge
from tests.small_shop import small_config, small_shop, write_data


@pytest.fixture
def store(tmp_path):
    config = small_config(tmp_path / "run")
    write_data(config, small_shop())
    return RunStore.of(config)


INDEX = make_index(np.stack([np.arange(20) // 5, np.arange(20) % 5], axis=1), (4, 5))


def write_vectors(store):
    def build(config, directory):
        vectors = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
        np.save(directory / "small.emb.npy", vectors)
        return {}

    stage.run("embeddings", Command(small_config(store.directory), clean=False, dry_run=False), build)


def test_rewards_of_codes_and_counts_read_nothing_else(store):
    shop = small_shop()
    knowledge = load_knowledge(store, shop, INDEX, ["rule", "prefix", "diversity"], "cpu")
    assert (knowledge.codes == INDEX.codes).all() and (knowledge.train_count == shop.train_count).all()
    assert knowledge.vectors is None and not knowledge.sequential


def test_semantic_has_vectors_of_length_one_once_they_are_there(store):
    assert "semantic" not in find_available(store)
    with pytest.raises(ArtifactError, match="embeddings is not there yet; run first: genrec embed"):
        load_knowledge(store, small_shop(), INDEX, ["semantic"], "cpu")
    write_vectors(store)
    assert "semantic" in find_available(store)
    vectors = load_knowledge(store, small_shop(), INDEX, ["semantic"], "cpu").vectors
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(20), abs=1e-6)
