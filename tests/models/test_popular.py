import numpy as np
import pytest

from genrec.data.sequences import Examples, Sequences, Split, mark_seen_in_training
from genrec.evaluation.metrics import check_recommendations
from genrec.models.knn import fit_knn
from genrec.models.popular import fit_last_item, fit_popular, fit_popular_recent, take_top_k
from tests.small_shop import small_shop

# user 0: 0 1 2 | 3     user 1: 0 1 1 | 2     user 2: 4 0 1 | 1     the event after the bar is held out
SEQUENCES = Sequences(
    item=np.array([0, 1, 2, 3, 0, 1, 1, 2, 4, 0, 1, 1], dtype=np.int32),
    time=np.array([10, 20, 30, 99, 11, 21, 31, 99, 12, 22, 32, 99]),
    offset=np.array([0, 4, 8, 12]),
    user_id=np.array(["a", "b", "c"]),
)
SEEN = np.array([True, True, True, False] * 3)
COUNT = np.array([3, 4, 1, 0, 1])


def asked(*histories) -> Examples:
    history = np.full((len(histories), 3), -1, dtype=np.int32)
    for row, items in enumerate(histories):
        history[row, 3 - len(items) :] = items
    return Examples(np.arange(len(histories), dtype=np.int32), history, np.zeros(len(histories), np.int32))


def test_fixture_marks_what_training_may_see():
    train = Split(np.array([0, 0, 1, 1, 2, 2]), np.array([1, 2, 5, 6, 9, 10]))
    assert (mark_seen_in_training(SEQUENCES, {"train": train}) == SEEN).all()


def test_popular_gives_everyone_the_most_bought_items():
    listed = fit_popular(COUNT).recommend(asked([0], [2, 1]), 4)
    assert listed.item.tolist() == [[1, 0, 2, 4]] * 2  # 2 before 4: ties by item number
    assert listed.score[0].tolist() == pytest.approx([4 / 9, 3 / 9, 1 / 9, 1 / 9])


def test_popular_recent_counts_the_latest_events_only():
    latest = fit_popular_recent(SEQUENCES, SEEN, 5, share=0.3)  # times 30, 31, 32: items 2, 1, 1
    assert latest.count.tolist() == [0, 2, 1, 0, 0]
    assert (fit_popular_recent(SEQUENCES, SEEN, 5, share=1.0).count == COUNT).all()


def test_last_item_comes_first_then_what_followed_it_then_popular_ones():
    listed = fit_last_item(SEQUENCES, SEEN, COUNT).recommend(asked([0], [0, 1], [3], []), 5)
    assert listed.item[0].tolist() == [0, 1, 2, 4, 3]  # 1 followed 0 three times
    assert listed.item[1].tolist() == [1, 2, 0, 4, 3]  # 1 itself, and 2 followed 1 once
    assert listed.item[2].tolist() == [3, 1, 0, 2, 4]  # never seen in training: popular ones after it
    assert listed.item[3].tolist() == [1, 0, 2, 4, 3]  # no history


def test_top_k_pads_when_the_catalogue_is_smaller():
    listed = take_top_k(np.array([[1.0, 3.0, 2.0]]), 5)
    assert listed.item.tolist() == [[1, 2, 0, -1, -1]]
    check_recommendations(listed, 1, 5, 3)


def test_every_family_ignores_held_out_events_and_gives_valid_lists():
    shop = small_shop()
    rows = shop.examples("test")
    changed = shop.sequences.item.copy()
    changed[~shop.seen] = (changed[~shop.seen] + 7) % len(shop.catalog)
    other = Sequences(changed, shop.sequences.time, shop.sequences.offset, shop.sequences.user_id)
    for fit in (fit_last_item, fit_knn):
        before = fit(shop.sequences, shop.seen, shop.train_count).recommend(rows, 50)
        after = fit(other, shop.seen, shop.train_count).recommend(rows, 50)
        check_recommendations(before, len(rows), 50, len(shop.catalog))
        assert (before.item == after.item).all()
