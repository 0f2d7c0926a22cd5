"""Population stability against values worked by hand and against chance."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from genrec.data.drift import describe_drift, drift_to_json, fold_rare, group_items, measure_drift, measure_stability
from genrec.data.joining import join_events
from tests.data.later_events import LATER, later_shop, make_events, make_items, read_later, rules


def test_psi_is_the_symmetric_divergence_of_the_shares():
    found = measure_stability(np.array([49.5, 49.5]), np.array([74.5, 24.5]))  # with half an event each: 50 50, 75 25
    assert found.psi == pytest.approx(0.25 * math.log(0.75 / 0.5) - 0.25 * math.log(0.25 / 0.5))
    assert found.verdict == "much drift"
    other = measure_stability(np.array([74.5, 24.5]), np.array([49.5, 49.5]))
    assert other.psi == pytest.approx(found.psi)
    assert measure_stability(np.array([50, 50]), np.array([50, 50])).psi == 0


def test_one_population_exceeds_what_chance_allows_once_in_twenty_times():
    random, share = np.random.default_rng(0), np.full(10, 0.1)
    found = [measure_stability(random.multinomial(3000, share), random.multinomial(1000, share)) for _ in range(1000)]
    assert np.mean([each.psi > each.by_chance for each in found]) == pytest.approx(0.05, abs=0.02)


def test_an_empty_bin_is_finite_and_few_events_are_no_drift():
    assert math.isfinite(measure_stability(np.array([100, 0]), np.array([0, 100])).psi)
    few = measure_stability(np.array([500, 500]), np.array([1, 3]))
    assert few.psi > 0.1 and few.verdict == "stable"


def test_items_are_grouped_by_how_often_they_were_taken_and_rare_categories_are_one():
    count = np.array([1, 400, 200, 200, 100, 99])
    group = group_items(count)
    assert group[1] < group[2] <= group[3] < group[4] < group[5] <= group[0] == 19
    names = np.array(["a"] * 60 + ["b"] * 40 + ["c"])
    assert fold_rare(names, np.arange(101) < 100).tolist() == [0] * 60 + [1] * 40 + [-1]


def test_a_shop_that_goes_on_differs_in_what_was_changed():
    old, later = later_shop()
    drift = measure_drift(join_events(old, later, rules(), Path("run")))
    assert drift.new_items == 2 and drift.new_users == 2 and drift.events == 62 * 6
    assert drift.events_of_new_users == pytest.approx(2 / 62) and 0.05 < drift.events_of_new_items < 0.15
    assert drift.of["categories"].verdict == "stable" and drift.of["history lengths"].verdict == "much drift"
    text = describe_drift(drift)
    assert "372 new events" in text and "on 2 new items" in text and json.dumps(drift_to_json(drift))
    alone = measure_drift(join_events(old, one_item_alone(old), rules(), Path("run")))
    assert alone.of["items"].verdict == "much drift" and alone.of["items"].psi > drift.of["items"].psi


def one_item_alone(old):
    """Every user takes the same item over and over."""
    rows = [(str(user), "B000", LATER + 100 * step) for user in old.sequences.user_id for step in range(6)]
    return read_later(make_events(*rows), make_items("B000"))
