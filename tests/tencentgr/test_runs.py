"""A prepared run as a data source: the same events, splits and targets as the run's other models see."""

from dataclasses import replace

import numpy as np
import pytest

from genrec.artifacts import EMBEDDINGS
from genrec.errors import ArtifactError
from tencentgr.dataset import SequenceDataset, split_rows
from tencentgr.runs import TEXT, load_run
from tests.small_shop import small_config, small_shop, write_data, write_sids


@pytest.fixture
def shop(tmp_path):
    config, prepared = small_config(tmp_path), small_shop()
    write_data(config, prepared)
    write_sids(config, prepared)
    vectors = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
    np.save(tmp_path / "embeddings" / EMBEDDINGS.format(dataset="small"), vectors)
    return prepared, tmp_path


def test_targets_and_histories_are_the_runs_own(shop):
    prepared, directory = shop
    data = load_run(directory)
    rows = split_rows(data, seed=0)
    for name in ("valid", "test"):
        wanted = prepared.examples(name)
        batch = SequenceDataset(data, rows[name], max_history=5).__getitems__(list(range(len(wanted))))
        np.testing.assert_array_equal(batch["pos"][:, -1], wanted.target + 1)
        np.testing.assert_array_equal(batch["seq"], wanted.history + 1)


def test_training_sees_training_events_only(shop):
    prepared, directory = shop
    data = load_run(directory)
    np.testing.assert_array_equal(data.counts[1:], prepared.train_count)
    rows = data.splits["train"]
    targets = SequenceDataset(data, rows, max_history=20).__getitems__(list(range(len(rows))))["pos"]
    wanted = np.sort(prepared.examples("train").target + 1)
    np.testing.assert_array_equal(np.sort(targets[targets > 0]), wanted)


def test_brand_categories_vectors_and_sids_are_features(shop):
    prepared, directory = shop
    data = load_run(directory, prefixes=True)
    assert data.schema.item_sparse == {"brand": 4} and data.schema.item_array == {"categories": 3}
    assert data.items.sparse[:, 0].tolist() == [0, *(1 + i % 4 for i in range(20))]
    assert data.items.array[1:3, 0].tolist() == [[1, 3], [1, 2]]  # Shop,Toys and Shop,Tools
    assert (
        data.items.emb[TEXT].shape == (21, data.schema.item_emb[TEXT]) == (21, 6) and not data.items.emb[TEXT][0].any()
    )
    assert data.items.semantic[1:, :2].tolist() == [[i // 5 + 1, i % 5 + 1] for i in range(20)]
    assert data.schema.semantic == (4, 5, 20)
    assert data.creative_id[1] == prepared.catalog.item_id[0]


def test_what_the_run_lacks_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="genrec prepare"):
        load_run(tmp_path)
    write_data(small_config(tmp_path), small_shop())
    with pytest.raises(ArtifactError, match="genrec embed"):
        load_run(tmp_path)
    assert load_run(tmp_path, mm_emb_id=()).schema.semantic == ()


def test_a_feature_that_no_item_has_is_left_out(tmp_path):
    prepared, config = small_shop(), small_config(tmp_path)
    nothing = np.full(20, "", dtype=object)
    bare = replace(
        prepared.catalog, brand=nothing, categories=nothing, features={"year": np.arange(20, dtype=np.int32)}
    )
    write_data(config, replace(prepared, catalog=bare))
    data = load_run(tmp_path, mm_emb_id=())
    assert data.schema.item_sparse == {"year": 19} and data.schema.item_array == {}
    assert data.items.sparse[:, 0].tolist() == [0, *range(20)] and data.items.array.shape[1] == 0
