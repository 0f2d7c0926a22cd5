"""Collaborative factors: from training alone, and items bought together come near each other."""

import numpy as np
import pytest

from genrec.quantizers.fused import choose_alpha, compute_item_factors, count_co_occurrence, fuse_vectors


def shop():
    """Users buy within one of two groups of items: 0-4 or 5-9; item 10 is never bought."""
    rng = np.random.default_rng(0)
    users = [rng.permutation(5) + 5 * (user % 2) for user in range(40)]
    return np.concatenate(users), np.arange(0, 201, 5)


def test_co_occurrence_by_hand():
    item, offset = np.array([0, 1, 0, 2]), np.array([0, 3, 4])
    counts = count_co_occurrence(item, offset, np.ones(4, bool), 3).toarray()
    assert counts.tolist() == [[0, 2, 0], [2, 0, 0], [0, 0, 0]]


def test_items_bought_together_are_near():
    item, offset = shop()
    factors = compute_item_factors(item, offset, np.ones(len(item), bool), 11, width=2)
    likeness = factors @ factors.T
    assert likeness[:5, :5].min() > 0.9 and likeness[:5, 5:10].max() < 0.5
    assert not factors[10].any()


def test_events_outside_training_do_not_matter():
    item, offset = shop()
    seen = np.arange(len(item)) % 5 < 4
    other = np.where(seen, item, 10)
    first, second = (compute_item_factors(i, offset, seen, 11, width=2) for i in (item, other))
    assert first.tobytes() == second.tobytes()


def test_fused_distance_is_the_mix_of_both():
    text, factors = np.eye(3, dtype=np.float32), np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    fused = fuse_vectors(text, factors, 0.25)
    assert ((fused[0] - fused[1]) ** 2).sum() == pytest.approx(0.75 * 2 + 0.25 * 0)
    assert ((fused[0] - fused[2]) ** 2).sum() == pytest.approx(0.75 * 2 + 0.25 * 2)


def test_alpha_is_chosen_by_what_valid_says():
    item, offset = shop()
    factors = compute_item_factors(item, offset, np.ones(len(item), bool), 11, width=2)
    text = np.random.default_rng(3).normal(size=(11, 4)).astype(np.float32)
    last, target = np.array([0, 1, 2, 5, 6, 7]), np.array([1, 2, 3, 6, 7, 8])
    alpha, rates = choose_alpha(text, factors, last, target, seed=0)
    assert rates[str(alpha)] == max(rates.values())
    assert len(rates) > 3


def test_a_shop_without_pairs_has_no_factors():
    assert not compute_item_factors(np.array([0, 1]), np.array([0, 1, 2]), np.ones(2, bool), 2, width=4).any()
