"""What an update trains on: all that is new, and of what was learned the share that is asked for."""

import numpy as np
import pytest

from genrec.data.sequences import Split
from genrec.data.updated import Updated, choose_replayed, load_updated, save_updated
from genrec.errors import ArtifactError

TRAIN = Split(np.repeat(np.arange(10, dtype=np.int32), 3), np.arange(30))
LEARNED = np.tile([True, True, False], 10)  # of every user two rows
UPDATED = Updated(LEARNED, 20, Split(np.array([1], np.int32), np.array([4])))


def test_a_replay_takes_whole_users_and_a_share_of_the_items():
    chosen = choose_replayed(UPDATED, TRAIN, 25, 0.3, seed=0)
    assert set(np.flatnonzero(~LEARNED)) <= set(chosen.rows) and len(chosen.rows) == 10 + 3 * 2
    assert all(count in (1, 3) for count in np.bincount(TRAIN.user[chosen.rows]))
    assert chosen.items[20:].all() and chosen.items[:20].sum() == 6
    again = choose_replayed(UPDATED, TRAIN, 25, 0.3, seed=0)
    assert (again.rows == chosen.rows).all() and (again.items == chosen.items).all()


def test_no_replay_leaves_what_is_new_and_a_whole_one_leaves_nothing_out():
    none, all_of_it = (choose_replayed(UPDATED, TRAIN, 25, share, seed=1) for share in (0.0, 1.0))
    assert none.rows.tolist() == np.flatnonzero(~LEARNED).tolist() and none.items.sum() == 5
    assert all_of_it.rows.tolist() == list(range(30)) and all_of_it.items.all()


def test_it_comes_back_and_other_rows_are_refused(tmp_path):
    path = tmp_path / "updated.npz"
    assert load_updated(path, 30, 25) is None
    save_updated(UPDATED, path)
    found = load_updated(path, 30, 25)
    assert found is not None and (found.learned == LEARNED).all() and found.num_learned_items == 20
    assert (found.earlier.user.tolist(), found.earlier.end.tolist()) == ([1], [4])
    with pytest.raises(ArtifactError, match=r"tells of bool \(30,\) rows and 20 items, .* 31 train rows and 25 items"):
        load_updated(path, 31, 25)
