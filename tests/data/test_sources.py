"""Every source of the configuration has a reader, and says which files it would read."""

import pytest

from genrec.config import SOURCE_NAMES, Data
from genrec.data.sources import SOURCES


def test_every_source_of_the_config_has_a_reader():
    assert set(SOURCES) == set(SOURCE_NAMES)


@pytest.mark.parametrize("source", SOURCES)
def test_where_nothing_lies_there_is_no_raw_file(source, tmp_path):
    dataset = "ml-100k" if source == "movielens" else "shop"
    assert SOURCES[source].raw_files(Data(source=source, dataset=dataset, raw_dir=tmp_path), 0) == {}


def test_the_toy_store_is_another_shop_for_another_seed(tmp_path):
    data = Data(source="toy", dataset="toy", raw_dir=tmp_path, user_k=2, item_k=2)
    one, other = (SOURCES["toy"].prepare(data, seed) for seed in (1, 2))
    assert len(one.sequences.item) != len(other.sequences.item) or (one.sequences.item != other.sequences.item).any()
    files = [SOURCES["toy"].raw_files(data, seed) for seed in (1, 2)]
    assert all(set(each) == {"reviews", "items"} for each in files) and files[0] != files[1]
