"""A run read back: what was written, and the command that makes what is missing."""

import numpy as np
import pytest

from genrec.artifacts import EMBEDDINGS
from genrec.errors import ArtifactError
from genrec.store import RunStore
from tests.small_shop import small_config, small_shop, write_data, write_sids


@pytest.fixture
def config(tmp_path):
    config = small_config(tmp_path / "run")
    write_data(config, small_shop())
    return config


def test_data_and_sids_come_back(config):
    store, shop = RunStore.of(config), small_shop()
    data = store.prepared()
    assert (data.sequences.item == shop.sequences.item).all() and data.max_history == 6
    assert data.catalog.title.tolist() == shop.catalog.title.tolist()
    assert not store.has("sids") and store.codebooks() is None and store.sid_quality() is None
    write_sids(config, shop)
    assert store.has("sids") and store.codes().tolist() == [[item // 5, item % 5] for item in range(20)]


def test_a_run_says_its_own_dataset_and_history_where_nobody_asks_for_one(config):
    store = RunStore(config.run.dir)
    assert store.dataset == "small" and store.prepared().max_history == 6


def test_data_of_other_knobs_are_refused_with_both_values(config):
    other = config.model_copy(update={"data": config.data.model_copy(update={"user_k": 3})})
    with pytest.raises(ArtifactError, match="data.user_k is 5 there, 3 asked.*--run.dir ANOTHER"):
        RunStore.of(other).prepared()


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda store: store.manifest("sids"), "sids/rqkmeans_plus is not there yet; run first: genrec sids"),
        (lambda store: store.published_index(), "which only an import of published artifacts writes"),
        (lambda store: store.vectors(20), "small.emb.npy cannot be read.*run genrec embed"),
    ],
)
def test_what_is_missing_names_what_makes_it(config, read, message):
    with pytest.raises(ArtifactError, match=message):
        read(RunStore.of(config))


def test_vectors_of_another_catalogue_are_refused(config):
    path = RunStore.of(config).file("embeddings", EMBEDDINGS)
    path.parent.mkdir()
    np.save(path, np.ones((19, 4), dtype=np.float32))
    with pytest.raises(ArtifactError, match="19 rows, the catalogue has 20 items"):
        RunStore.of(config).vectors(20)


def test_a_catalogue_that_has_not_grown_says_how_it_would(config):
    write_sids(config, small_shop())
    store = RunStore.of(config)
    with pytest.raises(ArtifactError, match="run first: genrec sids --add new.item.json"):
        store.grown(store.index())
