"""Ids and titles -> items; the nearest of what is neither; search by a part of a title."""

import numpy as np
import pytest

from genrec.serving.words import UnknownWord, make_words


@pytest.fixture
def words():
    ids = np.array(["1", "2", "3", "4"], dtype=object)
    titles = np.array(["Alien (1979)", "Star Wars (1977)", "1", "Alien (1979)"], dtype=object)
    return make_words(ids, titles, np.array([5, 9, 1, 7]))


def test_an_id_goes_before_a_title_and_of_equal_titles_the_popular_one_is_meant(words):
    assert words.read(["1", "Alien (1979)", "Star Wars (1977)"]).tolist() == [0, 3, 1]


def test_what_is_neither_is_named_with_the_nearest(words):
    with pytest.raises(UnknownWord) as unknown:
        words.read(["2", "alien (1979)"])
    assert words.describe_unknown(unknown.value.args[0]).endswith(
        "among the 4 of the catalogue; nearest: 'Alien (1979)'"
    )
    assert "nearest: 'Star Wars (1977)'" in words.describe_unknown("star wars")
    assert len(words.describe_unknown("x" * 5000)) < 400


def test_titles_are_found_by_a_part_the_popular_first_and_else_the_nearest(words):
    assert words.search("ALIEN", 10) == [3, 0] and words.search("alien", 1) == [3]
    assert words.search("1", 3) == [0, 1, 3], "the id, then titles that hold it"
    assert words.search("Sttar Wars", 5) == [1]
