"""Thinned copies against the sequences that they were drawn from."""

import numpy as np

from genrec.data.sequences import Sequences, Split
from genrec.data.thinning import add_thinned

EVENTS = Sequences(
    item=np.array([3, 1, 4, 1, 5, 9, 2, 6], dtype=np.int32),
    time=np.arange(8),
    offset=np.array([0, 5, 5, 8]),
    user_id=np.array(["a", "b", "c"]),
)
TRAIN = Split(np.array([0, 0, 2], dtype=np.int32), np.array([1, 2, 6]))  # events 3, 4 and 7 come after training
WEIGHT = np.arange(8) / 10


def thin(copies=2, share=1e-12, seed=0):
    return add_thinned(EVENTS, TRAIN, WEIGHT, copies, share, seed)


def test_a_copy_that_leaves_nothing_out_is_what_training_had():
    thinned = thin()
    of_copy = [3, 1, 4, 9, 2]  # up to each user's last target
    assert thinned.sequences.item.tolist() == [*EVENTS.item, *of_copy, *of_copy]
    assert thinned.sequences.offset.tolist() == [0, 5, 5, 8, 11, 11, 13, 16, 16, 18]
    assert thinned.owner.tolist() == [0, 1, 2] * 3 and thinned.sequences.user_id.tolist() == ["a", "b", "c"] * 3
    assert thinned.train.end.tolist() == [1, 2, 6, 9, 10, 12, 14, 15, 17]
    assert thinned.train.user.tolist() == [0, 0, 2, 3, 3, 5, 6, 6, 8]
    assert thinned.weight.tolist() == [*WEIGHT, *WEIGHT[[0, 1, 2, 5, 6]], *WEIGHT[[0, 1, 2, 5, 6]]]
    assert thinned.copies(3).end.tolist() == [9, 10, 12, 14, 15, 17]


def test_a_share_of_the_events_is_left_out_and_their_order_stays():
    random = np.random.default_rng(0)
    items = random.integers(0, 50, 3000).astype(np.int32)
    whole = Sequences(items, np.arange(3000), np.array([0, 3000]), np.array(["a"]))
    train = Split(np.zeros(2999, np.int32), np.arange(1, 3000))
    thinned = add_thinned(whole, train, np.ones(3000), 3, 0.3, 7)
    count = np.diff(thinned.sequences.offset)[1:]
    assert (abs(count / 3000 - 0.7) < 0.04).all() and len({*count.tolist()}) > 1
    for copy in range(1, 4):
        begin, stop = thinned.sequences.offset[copy : copy + 2]
        place = thinned.sequences.time[begin:stop]
        assert (np.diff(place) > 0).all() and (items[place] == thinned.sequences.item[begin:stop]).all()
    again = add_thinned(whole, train, np.ones(3000), 3, 0.3, 7)
    assert (again.sequences.item == thinned.sequences.item).all()


def test_what_is_not_a_target_of_training_is_none_in_a_copy():
    few = Split(np.array([0], dtype=np.int32), np.array([2]))  # event 1 has weight 0, say
    thinned = add_thinned(EVENTS, few, WEIGHT, 1, 1e-12, 0)
    assert thinned.sequences.item[8:].tolist() == [3, 1, 4] and thinned.train.end.tolist() == [2, 10]
