"""The catalogue on disk, and the level of a category path that tells items apart."""

import numpy as np
import polars as pl
import pytest

from genrec.data.catalog import TEXTS, Catalog, load_catalog, pick_categories, read_catalog_slices, save_catalog
from genrec.errors import ArtifactError
from tests.small_shop import small_catalog


def test_a_catalogue_comes_back_with_its_features(tmp_path):
    catalog = small_catalog(5)
    written = Catalog(*(getattr(catalog, name) for name in TEXTS), features={"102": np.array([0, 3, 1, 0, 2])})
    save_catalog(written, tmp_path / "c.parquet")
    read = load_catalog(tmp_path / "c.parquet")
    assert all((getattr(read, name) == getattr(written, name)).all() for name in TEXTS) and len(read) == 5
    assert read.features["102"].tolist() == [0, 3, 1, 0, 2] and read.features["102"].dtype == np.int32


def test_slices_in_order_are_the_catalogue(tmp_path):
    (tmp_path / "[a]*").mkdir()  # a name is no pattern
    path = tmp_path / "[a]*" / "c.parquet"
    save_catalog(small_catalog(5), path)
    for size, lengths in ((2, [2, 2, 1]), (5, [5]), (9, [5])):
        slices = list(read_catalog_slices(path, size))
        assert [len(each) for each in slices] == lengths
        assert all(
            np.concatenate([getattr(each, name) for each in slices]).tolist()
            == getattr(small_catalog(5), name).tolist()
            for name in TEXTS
        )


def test_a_torn_file_is_one_clear_line(tmp_path):
    save_catalog(small_catalog(5), tmp_path / "c.parquet")
    whole = (tmp_path / "c.parquet").read_bytes()
    (tmp_path / "torn.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="torn.parquet cannot be read"):
        next(read_catalog_slices(tmp_path / "torn.parquet"))
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


def test_a_name_is_no_pattern(tmp_path):
    for folder, size in (("run a", 3), ("run [ab]", 5), ("run *", 4), ("run ?", 2)):
        (tmp_path / folder).mkdir()
        save_catalog(small_catalog(size), tmp_path / folder / "c.parquet")
    assert len(load_catalog(tmp_path / "run [ab]" / "c.parquet")) == 5
    assert len(load_catalog(tmp_path / "run *" / "c.parquet")) == 4
    assert len(load_catalog(tmp_path / "run ?" / "c.parquet")) == 2


@pytest.mark.parametrize(
    ("changed", "name"),
    [({"title": [1] * 5}, "title"), ({"brand": [["x"]] * 5}, "brand")],
)
def test_columns_of_another_kind_are_one_clear_line(tmp_path, changed, name):
    columns = {column: ["x"] * 5 for column in TEXTS} | changed
    pl.DataFrame(columns).write_parquet(tmp_path / "c.parquet")
    with pytest.raises(ArtifactError, match=f"c.parquet has no column '{name}' of texts"):
        load_catalog(tmp_path / "c.parquet")
    pl.DataFrame(columns).drop(name).write_parquet(tmp_path / "c.parquet")
    with pytest.raises(ArtifactError, match=f"c.parquet has no column '{name}' of texts"):
        load_catalog(tmp_path / "c.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"hello", b"\xff" * 100])
def test_what_is_no_parquet_is_one_clear_line(tmp_path, content):
    (tmp_path / "c.parquet").write_bytes(content)
    with pytest.raises(ArtifactError, match="c.parquet cannot be read") as failure:
        load_catalog(tmp_path / "c.parquet")
    assert "\n" not in str(failure.value)
