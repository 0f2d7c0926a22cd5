"""What events of one time leave undecided."""

import numpy as np
import pytest

from genrec.config import Data
from genrec.data.sequences import Sequences
from genrec.data.splits import split_targets
from genrec.data.ties import DAY, describe_ties, draw_tie_order, measure_ties
from genrec.errors import ConfigError
from tests import parse_flags


def ties_of(times: list[list[int]], **knobs) -> dict:
    """Of users with these times, one list a user."""
    offset = np.cumsum([0, *map(len, times)])
    time = np.concatenate(times).astype(np.int64)
    users = np.array([f"u{n}" for n in range(len(times))])
    sequences, data = Sequences(np.zeros(len(time), np.int32), time, offset, users), Data(**knobs)
    splits = split_targets(sequences, data.split, draw_tie_order("file", len(time), 0))
    return measure_ties(sequences, splits, data)


def test_shares_worked_by_hand():
    """11 targets by time: 2 4 5 6 7 7 8 9 train, 9 valid, 12 13 test; 7 7 are of one user."""
    ties = ties_of([[0, 9, 13], [1, 2, 7, 7], [3, 4, 5, 6, 8, 9, 12]])
    assert ties["neighbours"] == pytest.approx(1 / 11, abs=1e-4)
    assert ties["train_and_held_out"] == {"valid": 1.0, "test": 0.0} and not ties["whole_days"]


def test_leave_one_out_asks_whether_a_users_last_event_is_the_last():
    ties = ties_of([[1, 1, 2, 2], [1, 2, 3], [4, 4, 5], [5, 5]], split="leave_one_out")
    assert ties["train_and_held_out"] == {"valid": 0.3333, "test": 0.5}
    assert ties["neighbours"] == 4 / 8
    (first, second) = describe_ties(ties)
    assert first.startswith("50.0% of a user's successive events have one time; they stand as in the file")
    assert second == (
        "times do not say which event is a user's last: 33.3% of valid and 50.0% of test targets have the time of the "
        "event before"
    )


def test_one_time_for_all_names_the_split_that_needs_none():
    ties = ties_of([[5 * DAY] * 6] * 5)
    assert ties["neighbours"] == 1 and ties["train_and_held_out"] == {"valid": 1.0, "test": 1.0} and ties["whole_days"]
    (first, second) = describe_ties(ties)
    assert "times are whole days" in first and "--data.ties random" in first
    assert "100.0% of test targets" in second and "--data.split leave_one_out" in second


def test_times_that_decide_are_not_spoken_of():
    assert describe_ties(ties_of([list(range(begin, 200, 10)) for begin in range(5)])) == []


def test_an_order_by_seed_says_so():
    ties = ties_of([[1, 1, 1, 2], [3, 4, 5]], ties="random", split="leave_one_out")
    assert "their order is drawn by seed" in describe_ties(ties)[0]


@pytest.mark.parametrize("other", [("--data.compat", "minionerec"), ("--data.source", "minionerec")])
def test_published_rows_keep_their_order(other):
    with pytest.raises(ConfigError, match=f"data.ties random .*{other[0][2:]} minionerec"):
        parse_flags(["--data.ties", "random", *other])
