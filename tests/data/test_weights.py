"""Weights of training targets by hand, and what they are for: rare and recent targets count more."""

from dataclasses import replace

import numpy as np
import pytest

from genrec.data.weights import target_weights
from tests.small_shop import small_shop


def two_users():
    """Items 0 0 1 | 0 2 at times 0 10 20 | 30 40, all trained on but each user's first as a target."""
    shop = small_shop(num_users=2, num_items=3)
    sequences = replace(
        shop.sequences,
        item=np.array([0, 0, 1, 0, 2], dtype=np.int32),
        time=np.array([0, 10, 20, 30, 40]),
        offset=np.array([0, 3, 5]),
    )
    train = replace(shop.splits["train"], user=np.array([0, 0, 1], dtype=np.int32), end=np.array([1, 2, 4]))
    return replace(shop, sequences=sequences, splits={"train": train})


def test_both_knobs_off_weigh_all_alike():
    assert target_weights(two_users(), 0, 0).tolist() == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_balance_is_a_power_of_the_items_events(balance):
    found = target_weights(two_users(), balance, 0)  # train events: item 0 thrice, 1 and 2 once
    low = 3.0**-balance
    assert found[[1, 2, 4]] == pytest.approx(np.array([low, 1, 1]) / ((low + 2) / 3))


def test_the_weight_halves_with_every_half_life():
    found = target_weights(two_users(), 0, 0.5)  # targets at 10, 20, 40: ages 1, 2/3, 0
    plain = 2.0 ** -np.array([2, 4 / 3, 0])
    assert found[[1, 2, 4]] == pytest.approx(plain / plain.mean())


def test_weights_of_targets_have_mean_one_and_multiply():
    shop = small_shop()
    ends = shop.splits["train"].end
    both, one, other = (target_weights(shop, *knobs) for knobs in ((0.5, 0.2), (0.5, 0), (0, 0.2)))
    assert both[ends].mean() == pytest.approx(1)
    ratio = both[ends] / (one * other)[ends]
    assert np.ptp(ratio) < 1e-9
