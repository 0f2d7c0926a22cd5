"""The report of the data stage, counted by hand."""

import numpy as np

from genrec.data.preparation import describe_preparation, measure_histories, share_repeating_last, summarize_preparation
from tests.data.test_weights import two_users
from tests.toy_store import make_toy_store


def test_histories_and_repeats_by_hand():
    shop = two_users()  # items 0 0 1 | 0 2
    train = shop.splits["train"]  # targets 0 and 1 of the first user, 2 of the second
    assert measure_histories(shop.sequences, train, 10) == {"min": 1, "mean": 1.33, "median": 1.0, "max": 2}
    assert measure_histories(shop.sequences, train, 1)["max"] == 1
    assert share_repeating_last(shop.sequences, train) == 0.3333  # 0 after 0


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
