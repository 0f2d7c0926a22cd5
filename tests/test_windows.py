"""A collection's own window holds where none is given, and one preset's window does not cut another collection."""

import pytest

from genrec.errors import ConfigError
from genrec.windows import CATEGORIES, Collection
from tests import parse_flags


def window(*flags):
    data = parse_flags(list(flags)).config.data
    return data.st_year, data.st_month, data.ed_year, data.ed_month


NONE = (None, None, None, None)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", (1996, 10, 2018, 10)),  # the reference preset's own
        ("--data.dataset Office_Products", (1996, 10, 2018, 10)),
        ("--config 0.5b --config datasets/toys_and_games", (1996, 10, 2018, 10)),
        ("--config industrial_small", (1996, 10, 2018, 10)),  # names its export's files
        ("--data.source amazon23", (1996, 5, 2023, 10)),
        ("--data.source amazon23 --data.st_year 2016", (2016, 5, 2023, 10)),
        ("--data.st_year 2013", (2013, 10, 2018, 10)),
        ("--data.dataset Industrial_and_Scientific_full_2013", (1996, 10, 2018, 10)),
        ("--config quickstart", NONE),
        ("--data.dataset myshop", NONE),
        ("--config quickstart --data.source amazon18 --data.dataset myshop", NONE),
        ("--config tiny", (2015, 1, 2018, 1)),
        ("--config tiny --data.source table --data.events e.csv", NONE),
        ("--data.source table --data.events e.csv", NONE),
        ("--config tiny --data.source amazon18 --data.dataset Magazine_Subscriptions", (1996, 10, 2018, 10)),
        ("--data.dataset myshop --data.st_year 2015 --data.st_month 1", (2015, 1, None, None)),
    ],
)
def test_the_window_is_the_collections_own(flags, expected):
    assert window(*flags.split()) == expected


def test_a_file_that_gives_a_window_alone_means_what_it_is_laid_on(tmp_path):
    path = tmp_path / "window.yaml"
    path.write_text("data: {st_year: 2013, st_month: 2, ed_year: 2017, ed_month: 3}\n")
    for source in ("amazon18", "amazon23", "movielens"):
        assert window("--config", "0.5b", "--config", str(path), "--data.source", source) == (2013, 2, 2017, 3)


def test_where_a_window_came_from_is_shown_and_a_foreign_one_is_nobodys():
    assert parse_flags([]).origins["data.ed_month"] == "0.5b.yaml"
    assert "data.ed_month" not in parse_flags(["--data.source", "amazon23"]).origins


@pytest.mark.parametrize("flag", ["st_year", "ed_month"])
def test_half_a_month_is_one_clear_line(flag):
    with pytest.raises(ConfigError, match=f"data.{flag} .* is given without data.{flag[:2]}_.*myshop has no window"):
        window("--data.dataset", "myshop", f"--data.{flag}", "2012" if "year" in flag else "7")


def test_a_name_is_of_the_longest_category_that_it_begins_with():
    assert Collection("amazon18", "Toys_and_Games").category == "Toys_and_Games"
    assert Collection("amazon18", "Toys_and_Games_small").category == "Toys_and_Games"
    assert Collection("amazon18", "Toys_and_Gamesmall").category == ""
    assert Collection("amazon23", "Beauty_and_Personal_Care").category == "Beauty_and_Personal_Care"
    assert len(set(CATEGORIES)) == len(CATEGORIES)
