"""Items without a readable title are called by what else is known of them."""

import polars as pl
import pytest

from genrec.data.untitled import count_names, name_item

LONG = "one two three four five six seven eight nine"


@pytest.mark.parametrize(
    ("known", "name"),
    [
        (("Its title", "Brand", "A,B", LONG, "id1"), "Its title"),
        ((None, "Brand", "A,Food, Wine,Recipes & Drinks", LONG, "id1"), "Brand, Recipes & Drinks, " + LONG[:-5]),
        ((None, "", "A,Food, Wine", "", "id1"), "Food, Wine"),
        ((None, "Brand", "", "", "id1"), "Brand"),
        ((None, "", "", "Short text.", "id1"), "Short text."),
        ((None, "--", "", "...", "id1"), "id1"),
    ],
)
def test_a_name_is_brand_category_and_description_else_the_id(known, name):
    assert name_item(*known) == name


def test_counts_are_of_kept_untitled_items():
    items = pl.DataFrame(
        {
            "item": ["a", "b", "c", "gone"],
            "title": ["T", None, None, None],
            "brand": ["B", "B", "", "B"],
            "categories": ["", "A", "", ""],
            "text": ["", "", "", ""],
        }
    )
    counts = count_names(items, pl.Series(["a", "b", "c"]))
    assert counts == {"items": 2, "brand": 1, "category": 1, "description": 0, "id alone": 1}
