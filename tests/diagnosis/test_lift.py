"""A cause is told from a big group."""

import numpy as np
import pytest

from genrec.diagnosis.lift import compare_rates
from genrec.evaluation.report import estimate_means
from tests.diagnosis.small_cases import make_many, report_of


def test_lift_by_hand():
    """8 misses of which 6 have the cause, 4 hits of which 1 has it: 0.75 / 0.25 = 3, excess 0.5."""
    found = np.array([1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0], dtype=bool)[:, None]
    miss = np.arange(12) < 8
    misses, hits, lift, excess = compare_rates(np.arange(12), found, miss, seed=0)[0]
    assert (misses.mean, hits.mean, lift.mean, excess.mean) == (0.75, 0.25, 3.0, 0.5)
    assert misses.low < 0.75 < misses.high and lift.low < 3 < lift.high


def test_intervals_of_a_share_are_those_of_the_evaluation():
    random = np.random.default_rng(0)
    user, found = random.integers(0, 40, 200), random.random(200) < 0.3
    misses = compare_rates(user, found[:, None], np.ones(200, bool), seed=3)[0][0]
    known = estimate_means(user, {"x": found.astype(float)}, seed=3)["x"]
    assert misses.mean == pytest.approx(known.mean)
    assert (misses.low, misses.high) == pytest.approx((known.low, known.high), abs=0.01)


def test_a_big_group_is_not_a_cause_and_a_true_cause_is():
    big = report_of(make_many(0.5, 0.5))["failure_patterns"]["long_tail"]
    assert big["share"]["mean"] > 0.4 and big["finding"] == "no difference shown"
    assert big["excess"]["low"] < 0 < big["excess"]["high"]
    true = report_of(make_many(0.8, 0.3))["failure_patterns"]["long_tail"]
    assert true["finding"] == "more often among misses" and true["lift"]["low"] > 1
    spared = report_of(make_many(0.2, 0.7))["failure_patterns"]["long_tail"]
    assert spared["finding"] == "less often among misses"


def test_intervals_are_by_user():
    """Ten equal rows a user tell no more than one: the interval is about sqrt(10) as wide as over rows."""
    random = np.random.default_rng(0)
    taste, failed = random.random(60) < 0.5, random.random(60) < 0.5
    found, miss = np.repeat(taste, 10)[:, None], np.repeat(failed, 10)
    by_user = compare_rates(np.repeat(np.arange(60), 10), found, miss, 0)[0][3]
    by_row = compare_rates(np.arange(600), found, miss, 0)[0][3]
    assert by_user.high - by_user.low > 2.5 * (by_row.high - by_row.low)
