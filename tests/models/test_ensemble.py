"""Two lists mixed, against the definition."""

import numpy as np
import pytest

from genrec.evaluation.metrics import Recommendations, check_recommendations
from genrec.models.ensemble import Ensemble, mix_lists


def listed(items, probabilities):
    return Recommendations(np.array([items], dtype=np.int32), np.log(np.array([probabilities], dtype=np.float32)) + 7)


FIRST, SECOND = listed([4, 1, 2], [0.6, 0.3, 0.1]), listed([1, 3, 4], [0.5, 0.3, 0.2])


def test_by_hand():
    """4: .25 x .6 + .75 x .2; 1: .25 x .3 + .75 x .5; 3: .75 x .3; 2: .25 x .1."""
    found = mix_lists(FIRST, SECOND, 0.25)
    assert found.item.tolist() == [[1, 4, 3]]
    assert found.score[0].tolist() == pytest.approx([0.45, 0.3, 0.225], rel=1e-5)


@pytest.mark.parametrize(("weight", "same"), [(1.0, FIRST), (0.0, SECOND)])
def test_all_weight_on_one_is_that_one(weight, same):
    assert mix_lists(FIRST, SECOND, weight).item.tolist()[0] == same.item.tolist()[0]


def test_short_lists_and_ties_by_item_number():
    short = Recommendations(np.array([[5, -1, -1]], np.int32), np.array([[-3.0, -np.inf, -np.inf]], np.float32))
    empty = Recommendations(np.full((1, 3), -1, np.int32), np.full((1, 3), -np.inf, np.float32))
    other = Recommendations(np.array([[2, -1, -1]], np.int32), short.score)
    assert mix_lists(short, other, 0.5).item.tolist() == [[2, 5, -1]]
    for pair in ((short, empty), (empty, short)):
        found = mix_lists(*pair, 0.5)
        assert found.item.tolist() == [[5, -1, -1]] and found.score[0, 0] == 0.5
        check_recommendations(found, 1, 3, 10)


def test_against_a_plain_loop():
    rng = np.random.default_rng(0)

    def lists():
        items = np.stack([rng.permutation(30)[:12] for _ in range(40)]).astype(np.int32)
        return Recommendations(items, -np.sort(rng.normal(size=items.shape).astype(np.float32)))

    first, second = lists(), lists()

    class Fixed:
        def __init__(self, answer):
            self.answer = answer

        def recommend(self, examples, k):
            return self.answer

    found = Ensemble(Fixed(first), Fixed(second), 0.3).recommend(None, 12)
    check_recommendations(found, 40, 12, 30)
    for row in range(40):
        total = {}
        for weight, part in ((0.3, first), (0.7, second)):
            power = np.exp(part.score[row].astype(np.float64))
            for item, value in zip(part.item[row].tolist(), weight * power / power.sum(), strict=True):
                total[item] = total.get(item, 0) + value
        assert found.item[row].tolist() == sorted(total, key=lambda item: -total[item])[:12]
