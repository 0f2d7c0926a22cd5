"""What the SIDs may know of users: events of training, and valid pairs with a history."""

import numpy as np
import pytest

from genrec.config import Sids
from genrec.data.sequences import Sequences, Split
from genrec.quantizers.purchases import collect_purchases

# user 0: 0 1 1 2 | 3 | 4      user 1: 5 | 0          train up to the first bar, then valid, then test
SEQUENCES = Sequences(
    np.array([0, 1, 1, 2, 3, 4, 5, 0], np.int32), np.arange(8), np.array([0, 6, 8]), np.array(["a", "b"])
)
SPLITS = {
    "train": Split(np.array([0, 0, 0]), np.array([1, 2, 3])),
    "valid": Split(np.array([0, 1]), np.array([4, 6])),  # the second one's target is its user's first event
    "test": Split(np.array([0]), np.array([5])),
}


def test_pairs_are_consecutive_different_items_of_training():
    purchases = collect_purchases(SEQUENCES, SPLITS, Sids(alpha=0), 6)
    assert purchases.pairs.tolist() == [[0, 1], [1, 2]] and purchases.factors is None


def test_valid_pairs_are_those_with_a_history():
    assert collect_purchases(SEQUENCES, SPLITS, Sids(alpha=0), 6).valid.tolist() == [[2, 3]]


@pytest.mark.parametrize("alpha", [0.3, "auto"])
def test_factors_are_made_where_alpha_asks_and_of_training_alone(alpha):
    purchases = collect_purchases(SEQUENCES, SPLITS, Sids(alpha=alpha, factors=4), 6)
    assert purchases.factors.shape == (6, 4)
    assert (np.linalg.norm(purchases.factors, axis=1) > 0).tolist() == [True, True, True, False, False, False]
