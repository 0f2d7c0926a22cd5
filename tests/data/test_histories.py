"""Histories from lists, numbers and frames; the questions that are cut from them."""

import numpy as np
import polars as pl
import pytest

from genrec.data.frames import is_frame
from genrec.data.histories import exclude, make_ids, read_frame, read_lists, read_numbers
from genrec.errors import ConfigError

IDS = make_ids("item", np.array(["a", "b", "c", "3"], dtype=object), "shop")


def test_lists_are_cut_to_their_latest_items():
    rows = read_lists([["a", "b", "c"], [], ["c"]], IDS, ["x", "y", "z"], skip=False)
    assert rows.name.tolist() == ["x", "y", "z"] and rows.offset.tolist() == [0, 3, 3, 4]
    assert rows.examples(2, None).history.tolist() == [[1, 2], [-1, -1], [-1, 2]]
    assert rows.examples(None, None).history.tolist() == [[0, 1, 2], [-1, -1, -1], [-1, -1, 2]]
    assert rows.select(np.array([2, 0])).examples(9, None).history.tolist() == [[-1, -1, 2], [0, 1, 2]]
    assert rows.take(1, 3).item.tolist() == [2] and rows.take(1, 3).offset.tolist() == [0, 0, 1]


def test_a_string_of_digits_is_an_id_and_a_number_is_refused():
    assert read_lists([["3"]], IDS, None, skip=False).item.tolist() == [3]
    with pytest.raises(ConfigError, match="found 3 .int.; write '3'"):
        read_lists([[3]], IDS, None, skip=False)
    assert read_numbers([[2, 0]], 4, None).item.tolist() == [2, 0]
    for wrong in (4, -1, True, "a", 1.0):
        with pytest.raises(ConfigError, match="an item is a number 0..3"):
            read_numbers([[wrong]], 4, None)


def test_frames_are_grouped_in_order_and_sorted_by_time():
    frame = pl.DataFrame({"user": ["q", "p", "q", "q"], "item": ["a", "b", "c", "b"], "time": [5, 1, 2, 5]})
    rows = read_frame(frame, IDS, skip=False)
    assert rows.name.tolist() == ["q", "p"] and rows.item.tolist() == [2, 0, 1, 1] and rows.offset.tolist() == [0, 3, 4]
    dates = frame.with_columns(time=pl.Series(["2024-7-10", "2023-01-01", "2024-7-9", "2024-7-10"]))
    assert read_frame(dates, IDS, skip=False).item.tolist() == rows.item.tolist()
    numbered = read_frame(pl.DataFrame({"user": [1], "item": [3]}), IDS, skip=False)
    assert numbered.item.tolist() == [3] and numbered.name.tolist() == ["1"]
    assert not is_frame([["a"]]) and not is_frame({"user": []})


def test_unknown_ids_are_named_with_the_nearest_or_left_out():
    with pytest.raises(ConfigError, match="no item 'd', 'e', 'f' and 1 more among the 4 .*; its ids are such as 'a'"):
        read_lists([["a", "d", "e", "f", "g"]], IDS, None, skip=False)
    with pytest.raises(ConfigError, match="no item 'bb1' among the 2 items of shop; nearest to 'bb1': 'bb'"):
        read_lists([["bb1"]], make_ids("item", np.array(["x", "bb"], dtype=object), "shop"), None, skip=False)
    rows = read_lists([["d", "a"], ["e"], ["b", "d"]], IDS, None, skip=True)
    assert rows.item.tolist() == [0, 1] and rows.offset.tolist() == [0, 1, 1, 2]


def test_of_an_id_that_stands_twice_the_first_is_meant():
    ids = make_ids("item", np.array(["a", "b", "a"], dtype=object), "shop")
    assert ids.find(pl.Series(["a", "b", "x"])).tolist() == [0, 1, -1]


def test_excluded_items_come_as_evaluation_has_them():
    past = exclude([np.array([3, 1, 3]), np.array([], dtype=np.int32), np.array([0])])
    assert past.items().tolist() == [[1, 3], [-1, -1], [0, -1]]
    assert past.take(np.array([2, 1])).items().tolist() == [[0], [-1]]
