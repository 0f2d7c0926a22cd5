"""What two ways to compute one model's lists differ by, by hand."""

import numpy as np

from genrec.data.sequences import Examples
from genrec.evaluation.metrics import ListSettings, Recommendations
from genrec.evaluation.report import ScoredRows
from genrec.models.losses import ROUNDS, Scored, compare_lists, measure_overlap, time_in_turn


def lists(*items):
    item = np.array(items, dtype=np.int32)
    return Recommendations(item, -np.arange(item.shape[1], dtype=np.float32) * np.ones((len(item), 1), np.float32))


def test_the_overlap_is_of_what_is_listed():
    assert measure_overlap(lists([0, 1, 2], [3, 4, -1]), lists([2, 0, 9], [4, 3, 5])) == (2 / 3 + 1) / 2
    assert measure_overlap(lists([-1, -1]), lists([0, 1])) == 1


def test_ndcg_that_is_lost_is_counted_by_row():
    user, target = np.arange(8, dtype=np.int32), np.zeros(8, dtype=np.int32)
    examples = Examples(user, np.zeros((8, 1), np.int32), target)
    rows = ScoredRows("abc", "valid", 8, 8, 8, 4)
    scored = Scored(rows, examples, np.ones(4, np.int64), np.arange(4), ListSettings(3))
    best, second = lists(*[[0, 1, 2]] * 8), lists(*[[1, 0, 2]] * 8)
    found = compare_lists(scored, best, second, seed=0)
    assert found.metric == "ndcg@3" and found.baseline == 1
    assert np.isclose(found.difference.mean, 1 / np.log2(3) - 1)
    assert compare_lists(scored, best, best, seed=0).difference.mean == 0


def test_sides_are_timed_in_turn():
    asked = []

    class Side:
        def __init__(self, name):
            self.name = name

        def recommend(self, examples, k):
            asked.append((self.name, len(examples)))

    rows = Examples(np.zeros(100, np.int32), np.zeros((100, 1), np.int32), np.zeros(100, np.int32))
    seconds = time_in_turn({"a": Side("a"), "b": Side("b")}, rows)
    assert asked == [("a", 64), ("b", 64)] * (ROUNDS + 1) and all(value >= 0 for value in seconds.values())
