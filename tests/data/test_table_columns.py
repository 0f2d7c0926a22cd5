"""Which column is what: as it is named, else as people call it."""

from typing import get_args

import pytest

from genrec.config import ColumnRole
from genrec.data.table_columns import GUESSES, WANTED, Columns, assign_columns
from genrec.data.table_files import Table
from genrec.errors import ConfigError


def assign(columns: str, role: str = "events", **given) -> Columns:
    return assign_columns(Table("t.csv", tuple(columns.split(",")), lambda columns, ledger: None), role, given)


def test_every_role_of_the_schema_can_be_guessed():
    assert set(GUESSES) == set(get_args(ColumnRole)) == {role for roles in WANTED.values() for role in roles}


@pytest.mark.parametrize(
    "columns", ["user_id,item_id,timestamp", "UserID,movieId,time", "reviewerID,asin,unixReviewTime"]
)
def test_usual_names_are_guessed_in_any_spelling(columns):
    user, item, time = columns.split(",")
    assert assign(columns).of == {"user": (user,), "item": (item,), "time": (time,)}


def test_a_given_name_goes_before_a_guess_and_is_not_taken_twice():
    columns = assign("user_id,item_id,time,when", time="when", user="item_id", item="user_id")
    assert columns.of == {"user": ("item_id",), "item": ("user_id",), "time": ("when",)}
    assert assign("item_id,name,title", "items", text=["title"]).of["title"] == ("name",)


def test_the_items_may_call_the_item_otherwise_than_the_events():
    assert assign("user_id,sku,time", item="sku").of["item"] == ("sku",)
    assert assign("item_id,title", "items", item="sku").of["item"] == ("item_id",)


def test_an_item_of_two_names_that_are_not_guessed_is_named_by_both():
    both = ["Artikel", "Artikelnr"]
    assert assign("user,Artikel,time", item=both).of["item"] == ("Artikel",)
    assert assign("Artikelnr,title", "items", item=both).of["item"] == ("Artikelnr",)
    with pytest.raises(ConfigError, match=r"'Artikelnr' comes nearest; .*columns.item '\[Artikel, Artikelnr\]'$"):
        assign("Artikelnr,Bezeichnung", "items", item="Artikel")


def test_a_column_whose_name_says_nothing_is_not_suggested():
    with pytest.raises(ConfigError, match=r"'item', 'time'; name it: --data.columns.user COLUMN"):
        assign("Kundennummer,Menge,item,time")


def test_what_is_missing_is_said_with_both_names_and_the_nearest():
    with pytest.raises(ConfigError, match=r"no column .* user of events .* 'who', .* 'who' comes nearest.*\.user who"):
        assign("who,item_id,time")
    with pytest.raises(ConfigError, match=r"data.columns.user 'whom' is no column of t.csv; did you mean 'who'"):
        assign("who,item_id,time", user="whom")


def test_all_other_columns_are_left_but_an_index_that_was_saved():
    assert assign(",item_id,title,price,Unnamed: 0", "items").others == ("price",)
