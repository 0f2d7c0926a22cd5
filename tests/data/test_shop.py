"""The shop of a model directory comes back as it was, and a foreign file is named."""

import numpy as np
import polars as pl
import pytest

from genrec.data.profile import make_profile
from genrec.data.shop import load_shop, make_shop, save_shop
from genrec.errors import ArtifactError
from tests.small_shop import small_shop


def test_it_comes_back_and_says_of_strangers_what_the_run_says(tmp_path):
    data = small_shop()
    save_shop(make_shop(data, ["taste", "companions"]), tmp_path)
    shop = load_shop(tmp_path)
    assert shop.catalog.title.tolist() == data.catalog.title.tolist() and (shop.train_count == data.train_count).all()
    own, run = shop.profile(["taste", "companions"]), make_profile(data, ["taste", "companions"])
    history = np.array([-1, 3, 4, 5])
    assert own.favourites(history) == run.favourites(history)
    assert own.companions(history, -1) == run.companions(history, -1) != []
    assert shop.profile([]) is None
    (tmp_path / "plain").mkdir()
    save_shop(make_shop(data, []), tmp_path / "plain")
    with pytest.raises(ArtifactError, match="companions.npz is not there"):
        load_shop(tmp_path / "plain").profile(["companions"])


@pytest.mark.parametrize(
    "frame, words",
    [
        (pl.DataFrame({"item_id": ["a"]}), "must have a column 'title' of String"),
        (pl.DataFrame({"item_id": [1], "title": ["a"]}), "'item_id' of String without gaps; it has item_id Int64"),
    ],
)
def test_another_table_is_named(tmp_path, frame, words):
    frame.write_parquet(tmp_path / "items.parquet")
    with pytest.raises(ArtifactError, match=words):
        load_shop(tmp_path)


def test_companions_of_another_shop_are_named(tmp_path):
    save_shop(make_shop(small_shop(num_items=12), ["companions"]), tmp_path)
    companions = (tmp_path / "companions.npz").read_bytes()
    save_shop(make_shop(small_shop(), ["companions"]), tmp_path)
    (tmp_path / "companions.npz").write_bytes(companions)
    with pytest.raises(ArtifactError, match="is of 12 items, items.parquet of 20"):
        load_shop(tmp_path)
