import math

import numpy as np
import pytest

from genrec.evaluation import metrics
from genrec.evaluation.metrics import CUTOFFS, Recommendations


def lists(items, scores=None, k=None) -> Recommendations:
    """Rows of items, with falling scores unless given; padded with -1 to k."""
    item = np.array(items, dtype=np.int32)
    score = np.arange(item.shape[1], 0, -1, dtype=np.float32) + np.zeros(item.shape, np.float32)
    score = score if scores is None else np.array(scores, dtype=np.float32)
    short = (k or item.shape[1]) - item.shape[1]
    pad = ((0, 0), (0, short))
    return Recommendations(
        np.pad(item, pad, constant_values=-1), np.pad(score, pad, constant_values=-np.inf).astype(np.float32)
    )


def test_scores_of_hand_worked_ranks():
    scores = metrics.item_scores(lists([[7, 8, 9], [7, 8, 9], [7, 8, 9]], k=50), np.array([7, 9, 1]))
    assert scores["hr@1"].tolist() == [1, 0, 0]
    assert scores["hr@3"].tolist() == [1, 1, 0]
    assert scores["ndcg@3"].tolist() == pytest.approx([1, 1 / math.log2(4), 0])
    assert scores["ndcg@1"].tolist() == [1, 0, 0]
    assert scores["mrr@10"].tolist() == pytest.approx([1, 1 / 3, 0])
    assert set(scores) == {f"{name}@{cutoff}" for name in ("hr", "ndcg", "mrr") for cutoff in CUTOFFS}


def test_random_lists_score_as_a_loop_says():
    random = np.random.default_rng(0)
    item = np.stack([random.permutation(80)[:50] for _ in range(200)])
    target = random.integers(0, 80, 200)
    scores = metrics.item_scores(lists(item), target)
    for row in range(200):
        place = item[row].tolist().index(target[row]) if target[row] in item[row] else None
        for cutoff in CUTOFFS:
            hit = place is not None and place < cutoff
            assert scores[f"hr@{cutoff}"][row] == hit
            assert scores[f"ndcg@{cutoff}"][row] == pytest.approx(1 / math.log2(place + 2) if hit else 0)
            assert scores[f"mrr@{cutoff}"][row] == pytest.approx(1 / (place + 1) if hit else 0)


def calc(predictions: list[list[str]], truth: list[str], cutoff: int) -> tuple[float, float]:
    """The field's scorer in its own terms: strings, first match, HR and 1 / log2(rank + 2) summed over rows."""
    hits, gain = 0, 0.0
    for listed, wanted in zip(predictions, truth, strict=True):
        for rank, text in enumerate(listed):
            if text == wanted:
                if rank < cutoff:
                    hits, gain = hits + 1, gain + 1 / math.log2(rank + 2)
                break
    return hits / len(truth), gain / len(truth)


def test_sid_level_scores_equal_the_fields_formula_on_colliding_sids():
    # items 0, 1, 2 share a SID; the others have their own
    item_to_sid = np.array([0, 0, 0, 1, 2, 3])
    text = np.array(["<a_0><b_0>", "<a_1><b_0>", "<a_1><b_1>", "<a_2><b_0>"])
    beams = [["<a_1><b_0>", "<a_0><b_0>", "<a_2><b_0>"], ["<a_0><b_0>", "<a_1><b_1>", "<a_2><b_0>"]]
    listed = lists([[3, 0, 1, 2, 5], [0, 1, 2, 4, 5]], scores=[[5, 4, 4, 4, 3], [9, 9, 9, 2, 1]], k=50)
    for target in ([2, 4], [5, 1], [4, 3]):
        scores = metrics.sid_scores(listed, np.array(target), item_to_sid)
        for cutoff in CUTOFFS:
            hr, ndcg = calc(beams, text[item_to_sid[target]].tolist(), cutoff)
            assert scores[f"sid_hr@{cutoff}"].mean() == pytest.approx(hr)
            assert scores[f"sid_ndcg@{cutoff}"].mean() == pytest.approx(ndcg)


def test_duplicate_sids_with_other_scores_stand_as_they_are():
    item_to_sid = np.array([0, 0, 1])  # a ranker that knows items: 0 and 1 apart, then 2
    scores = metrics.sid_scores(lists([[0, 1, 2]], k=50), np.array([2]), item_to_sid)
    assert scores["sid_ndcg@10"][0] == pytest.approx(calc([["x", "x", "y"]], ["y"], 10)[1])


def test_item_level_score_of_tied_items_is_the_mean_over_their_orders():
    item_to_sid = np.array([0, 0, 0, 1])
    listed = lists([[3, 0, 1, 2]], scores=[[2, 1, 1, 1]], k=50)
    for target in (0, 1, 2):
        scores = metrics.item_scores(listed, np.array([target]), item_to_sid)
        assert scores["hr@3"][0] == pytest.approx(2 / 3)  # positions 1, 2, 3: two of them within 3
        assert scores["ndcg@10"][0] == pytest.approx(np.mean([1 / math.log2(p + 2) for p in (1, 2, 3)]))
        assert scores["hr@1"][0] == 0
    assert metrics.item_scores(listed, np.array([3]), item_to_sid)["hr@1"][0] == 1


def test_sid_groups_number_equal_rows_alike():
    groups = metrics.sid_groups(np.array([[1, 2], [0, 5], [1, 2], [1, 3]]))
    assert groups[0] == groups[2] and len(set(groups.tolist())) == 3


def test_beyond_accuracy_by_hand():
    shown = metrics.exposure(lists([[0, 1], [0, 2]]), 2, num_items=4)
    assert shown.tolist() == [2, 1, 1, 0]
    assert metrics.coverage(shown) == 0.75
    assert metrics.gini(shown) == pytest.approx((-3 * 0 - 1 * 1 + 1 * 1 + 3 * 2) / (4 * 4))
    assert metrics.gini(np.array([3, 3, 3])) == 0
    count = np.array([7, 3, 1, 1])  # shares with one added: 8/16, 4/16, 2/16, 2/16
    assert metrics.novelty(shown, count) == pytest.approx((2 * 1 + 2 + 3) / 4)
    assert metrics.popularity_bias(shown, count, np.array([1, 1])) == pytest.approx((2 * 7 + 3 + 1) / 4 / 3)


@pytest.mark.parametrize(
    ("item", "score", "words"),
    [
        ([[0, 0]], None, "twice"),
        ([[0, 9]], None, "from 0 to 9 in a catalogue of 5"),
        ([[-1, 2]], None, "gap"),
        ([[1, 2]], [[1.0, 2.0]], "increasing"),
        ([[1]], None, "expected"),
    ],
)
def test_answers_that_are_no_ranking_are_refused(item, score, words):
    with pytest.raises(ValueError, match=words):
        metrics.check_recommendations(lists(item, score), 1, 2, 5)
