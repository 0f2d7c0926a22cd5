"""What badcase_report.json says of rows that are known."""

from dataclasses import replace

import numpy as np
import pytest

from genrec.diagnosis.badcase_report import (
    count_levels,
    count_ranks,
    summarize_sid_quality,
)
from genrec.diagnosis.badcase_text import describe_report
from genrec.diagnosis.lift import diagnose_cases
from tests.diagnosis.small_cases import (
    HIT,
    KINDS,
    make_cases,
    make_many,
    report_of,
)


def test_levels_are_the_first_at_which_the_list_and_its_best_item_left_the_truth():
    all_cases = make_cases(([4, 5, 6], 7, [5, 6]), ([4, 5, 6], 7, [0, 4]), HIT)
    assert count_levels(all_cases) == {"list": [0, 1, 1, 0], "best_item": [1, 1, 0, 0]}
    level_counts = [diagnose_cases(all_cases, 0)[f"wrong_at_level_{level}"].rows.sum() for level in (1, 2, 3)]
    assert sum(level_counts) == all_cases.miss.sum() == 2


def test_the_report_has_the_keys_of_the_seed_and_names_titles_ranks_and_predictions():
    report = report_of(make_cases(KINDS["near miss"][0], HIT))
    assert {"total_samples", "bad_cases_count", "failure_rate"} <= set(report["summary"])
    assert {"collision", "semantic_gap", "code_imbalance"} <= set(report["sid_quality"])
    row = report["bad_cases_sample"][0]
    assert row["truth_title"] == "Item 7" and row["rank"] == 3 and row["predictions"] == [5, 4]
    assert row["prediction_titles"] == ["Item 5", "Item 4"] and row["causes"] == ["wrong_at_level_2", "near_miss"]
    assert report["rank_distribution"]["1"] == 1 and report["rank_distribution"]["2-3"] == 1
    assert sum(report["rank_distribution"].values()) == 2


def test_the_same_seed_shows_the_same_cases():
    all_cases = make_many(0.6, 0.4)
    assert report_of(all_cases) == report_of(replace(all_cases))


def test_ranks_are_counted_in_groups_whose_edges_are_inside():
    ranks = np.array([1, 1, 2, 3, 5, 6, 10, 11, 50, 0])
    counts = count_ranks(ranks, 50)
    assert counts == {"1": 2, "2-3": 2, "4-5": 1, "6-10": 2, "11-20": 1, "21-50": 1, "not listed": 1}


@pytest.mark.parametrize(
    ("length", "last"), [(20, ("11-20", 3)), (15, ("11-15", 3)), (10, ("6-10", 1)), (6, ("6", 1)), (1, ("1", 2))]
)
def test_no_group_of_ranks_goes_beyond_the_lists(length, last):
    ranks = np.array([1, 1, 6, 11, 12, 13, 0])
    counts = count_ranks(ranks[ranks <= length], length)
    assert list(counts.items())[-2] == last and list(counts)[-1] == "not listed"
    assert sum(counts.values()) == (ranks <= length).sum()


def test_a_slice_of_few_rows_shows_its_count_and_nothing_is_claimed():
    text = describe_report(report_of(make_cases(KINDS["near miss"][0], HIT)))
    assert "category: under $5 & $_{x     2                             -" in text
    assert "-: fewer than 30 rows, nothing is claimed of them" in text
    assert "\nfewer than 30 rows " in text  # the finding of every condition


def test_rows_of_one_user_have_no_interval():
    cases = make_cases(KINDS["near miss"][0], HIT)
    one = replace(cases, examples=replace(cases.examples, user=np.zeros(2, dtype=np.int32)))
    report = report_of(one)
    assert report["summary"]["interval"] == [None, None]
    assert "failure rate 50.0% - (no interval: all rows are of one user)" in " ".join(describe_report(report).split())


def test_a_run_without_sids_has_no_quality():
    assert summarize_sid_quality(None) == {"not_measured": "no quality.json of semantic IDs"}
