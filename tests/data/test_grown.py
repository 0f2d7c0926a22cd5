"""A catalogue that has grown: old items stay where they are, new ones stand behind them."""

import numpy as np
import pytest

from genrec.artifacts import ALLOWED, ITEM_JSON, SID_INDEX
from genrec.data.grown import join_new_items, load_grown
from genrec.data.item_json import write_item_json
from genrec.errors import ArtifactError
from genrec.sids import make_index, save_index
from tests.small_shop import small_catalog, small_shop

CODES = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


@pytest.fixture
def grown_dir(tmp_path):
    """Three trained items and one that is new; item 1 is retired."""
    save_index(make_index(CODES, (2, 2)), tmp_path / SID_INDEX)
    write_item_json(small_catalog(4), tmp_path / ITEM_JSON.format(dataset="small"))
    np.save(tmp_path / ALLOWED, np.array([True, False, True, True]))
    return tmp_path


def test_old_items_keep_their_numbers_and_texts(grown_dir):
    trained = make_index(CODES[:3], (2, 2))
    grown = load_grown(grown_dir, "small", trained)
    data = small_shop(num_users=5, num_items=3)
    joined = join_new_items(data, grown.catalog)
    assert len(joined.catalog) == 4 and joined.catalog.item_id[:3].tolist() == data.catalog.item_id.tolist()
    assert joined.catalog.title[3] == small_catalog(4).title[3] and joined.sequences is data.sequences
    assert joined.train_count.tolist() == [*data.train_count.tolist(), 0]
    assert grown.allowed.tolist() == [True, False, True, True]


def test_one_that_grew_from_other_sids_is_refused(grown_dir):
    with pytest.raises(ArtifactError, match="did not grow from the semantic IDs in use"):
        load_grown(grown_dir, "small", make_index(CODES[[1, 0, 2]], (2, 2)))
