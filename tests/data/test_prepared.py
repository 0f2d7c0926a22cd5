"""The data artifact in memory."""

import numpy as np

from tests.small_shop import small_shop


def test_examples_are_cut_at_the_runs_history_and_counts_are_of_training_alone():
    shop = small_shop(num_users=12)
    assert shop.examples("test").history.shape == (12, shop.max_history)
    by_hand = np.zeros(len(shop.catalog), dtype=int)
    for first, last in zip(shop.sequences.offset, shop.sequences.offset[1:], strict=False):
        for item in shop.sequences.item[first : last - 2]:  # the last two events are held out
            by_hand[item] += 1
    trained = np.isin(np.arange(12), shop.splits["train"].user)
    assert trained.all() and shop.train_count.tolist() == by_hand.tolist() and shop.seen.sum() == by_hand.sum()
