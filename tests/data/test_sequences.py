"""Examples cut from flat arrays, against a loop over users."""

import numpy as np
import pytest

from genrec.data.sequences import (
    SPLITS,
    count_train_events,
    cut_examples,
    load_sequences,
    load_splits,
    mark_seen_in_training,
    save_sequences,
    save_splits,
)
from tests.small_shop import small_shop


@pytest.mark.parametrize("max_history", [1, 3, 50])
@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_those_of_a_loop(split, max_history):
    shop = small_shop(num_users=20)
    sequences, ends = shop.sequences, shop.splits[split]
    rows = cut_examples(sequences, ends, max_history)
    assert rows.history.shape == (len(ends), max_history) and rows.history.dtype == np.int32
    for row, (user, end) in enumerate(zip(ends.user, ends.end, strict=True)):
        before = sequences.item[sequences.offset[user] : end][-max_history:]
        assert rows.history[row].tolist() == [-1] * (max_history - len(before)) + before.tolist()
        assert rows.target[row] == sequences.item[end] and rows.user[row] == user


def test_training_sees_events_up_to_the_last_train_target():
    shop = small_shop(num_users=20)
    seen = mark_seen_in_training(shop.sequences, shop.splits)
    held_out = np.concatenate([shop.splits["valid"].end, shop.splits["test"].end])
    trained = set(shop.splits["train"].user.tolist())
    expected = [
        owner in trained and event not in held_out
        for owner, (first, last) in enumerate(zip(shop.sequences.offset, shop.sequences.offset[1:], strict=False))
        for event in range(first, last)
    ]
    assert seen.tolist() == expected
    counts = count_train_events(shop.sequences, shop.splits, len(shop.catalog) + 2)
    assert counts.sum() == seen.sum() and counts[-2:].tolist() == [0, 0]


def test_sequences_and_splits_come_back(tmp_path):
    shop = small_shop()
    save_sequences(shop.sequences, tmp_path / "s.npz")
    save_splits(shop.splits, tmp_path / "p.npz")
    read = load_sequences(tmp_path / "s.npz")
    for name in ("item", "time", "offset", "user_id"):
        assert (getattr(read, name) == getattr(shop.sequences, name)).all(), name
    for name, split in load_splits(tmp_path / "p.npz").items():
        assert (split.user == shop.splits[name].user).all() and (split.end == shop.splits[name].end).all()
