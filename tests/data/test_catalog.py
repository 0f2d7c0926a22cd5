"""The catalogue on disk, and the level of a category path that tells items apart."""

import numpy as np
import pytest

from genrec.data.catalog import TEXTS, Catalog, load_catalog, pick_categories, save_catalog
from genrec.errors import ArtifactError
from tests.small_shop import small_catalog


def test_a_catalogue_comes_back_with_its_features(tmp_path):
    catalog = small_catalog(5)
    written = Catalog(*(getattr(catalog, name) for name in TEXTS), features={"102": np.array([0, 3, 1, 0, 2])})
    save_catalog(written, tmp_path / "c.parquet")
    read = load_catalog(tmp_path / "c.parquet")
    assert all((getattr(read, name) == getattr(written, name)).all() for name in TEXTS) and len(read) == 5
    assert read.features["102"].tolist() == [0, 3, 1, 0, 2] and read.features["102"].dtype == np.int32


def test_a_torn_file_is_one_clear_line(tmp_path):
    save_catalog(small_catalog(5), tmp_path / "c.parquet")
    whole = (tmp_path / "c.parquet").read_bytes()
    (tmp_path / "c.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="c.parquet cannot be read"):
        load_catalog(tmp_path / "c.parquet")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["Shop,Tools", "Shop,Toys", "Shop,Tools"], ["Tools", "Toys", "Tools"]),  # the first level is everybody's
        (["A,x", "B,x", "A,y"], ["A", "B", "A"]),
        (["Shop, Tools ", "Shop", "Shop,Toys"], ["Tools", "", "Toys"]),
        (["Shop", "Shop", "Shop"], ["", "", ""]),
        (["", "", ""], ["", "", ""]),
    ],
)
def test_categories_are_taken_where_none_covers_nine_tenths(paths, names):
    assert pick_categories(np.array(paths, dtype=object)).tolist() == names
