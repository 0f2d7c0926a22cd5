"""What lists gain without seen items, by hand."""

import numpy as np
import pytest

from genrec.diagnosis.seen_items import gain_at, measure_seen_items
from tests.diagnosis.small_cases import make_cases

# Cut-off 2: the truth rises from rank 3 to 2, stays at 1, is a repeat that would be struck, and is not listed.
ROWS = (([4, 5, 6], 7, [5, 0, 7]), ([4, 5, 6], 7, [7, 5]), ([7, 5, 6], 7, [7, 1]), ([4, 5, 6], 9, [4, 5]))


def test_what_stands_below_a_seen_item_moves_up_and_repeats_are_lost():
    seen = measure_seen_items(make_cases(*ROWS), False, seed=0)
    second = 1 / np.log2(3)
    assert seen["gain"]["mean"] == pytest.approx((second + 0 - 1 + 0) / 4, abs=1e-6)
    assert seen["gain"]["low"] <= seen["gain"]["mean"] <= seen["gain"]["high"]
    assert seen["listed"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 2 + 1) / 4) and seen["repeats"] == 0.25


def test_lists_without_seen_items_gain_nothing_more():
    seen = measure_seen_items(make_cases(([4, 5, 6], 7, [0, 7]), ([4, 5, 6], 7, [7, 1])), True, seed=0)
    assert seen["gain"] == {"mean": 0.0, "low": 0.0, "high": 0.0} and seen["filtered"] and seen["listed"] == 0


def test_ndcg_of_ranks():
    assert gain_at(np.array([0, 1, 2, 3]), 2).tolist() == pytest.approx([0, 1, 1 / np.log2(3), 0])
