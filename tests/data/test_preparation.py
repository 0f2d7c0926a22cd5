"""The report of the data stage, counted by hand."""

import numpy as np

from genrec.data.preparation import (
    count_split,
    describe_lengths,
    describe_preparation,
    share,
    summarize_preparation,
    tell_of_titles,
    warn_of_window,
)
from genrec.data.repeats import mark_repeats
from tests.data.test_weights import two_users
from tests.toy_store import make_toy_store


def test_histories_and_repeats_by_hand():
    shop = two_users()  # items 0 0 1 | 0 2
    train = shop.splits["train"]  # targets 0 and 1 of the first user, 2 of the second
    counts = count_split(shop.sequences, train, mark_repeats(shop.sequences), 10)
    assert describe_lengths(counts.lengths) == {"min": 1, "mean": 1.33, "median": 1.0, "max": 2}
    assert share(counts.repeating_last, counts) == share(counts.in_past, counts) == 0.3333  # 0 after 0
    assert count_split(shop.sequences, train, mark_repeats(shop.sequences), 1).lengths.tolist() == [0, 3]


def test_lengths_by_their_counts_are_those_of_all_rows():
    random = np.random.default_rng(0)
    for rows in (1, 2, 5, 40):
        lengths = random.integers(1, 9, rows)
        said = describe_lengths(np.bincount(lengths, minlength=12))
        assert said["median"] == np.median(lengths) and said["mean"] == round(float(lengths.mean()), 2)
        assert (said["min"], said["max"]) == (lengths.min(), lengths.max())


def test_counts_are_those_of_what_was_made():
    shop = two_users()
    train = shop.splits["train"]
    splits = {"train": train} | dict.fromkeys(("valid", "test"), train.take(np.array([2])))
    report = describe_preparation(shop.catalog, shop.sequences, splits, 10)
    assert (report["users"], report["items"], report["events"]) == (2, 3, 5)
    assert report["rows"] == {"train": 3, "valid": 1, "test": 1}
    assert report["items_without_text"] == 1  # of every third


def test_the_screen_says_what_each_file_lost(tmp_path):
    report = make_toy_store(tmp_path, num_users=40, num_items=30, user_k=2, item_k=2).report
    assert report["target_in_past"].keys() == {"train", "valid", "test"}
    lines = summarize_preparation(report)
    assert lines[0].startswith("events: ") and lines[0].endswith("kept") and lines[1].startswith("items: ")
    assert f"{report['users']:,} users, {report['items']:,} items" in lines[2]
    assert f"{report['rows']['test']:,} test rows" in lines[3]


def test_a_window_that_takes_more_than_a_tenth_is_a_warning_with_both_counts(tmp_path):
    window = dict(st_year=2015, st_month=1, ed_year=2017, ed_month=1)
    made = make_toy_store(tmp_path, num_users=40, num_items=30, user_k=1, item_k=1, **window).report
    cut, lost = made["window_cut"], made["read"]["events"]["dropped"]["outside the window 2015-01..2017-01"]
    assert cut["outside"] == lost > cut["events"] / 10
    warning = [line for line in summarize_preparation(made) if line.startswith("warning")]
    assert len(warning) == 1 and f"2015-01..2017-01 leaves out {lost:,} of {cut['events']:,} events" in warning[0]


def test_a_window_that_takes_a_tenth_or_nothing_is_no_warning():
    report = {"window": ["2015-01", "2018-01"], "window_cut": {"outside": 10, "events": 100, "span": "a to b"}}
    assert warn_of_window(report) == [] == warn_of_window({"window": None})
    report["window_cut"]["outside"] = 11
    assert "11 of 100 events" in warn_of_window(report)[0]


def test_lost_titles_and_names_in_their_place_are_said():
    events = {"read": 100, "dropped": {"of items without a usable title": 11}}
    assert "11 of 100 events" in tell_of_titles({"read": {"events": events}})[0]
    names = {"items": 12, "brand": 11, "category": 0, "description": 3, "id alone": 1}
    line = tell_of_titles({"read": {"events": {"read": 100, "dropped": {}}}, "untitled": names})[0]
    assert line == "12 items without a usable title are called by brand (11), description (3), id alone (1)"
